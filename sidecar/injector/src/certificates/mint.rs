//! Serving certificates: each with a key of its own, and with a bridge to the CA before while CAs change.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose,
    SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;

use super::Credential;
use super::authority::Authority;

/// An API server's clock may be behind.
const BACK: i64 = 300;

/// Why nothing was minted.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// Its time is over.
    #[error("the CA in {file}.crt has ended: make another one (`portreeve-injector ca --next`)")]
    Ended {
        /// `tls` or `next`.
        file: &'static str,
    },
    /// Not of this world's calendar.
    #[error("the machine's clock shows a time that no certificate can have")]
    Clock(#[source] time::error::ComponentRange),
    /// The kernel's generator.
    #[error("cannot number a certificate: no random numbers")]
    Random(#[source] getrandom::Error),
    /// Signing.
    #[error("cannot sign a certificate")]
    Sign(#[source] rcgen::Error),
    /// A name that is no DNS name, a key that rustls does not take.
    #[error("cannot use a certificate that was just made")]
    Use(#[source] rustls::Error),
}

/// The CA that signs, and the one that still vouches for it.
pub(super) struct Authorities {
    pub(super) current: Authority,
    pub(super) next: Option<Authority>,
}

impl Authorities {
    /// A new certificate for `names` at `now`, never longer than its CA. With two CAs the next one signs, and the current one's word
    /// for the next one goes along: a client that trusts either is content, so the order in which bundles change is free.
    pub(super) fn mint(&self, names: &[String], lifetime: Duration, now: i64) -> Result<Credential, MintError> {
        // The same CA in both places: a rotation that was finished by copying.
        let next = self.next.as_ref().filter(|next| !next.is(&self.current));
        let (file, signer) = next.map_or(("tls", &self.current), |next| ("next", next));
        let begins = now.saturating_sub(BACK).max(signer.begins.min(now));
        let ends = now.saturating_add(i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX)).min(signer.ends);
        if ends <= now {
            return Err(MintError::Ended { file });
        }
        let key = KeyPair::generate().map_err(MintError::Sign)?;
        let mut params = CertificateParams::new(names.to_vec()).map_err(MintError::Sign)?;
        frame(&mut params, begins, ends)?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "portreeve-injector");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let mut chain = vec![params.signed_by(&key, &signer.issuer).map_err(MintError::Sign)?.der().clone()];
        if let Some(next) = next
            && self.current.ends > now
            && let Some(bridge) = self.bridge(next, begins, ends)?
        {
            chain.push(bridge);
            chain.extend(self.current.chain.iter().skip(1).cloned());
        }
        // Its own certificate is in the client's hands; those above it, if it has any, may not be.
        if signer.chain.len() > 1 {
            chain.extend(signer.chain.iter().cloned());
        }
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = rustls::crypto::ring::sign::any_supported_type(&key).map_err(MintError::Use)?;
        Ok(Credential { key: CertifiedKey::new(chain, key), begins, made: now, ends })
    }

    /// The next CA's name and key, signed by the current one.
    fn bridge(&self, next: &Authority, begins: i64, ends: i64) -> Result<Option<CertificateDer<'static>>, MintError> {
        let (Some(subject), Some(key_id)) = (next.subject.clone(), next.key_id.clone()) else { return Ok(None) };
        let mut params = CertificateParams::default();
        frame(&mut params, begins, ends.min(self.current.ends))?;
        params.distinguished_name = subject;
        params.key_identifier_method = KeyIdMethod::PreSpecified(key_id);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let signed = params.signed_by(next.issuer.key(), &self.current.issuer).map_err(MintError::Sign)?;
        Ok(Some(signed.der().clone()))
    }
}

/// What each certificate has: its time, and a number that its CA gave to no other.
fn frame(params: &mut CertificateParams, begins: i64, ends: i64) -> Result<(), MintError> {
    params.not_before = OffsetDateTime::from_unix_timestamp(begins).map_err(MintError::Clock)?;
    params.not_after = OffsetDateTime::from_unix_timestamp(ends).map_err(MintError::Clock)?;
    let mut number = [0; 16];
    getrandom::fill(&mut number).map_err(MintError::Random)?;
    params.serial_number = Some(SerialNumber::from_slice(&number));
    params.use_authority_key_identifier_extension = true;
    Ok(())
}
