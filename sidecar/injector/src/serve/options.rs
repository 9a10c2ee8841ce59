//! What `serve` is told: ports, certificates, settings, how it stops.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use super::ServeError;
use crate::certificates::Source;

/// The kubelet brings a change of a mounted Secret or ConfigMap within a minute or so; inotify would gain seconds, and has limits per user.
const LOOK: Duration = Duration::from_secs(5);
/// Shorter ones would be renewed at each handshake or so.
const SHORTEST: Duration = Duration::from_secs(2);

/// What `serve` takes.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The port of the webhook (HTTPS).
    #[arg(long, value_name = "PORT", default_value_t = 8443)]
    port: u16,
    /// The port of /metrics, /readyz and /livez (plain HTTP).
    #[arg(long, value_name = "PORT", default_value_t = 9465)]
    metrics_port: u16,
    /// The address of both ports [default: all of them].
    #[arg(long, value_name = "IP")]
    listen: Option<IpAddr>,
    /// The settings' TOML file; read again when it changes. Without it: the defaults.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// The platform's policy, which every sidecar gets; read again when it changes. While the file is not there, there is none.
    #[arg(long, value_name = "FILE")]
    platform_policy: Option<PathBuf>,
    /// The mounted Secret of the CA: tls.crt and tls.key, during a change of CAs also next.crt and next.key.
    #[arg(long, value_name = "DIR", required_unless_present = "tls_cert", conflicts_with = "tls_cert")]
    ca: Option<PathBuf>,
    /// The name that the API server calls, SERVICE.NAMESPACE.svc; may be given more than once. Goes with --ca.
    #[arg(long, value_name = "NAME", default_value = "portreeve-injector.portreeve-system.svc", value_parser = crate::names::service)]
    service: Vec<String>,
    /// How long a certificate minted from --ca lasts; it is renewed after two thirds of it.
    #[arg(long, value_name = "SPAN", default_value = "24h", value_parser = lifetime)]
    certificate_lifetime: Duration,
    /// A mounted certificate chain (PEM), instead of --ca; read again when it changes.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The key of --tls-cert (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// From SIGTERM, when /readyz turns to 503, until new connections are refused: Services need a moment to leave a pod out.
    #[arg(long, value_name = "SPAN", default_value = "5s", value_parser = humantime::parse_duration)]
    drain_pause: Duration,
    /// After that, how long open connections may take to end.
    #[arg(long, value_name = "SPAN", default_value = "10s", value_parser = humantime::parse_duration)]
    drain_timeout: Duration,
}

/// What a server is built from.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where the webhook is served; port 0: any. No IP: every one of the machine's.
    pub https: (Option<IpAddr>, u16),
    /// Where metrics and probes are.
    pub ops: (Option<IpAddr>, u16),
    /// The settings' file.
    pub settings: Option<PathBuf>,
    /// The platform's policy.
    pub platform: Option<PathBuf>,
    /// Where certificates come from.
    pub source: Source,
    /// How often files and clock are looked at.
    pub look: Duration,
    /// See [`ServeArgs`].
    pub drain_pause: Duration,
    /// See [`ServeArgs`].
    pub drain_timeout: Duration,
}

impl From<ServeArgs> for Options {
    fn from(args: ServeArgs) -> Self {
        let ServeArgs {
            port,
            metrics_port,
            listen,
            settings,
            platform_policy,
            ca,
            service,
            certificate_lifetime,
            tls_cert,
            tls_key,
            drain_pause,
            drain_timeout,
        } = args;
        let source = match (tls_cert, tls_key) {
            (Some(certificate), Some(key)) => Source::Pair { certificate, key },
            // clap holds that one of the two ways is given.
            _ => Source::Ca { dir: ca.unwrap_or_default(), names: service, lifetime: certificate_lifetime },
        };
        // A short-lived certificate must be renewed in its last third.
        let look = match &source {
            Source::Ca { lifetime, .. } => LOOK.min(*lifetime / 10),
            Source::Pair { .. } => LOOK,
        };
        Options {
            https: (listen, port),
            ops: (listen, metrics_port),
            settings,
            platform: platform_policy,
            source,
            look,
            drain_pause,
            drain_timeout,
        }
    }
}

/// Listens. Without an address on IPv6 and IPv4 at once, or on IPv4 alone where the machine has no IPv6.
pub(super) fn bind((ip, port): (Option<IpAddr>, u16)) -> Result<TcpListener, ServeError> {
    let bound = |ip: IpAddr| {
        let address = SocketAddr::new(ip, port);
        listen(address).map_err(|source| ServeError::Listen { address, source })
    };
    match ip {
        Some(ip) => bound(ip),
        None => match bound(Ipv6Addr::UNSPECIFIED.into()) {
            Err(ServeError::Listen { source, .. }) if source.kind() != std::io::ErrorKind::AddrInUse => bound(Ipv4Addr::UNSPECIFIED.into()),
            other => other,
        },
    }
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    TcpListener::from_std(socket.into())
}

fn lifetime(text: &str) -> Result<Duration, String> {
    let span = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if span < SHORTEST { Err("a certificate lasts 2s at least".to_owned()) } else { Ok(span) }
}
