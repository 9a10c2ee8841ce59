//! The certificate that the server shows: minted in memory from a mounted CA, or a mounted pair; always the newest that is sound.

mod authority;
mod files;
mod keeper;
mod mint;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

pub use self::files::ReadError;
pub(crate) use self::files::read as read_files;
pub use self::keeper::{CertificateError, Keeper, Looked};

/// Where certificates come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A directory with `tls.crt` and `tls.key` of a CA, and perhaps `next.crt` and `next.key`.
    Ca {
        /// The mounted Secret.
        dir: PathBuf,
        /// The names that the certificates are for.
        names: Vec<String>,
        /// How long one lasts. It is renewed after two thirds.
        lifetime: Duration,
    },
    /// A pair that somebody else renews.
    Pair {
        /// The chain, PEM.
        certificate: PathBuf,
        /// Its key, PEM.
        key: PathBuf,
    },
}

/// A certificate with what is to be known of it. Times are seconds since 1970.
struct Credential {
    key: CertifiedKey,
    begins: i64,
    /// When it was made; it begins earlier.
    made: i64,
    ends: i64,
}

/// What the TLS server asks at each handshake. Cheap to clone; all clones show the same.
#[derive(Debug, Clone)]
pub struct Shown(Arc<ArcSwap<CertifiedKey>>);

impl ResolvesServerCert for Shown {
    // Whatever name is asked for: there is one certificate, and the client judges it.
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// From when until when a certificate counts.
fn validity(certificate: &CertificateDer<'_>) -> Option<(i64, i64)> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let validity = parsed.validity();
    Some((validity.not_before.timestamp(), validity.not_after.timestamp()))
}
