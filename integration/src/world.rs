//! The network outside: every address of the documentation ranges is there, and pods hang on it by one wire each.

use std::fs::File;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::namespace::set_sysctl;
use crate::scratch::Scratch;
use crate::{Authority, Cmd, Namespace, Pod};

/// The resolver that a pod's resolv.conf names unless it is told otherwise: a cluster's DNS service address.
pub const RESOLVER: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

/// The same server's IPv6 address.
pub const RESOLVER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0x53);

/// What answers outside: a socket may be bound to any address of these, and a port nobody listens on refuses.
const OUTSIDE: [&str; 7] =
    ["198.51.100.0/24", "203.0.113.0/24", "198.18.0.0/15", "10.96.0.0/16", "192.168.44.0/24", "169.254.169.254/32", "2001:db8:ffff::/48"];

/// One world: the network outside and the pods on it. Everything in it is gone when the last handle is dropped.
#[derive(Clone, Debug)]
pub struct World {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    outside: Arc<Namespace>,
    scratch: Arc<Scratch>,
    pods: AtomicU8,
}

impl World {
    /// Makes the network outside, without pods.
    ///
    /// # Panics
    /// With the command to type when the rights are missing.
    #[must_use]
    pub fn new() -> Self {
        let outside = Namespace::new("outside", || {
            for (key, value) in [
                ("ipv6/conf/all/accept_dad", "0"),
                ("ipv6/conf/default/accept_dad", "0"),
                ("ipv4/ip_forward", "1"),
                ("ipv6/conf/all/forwarding", "1"),
                // An address of the ranges above need not be on a device to be bound.
                ("ipv6/ip_nonlocal_bind", "1"),
                // A forged source must reach the watcher and the targets, not die in a reverse-path check.
                ("ipv4/conf/all/rp_filter", "0"),
                ("ipv4/conf/default/rp_filter", "0"),
                ("ipv4/icmp_ratelimit", "0"),
                ("ipv6/icmp/ratelimit", "0"),
                ("ipv4/ip_unprivileged_port_start", "0"),
            ] {
                set_sysctl(key, value);
            }
        });
        let routes = OUTSIDE.map(|range| format!("route add local {range} dev lo\n")).concat();
        ip_batch(&outside, format!("link set lo up\n{routes}"));
        World { inner: Arc::new(Inner { outside, scratch: Arc::new(Scratch::new()), pods: AtomicU8::new(0) }) }
    }

    /// The namespace of the network outside.
    #[must_use]
    pub fn outside(&self) -> &Arc<Namespace> {
        &self.inner.outside
    }

    /// The directory of this world's files.
    #[must_use]
    pub fn scratch(&self) -> &Arc<Scratch> {
        &self.inner.scratch
    }

    /// Adds a pod. Its resolv.conf names [`RESOLVER`].
    ///
    /// # Panics
    /// When there are 250 already.
    #[must_use]
    pub fn pod(&self, name: &str) -> Pod {
        self.add(name, None)
    }

    /// The same around a network namespace that a container runtime has made and left without devices.
    #[must_use]
    pub fn pod_in(&self, name: &str, network: File) -> Pod {
        self.add(name, Some(network))
    }

    fn add(&self, name: &str, network: Option<File>) -> Pod {
        let number = self.inner.pods.fetch_add(1, Ordering::Relaxed) + 1;
        assert!(number <= 250, "a world has room for 250 pods");
        Pod::new(self, name, number, network)
    }

    /// Starts the embedded authority on [`RESOLVER`] and [`RESOLVER6`], port 53, UDP and TCP.
    #[must_use]
    pub fn authority(&self) -> Authority {
        self.authority_at(&[(RESOLVER, 53).into(), (RESOLVER6, 53).into()])
    }

    /// Starts an embedded authority on the addresses given, UDP and TCP.
    #[must_use]
    pub fn authority_at(&self, addresses: &[std::net::SocketAddr]) -> Authority {
        Authority::start(self.outside(), addresses)
    }

    /// A program outside.
    pub fn command(&self, program: &str) -> Cmd {
        Cmd::new(self.outside(), program)
    }

    /// Loads a ruleset text outside with `nft -f`: to cut a wire for a while.
    ///
    /// # Panics
    /// With what `nft` said when it refuses.
    pub fn load_nft(&self, ruleset: &str) {
        load_nft(self.outside(), ruleset);
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs the lines as `ip -batch -` in the namespace.
///
/// # Panics
/// With what `ip` said when it refuses one of them.
pub(crate) fn ip_batch(namespace: &Arc<Namespace>, lines: String) {
    let done = Cmd::new(namespace, "ip").args(["-batch", "-"]).input(lines.clone()).output();
    assert!(done.ok(), "ip -batch in {}: {}\n{lines}", namespace.name(), done.stderr);
}

/// Runs `nft -f` in the namespace.
///
/// # Panics
/// With what `nft` said when it refuses.
pub(crate) fn load_nft(namespace: &Arc<Namespace>, ruleset: &str) {
    let done = Cmd::new(namespace, "nft").args(["-f", "-"]).input(ruleset).output();
    assert!(done.ok(), "nft -f in {}: {}", namespace.name(), done.stderr);
}
