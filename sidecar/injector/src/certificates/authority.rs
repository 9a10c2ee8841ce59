//! A CA as it lies in the Secret: certificate and key that belong together, and may sign.

use rcgen::{DistinguishedName, DnType, DnValue, Issuer, KeyPair, PublicKeyData};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::asn1_rs::Tag;
use x509_parser::prelude::{ParsedExtension, X509Certificate};

/// Why a certificate and a key are no CA.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// No PEM in it.
    #[error("{file}.crt has no certificate (PEM)")]
    NoCertificate {
        /// `tls` or `next`.
        file: &'static str,
    },
    /// DER that says nothing.
    #[error("the certificate in {file}.crt is broken")]
    Broken {
        /// `tls` or `next`.
        file: &'static str,
    },
    /// A serving certificate in the place of a CA.
    #[error("the certificate in {file}.crt is none of a CA (a serving certificate goes with --tls-cert and --tls-key)")]
    NoCa {
        /// `tls` or `next`.
        file: &'static str,
    },
    /// No key in it, or of a kind that cannot be used here.
    #[error("{file}.key has no usable key (PKCS#8 PEM: \"BEGIN PRIVATE KEY\")")]
    Key {
        /// `tls` or `next`.
        file: &'static str,
        /// Why; `None` where it is not even text.
        #[source]
        source: Option<rcgen::Error>,
    },
    /// Of two different CAs.
    #[error("{file}.key does not belong to {file}.crt")]
    Mismatch {
        /// `tls` or `next`.
        file: &'static str,
    },
}

/// A CA that can sign.
pub(super) struct Authority {
    pub(super) issuer: Issuer<'static, KeyPair>,
    /// Its certificate, and what else is in the file: those above it.
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) begins: i64,
    pub(super) ends: i64,
    /// What another CA must write in a certificate for this one. None: the subject has text that cannot be written again bit by bit.
    pub(super) subject: Option<DistinguishedName>,
    /// The subject key identifier, which certificates of this CA point at.
    pub(super) key_id: Option<Vec<u8>>,
}

impl Authority {
    /// Reads `file`.crt and `file`.key.
    pub(super) fn parse(file: &'static str, certificate: &[u8], key: &[u8]) -> Result<Self, AuthorityError> {
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(certificate).collect::<Result<_, _>>().map_err(|_| AuthorityError::NoCertificate { file })?;
        let first = chain.first().ok_or(AuthorityError::NoCertificate { file })?.clone();
        let (_, parsed) = x509_parser::parse_x509_certificate(&first).map_err(|_| AuthorityError::Broken { file })?;
        if !parsed.is_ca() {
            return Err(AuthorityError::NoCa { file });
        }
        let key = std::str::from_utf8(key).map_err(|_| AuthorityError::Key { file, source: None })?;
        let key = KeyPair::from_pem(key).map_err(|source| AuthorityError::Key { file, source: Some(source) })?;
        if key.subject_public_key_info() != parsed.public_key().raw {
            return Err(AuthorityError::Mismatch { file });
        }
        let issuer = Issuer::from_ca_cert_der(&first, key).map_err(|_| AuthorityError::Broken { file })?;
        let validity = parsed.validity();
        let (begins, ends) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        let (subject, key_id) = (subject(&parsed), key_id(&parsed));
        Ok(Authority { issuer, chain, begins, ends, subject, key_id })
    }

    /// Whether both are the same CA.
    pub(super) fn is(&self, other: &Authority) -> bool {
        self.chain.first() == other.chain.first()
    }
}

fn subject(certificate: &X509Certificate<'_>) -> Option<DistinguishedName> {
    let mut name = DistinguishedName::new();
    for attribute in certificate.subject().iter_attributes() {
        let oid: Vec<u64> = attribute.attr_type().iter()?.collect();
        let text = attribute.as_str().ok()?;
        let value = match attribute.attr_value().header.tag() {
            Tag::Utf8String => DnValue::Utf8String(text.to_owned()),
            Tag::PrintableString => DnValue::PrintableString(text.try_into().ok()?),
            _ => return None,
        };
        name.push(DnType::from_oid(&oid), value);
    }
    Some(name)
}

fn key_id(certificate: &X509Certificate<'_>) -> Option<Vec<u8>> {
    certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
        _ => None,
    })
}
