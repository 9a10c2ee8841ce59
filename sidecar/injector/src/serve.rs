//! The webhook's server: the API server's questions over TLS, each answered within its time or refused, and no client holds up another.

mod certificates;
mod connection;
pub(crate) mod log;
mod metrics;
mod ops;
mod options;
mod places;
mod request;
mod settings;

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use self::metrics::Metrics;
pub use self::options::{Options, ServeArgs};
use self::places::Places;
pub use self::settings::SettingsError;
use crate::certificates::{CertificateError, Keeper, Source};
use crate::settings::Settings;

/// What a question is about: the path of its URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// `/pods`
    Pods,
    /// `/pods-under-pod-security`: of namespaces that enforce a level which does not take the sidecar
    EnforcedPods,
    /// `/configmaps`
    ConfigMaps,
}

/// An answer, with what is counted of it.
#[derive(Debug, Clone)]
pub struct Reviewed {
    /// The AdmissionReview, JSON.
    pub body: Vec<u8>,
    /// One of a few words.
    pub verdict: &'static str,
    /// One of a few words; empty where the verdict says all.
    pub reason: &'static str,
}

/// Who answers. It is called on the thread that serves everybody: without waiting for anything, within a millisecond or so.
pub trait Review: Send + Sync + 'static {
    /// Answers an AdmissionReview, or what pretends to be one. It gets the body for its own, to be rid of it early.
    fn review(&self, path: Path, body: Vec<u8>) -> Reviewed;

    /// Refuses with a sentence what is too much to be read. Nothing where the body names no request, so that no answer to it can be made.
    fn unread(&self, body: &[u8], sentence: String) -> Option<Reviewed>;
}

/// Makes the one who answers from the settings and the platform's policy, at the start and for each change of either.
pub type Reviewers = Box<dyn Fn(Settings, Option<String>) -> Result<Box<dyn Review>, Box<dyn Error + Send + Sync>> + Send>;

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The settings.
    #[error("cannot use the settings (--settings, --platform-policy)")]
    Settings(#[source] SettingsError),
    /// The certificates.
    #[error("there is no certificate to serve with (a first CA: `portreeve-injector ca | kubectl create -f -`)")]
    Certificates(#[source] CertificateError),
    /// The pair that somebody else renews.
    #[error("cannot serve with the pair of --tls-cert and --tls-key")]
    Pair(#[source] CertificateError),
    /// A port.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// TLS.
    #[error("cannot set TLS up")]
    Tls(#[source] rustls::Error),
    /// A metric's name.
    #[error("cannot set the metrics up")]
    Metrics(#[source] prometheus::Error),
    /// The event loop.
    #[error("cannot start the event loop")]
    Runtime(#[source] io::Error),
}

/// What all connections share.
struct Shared {
    reviewer: ArcSwap<Box<dyn Review>>,
    metrics: Metrics,
    /// Bytes of bodies that may be in memory.
    room: Arc<Semaphore>,
    ready: AtomicBool,
    /// When the certificate ends, for `/readyz`.
    ends: AtomicI64,
}

/// A server with both ports bound.
pub struct Server {
    options: Options,
    shared: Arc<Shared>,
    keeper: Keeper,
    settings: settings::Watched,
    tls: TlsAcceptor,
    https: TcpListener,
    ops: TcpListener,
}

impl Server {
    /// Reads all there is to read, and binds. Connections wait in the kernel until [`Server::run`].
    ///
    /// # Errors
    /// [`ServeError`].
    pub fn build(options: Options, reviewers: Reviewers) -> Result<Self, ServeError> {
        let (settings, first) =
            settings::Watched::start(options.settings.clone(), options.platform.clone(), reviewers).map_err(ServeError::Settings)?;
        let keeper = Keeper::start(options.source.clone(), SystemTime::now()).map_err(match options.source {
            Source::Ca { .. } => ServeError::Certificates,
            Source::Pair { .. } => ServeError::Pair,
        })?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(ServeError::Tls)?;
        let mut config = config.with_no_client_auth().with_cert_resolver(Arc::new(keeper.shown()));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let metrics = Metrics::new().map_err(ServeError::Metrics)?;
        certificates::count(&metrics, &keeper);
        let shared = Shared {
            reviewer: ArcSwap::from_pointee(first),
            metrics,
            room: Arc::new(Semaphore::new(request::MOST_BODIES)),
            ready: AtomicBool::new(true),
            ends: keeper.ends().into(),
        };
        let (https, ops) = (options::bind(options.https)?, options::bind(options.ops)?);
        Ok(Server { options, shared: Arc::new(shared), keeper, settings, tls: TlsAcceptor::from(Arc::new(config)), https, ops })
    }

    /// Where it serves TLS, and where metrics and probes.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn addresses(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.https.local_addr()?, self.ops.local_addr()?))
    }

    /// Serves until `stop`; then says so on `/readyz`, waits for Services to hear of it, finishes what was asked, and returns.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let Server { options, shared, keeper, settings, tls, https, ops } = self;
        let (draining, told) = watch::channel(false);
        let places = Places::new(connection::MOST);
        let https = tokio::spawn(connection::accept(https, tls, shared.clone(), places.clone(), told.clone()));
        let ops = tokio::spawn(ops::accept(ops, shared.clone()));
        let looks = [
            tokio::spawn(certificates::keep(keeper, shared.clone(), options.look)),
            tokio::spawn(settings::keep(settings, shared.clone(), options.look)),
        ];
        stop.await;
        shared.ready.store(false, Ordering::Relaxed);
        tracing::info!(pause = ?options.drain_pause, "stopping: no longer ready");
        tokio::time::sleep(options.drain_pause).await;
        https.abort();
        // The task owns the listener: once it has ended, new connections are refused.
        let _ = https.await;
        let _ = draining.send(true);
        match tokio::time::timeout(options.drain_timeout, places.empty()).await {
            Ok(()) => tracing::info!("stopped: everything asked was answered"),
            Err(_) => tracing::warn!(left = places.taken(), "stopped with connections that did not end in time"),
        }
        looks.iter().for_each(tokio::task::JoinHandle::abort);
        ops.abort();
    }
}

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// [`ServeError`].
pub fn command(args: ServeArgs, reviewers: Reviewers) -> Result<(), ServeError> {
    log::start();
    // One thread: a review takes less than handing it to another one, and memory stays small.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ServeError::Runtime)?;
    runtime.block_on(async {
        let (mut term, mut interrupt) =
            (signal(SignalKind::terminate()).map_err(ServeError::Runtime)?, signal(SignalKind::interrupt()).map_err(ServeError::Runtime)?);
        let server = Server::build(args.into(), reviewers)?;
        if let Ok((https, ops)) = server.addresses() {
            tracing::info!(%https, %ops, "serving");
        }
        let stop = async move {
            tokio::select! {
                _ = term.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        server.run(stop).await;
        Ok(())
    })
}
