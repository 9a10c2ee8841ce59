//! What a proxy is told at its start: where it listens, whom it asks, and how much it will hold at once.

use std::{io, net::SocketAddr, time::Duration};

/// Everything [`Proxy::bind`](crate::Proxy::bind) needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses to answer on, UDP and TCP each; port 0 takes a free one, the same for both transports.
    ///
    /// 127.0.0.1 brings its twin ::1 on the same port, unless ::1 is listed with that port or the kernel has no IPv6. Addresses
    /// must be concrete: a reply then leaves from the address the question came to.
    pub listen: Vec<SocketAddr>,
    /// Resolvers to ask, in order of preference.
    pub upstreams: Vec<SocketAddr>,
    /// How the ruleset knows the proxy's own sockets; `None` where there is no ruleset.
    pub identity: Option<Identity>,
    /// Bounds on what is held at once.
    pub limits: Limits,
}

/// The two secrets by which the ruleset tells the proxy's questions from anyone else's.
///
/// Both are set before the socket is bound or connected. Setting them needs `CAP_NET_ADMIN` in the user namespace that owns the
/// network namespace.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// `SO_MARK`.
    pub mark: u32,
    /// `SO_PRIORITY`.
    pub priority: u32,
}

impl std::fmt::Debug for Identity {
    /// Keeps the secrets out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity(secret)")
    }
}

/// Bounds on what one proxy holds at once; the defaults suit one pod. A count of 0 is taken for 1.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Queries waiting for an upstream or the gate. One more is dropped and counted: a stub resolver asks again, a queue would only
    /// answer what nobody waits for any longer.
    pub in_flight: usize,
    /// TCP connections of clients. One more is closed at once.
    pub connections: usize,
    /// Queries of one TCP connection that are answered at the same time (RFC 7766 §6.2.1.1); further ones stay in the socket's buffer.
    pub pipelined: usize,
    /// A TCP connection that delivers no whole query for so long is closed.
    pub tcp_idle: Duration,
    /// Answers that are kept; over it, little used ones go.
    pub cache_entries: usize,
    /// What they may take of memory, in bytes.
    pub cache_bytes: usize,
    /// The first wait for an upstream; doubled with each round over all of them.
    pub upstream_try: Duration,
    /// All tries together. Below the 5 s after which stub resolvers give up, so that they hear SERVFAIL from us.
    pub upstream_total: Duration,
    /// After the end is asked for, how long queries in flight may still take.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            in_flight: 2048,
            connections: 64,
            pipelined: 16,
            tcp_idle: Duration::from_secs(10),
            cache_entries: 32_768,
            cache_bytes: 4 * 1024 * 1024,
            upstream_try: Duration::from_secs(1),
            upstream_total: Duration::from_millis(4500),
            drain: Duration::from_secs(2),
        }
    }
}

/// Why no proxy could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The configuration lists no listen address.
    #[error("no address to listen on was given")]
    NoListen,
    /// The configuration lists no upstream.
    #[error("no upstream resolver is known: name one, or see that resolv.conf does")]
    NoUpstream,
    /// A listen address stands for many (0.0.0.0 or ::), from which replies could leave with another source.
    #[error("{address} stands for every address of the pod: listen on a single one, such as 127.0.0.1")]
    Wildcard {
        /// The address that was refused.
        address: SocketAddr,
    },
    /// An upstream is the proxy itself: its questions would go round in a circle.
    #[error("the upstream {address} is the proxy itself")]
    OwnUpstream {
        /// The address that is both.
        address: SocketAddr,
    },
    /// The kernel gives nothing to wait with.
    #[error("cannot wait for events")]
    Wait(#[source] io::Error),
    /// The kernel would not give the socket.
    #[error("cannot listen on {address} ({transport})")]
    Socket {
        /// The address that was asked for.
        address: SocketAddr,
        /// "UDP" or "TCP".
        transport: &'static str,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}
