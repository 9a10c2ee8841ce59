//! Looks at what is mounted and at the clock: what is sound replaces what is shown, what is broken changes nothing and is told.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::authority::{Authority, AuthorityError};
use super::files::{self, ReadError};
use super::mint::{Authorities, MintError};
use super::{Credential, Shown, Source, validity};

/// Why there is no (new) certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The files.
    #[error("cannot read the mounted certificates")]
    Read(#[source] ReadError),
    /// A file that must be there.
    #[error("{} is missing", .0.display())]
    Missing(PathBuf),
    /// What is there is no CA.
    #[error("cannot use the CA")]
    Authority(#[source] AuthorityError),
    /// The CA does not sign.
    #[error("cannot mint a certificate")]
    Mint(#[source] MintError),
    /// The mounted chain.
    #[error("the file of --tls-cert has no certificate (PEM)")]
    NoCertificate,
    /// The mounted key.
    #[error("the file of --tls-key has no key (PEM)")]
    NoKey(#[source] pem::Error),
    /// The mounted key is of a kind that TLS here cannot sign with, or does not belong to the certificate.
    #[error("the key of --tls-key cannot be used with the certificate of --tls-cert")]
    Pair(#[source] rustls::Error),
    /// A certificate that ended before it was mounted.
    #[error("the certificate of --tls-cert has ended")]
    Ended,
}

/// What a look found.
#[derive(Debug)]
pub struct Looked {
    /// Another certificate is shown from now on.
    pub replaced: bool,
    /// What is mounted, or the CA that should renew, cannot be used: what was shown stays.
    pub failing: bool,
    /// Why, the first time in a row.
    pub told: Option<CertificateError>,
}

/// The one who replaces what the server shows.
pub struct Keeper {
    source: Source,
    paths: Vec<PathBuf>,
    content: Vec<Option<Vec<u8>>>,
    /// The last sound ones: renewal goes on while the mounted ones are broken.
    authorities: Option<Authorities>,
    shown: Shown,
    begins: i64,
    made: i64,
    ends: i64,
    told: Option<String>,
}

impl Keeper {
    /// Reads what is mounted; the first certificate must come of it.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn start(source: Source, now: SystemTime) -> Result<Self, CertificateError> {
        let paths = match &source {
            Source::Ca { dir, .. } => ["tls.crt", "tls.key", "next.crt", "next.key"].map(|file| dir.join(file)).to_vec(),
            Source::Pair { certificate, key } => vec![certificate.clone(), key.clone()],
        };
        let content = files::read(&paths).map_err(CertificateError::Read)?;
        let (credential, authorities) = load(&source, &paths, &content, seconds(now))?;
        let Credential { key, begins, made, ends } = credential;
        let shown = Shown(Arc::new(ArcSwap::from_pointee(key)));
        Ok(Keeper { source, paths, content, authorities, shown, begins, made, ends, told: None })
    }

    /// What handshakes are to show.
    pub fn shown(&self) -> Shown {
        self.shown.clone()
    }

    /// When what is shown ends, in seconds since 1970.
    pub fn ends(&self) -> i64 {
        self.ends
    }

    /// The same as a point in time.
    pub fn ends_at(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(u64::try_from(self.ends).unwrap_or_default())
    }

    /// When each CA ends: `tls`, and `next` if there is one.
    pub fn authorities_end(&self) -> impl Iterator<Item = (&'static str, i64)> {
        let pair = |authorities: &Authorities| {
            [Some(("tls", authorities.current.ends)), authorities.next.as_ref().map(|next| ("next", next.ends))]
        };
        self.authorities.as_ref().map(pair).into_iter().flatten().flatten()
    }

    /// Looks at files and clock.
    pub fn look(&mut self, now: SystemTime) -> Looked {
        let now = seconds(now);
        let loaded = match files::read(&self.paths) {
            Err(error) => Err(CertificateError::Read(error)),
            Ok(content) if content == self.content => Ok(None),
            Ok(content) => load(&self.source, &self.paths, &content, now).map(|(credential, authorities)| {
                (self.content, self.authorities) = (content, authorities);
                Some(credential)
            }),
        };
        let renewed = match (&self.source, &self.authorities) {
            (Source::Ca { names, lifetime, .. }, Some(authorities)) if !matches!(loaded, Ok(Some(_))) && self.due(now) => {
                authorities.mint(names, *lifetime, now).map(Some).map_err(CertificateError::Mint)
            }
            _ => Ok(None),
        };
        let (mut replaced, mut problem) = (false, None);
        for outcome in [renewed, loaded] {
            match outcome {
                Ok(None) => {}
                Ok(Some(credential)) => {
                    self.show(credential);
                    replaced = true;
                }
                Err(error) => problem = Some(error),
            }
        }
        let text = problem.as_ref().map(|error| crate::exit::chain(error));
        let told = problem.filter(|_| text != self.told);
        self.told = text;
        Looked { replaced, failing: self.told.is_some(), told }
    }

    /// After two thirds of its life, or when the clock went back before its beginning.
    fn due(&self, now: i64) -> bool {
        now < self.begins || now >= self.ends - self.ends.saturating_sub(self.made) / 3
    }

    fn show(&mut self, credential: Credential) {
        let Credential { key, begins, made, ends } = credential;
        self.shown.0.store(Arc::new(key));
        (self.begins, self.made, self.ends) = (begins, made, ends);
    }
}

fn load(
    source: &Source,
    paths: &[PathBuf],
    content: &[Option<Vec<u8>>],
    now: i64,
) -> Result<(Credential, Option<Authorities>), CertificateError> {
    let file = |at: usize| content.get(at).and_then(Option::as_deref);
    let needed = |at: usize| file(at).ok_or_else(|| CertificateError::Missing(paths.get(at).cloned().unwrap_or_default()));
    match source {
        Source::Pair { .. } => Ok((pair(needed(0)?, needed(1)?, now)?, None)),
        Source::Ca { names, lifetime, .. } => {
            let current = Authority::parse("tls", needed(0)?, needed(1)?).map_err(CertificateError::Authority)?;
            let next = match (file(2), file(3)) {
                (None, None) => None,
                _ => Some(Authority::parse("next", needed(2)?, needed(3)?).map_err(CertificateError::Authority)?),
            };
            let authorities = Authorities { current, next };
            let credential = authorities.mint(names, *lifetime, now).map_err(CertificateError::Mint)?;
            Ok((credential, Some(authorities)))
        }
    }
}

fn pair(certificate: &[u8], key: &[u8], now: i64) -> Result<Credential, CertificateError> {
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(certificate).collect::<Result<_, _>>().map_err(|_| CertificateError::NoCertificate)?;
    let (begins, ends) = chain.first().and_then(validity).ok_or(CertificateError::NoCertificate)?;
    if ends <= now {
        return Err(CertificateError::Ended);
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(CertificateError::NoKey)?;
    let key = rustls::crypto::ring::sign::any_supported_type(&key).map_err(CertificateError::Pair)?;
    let key = CertifiedKey::new(chain, key);
    key.keys_match().map_err(CertificateError::Pair)?;
    Ok(Credential { key, begins, made: now, ends })
}

/// Seconds since 1970.
fn seconds(now: SystemTime) -> i64 {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    i64::try_from(since).unwrap_or(i64::MAX)
}
