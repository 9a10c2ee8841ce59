//! Who is measured, and how each is started in a pod of its own.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use super::{names, peers, usage};
use crate::authority::Type;
use crate::clients::ask;
use crate::world::RESOLVER;
use crate::{Cmd, Pod, Portreeve, Running, Setup};

/// How long one may take to answer its first question.
const START_LIMIT: Duration = Duration::from_secs(10);

/// One that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Contestant {
    /// The app asks the upstream: no resolver and no ruleset in the pod.
    Direct,
    /// The question comes back as its reply.
    Echo,
    /// The question goes upstream and the answer comes back, unread.
    Relay,
    /// dnsmasq with `--nftset`, its cache as it comes.
    Dnsmasq,
    /// The same with `--cache-size=0`.
    DnsmasqUncached,
    /// dnsdist with its packet cache.
    Dnsdist,
    /// Unbound, one thread.
    Unbound,
    /// Knot Resolver, one instance.
    Knot,
    /// Portreeve with a policy of 10 hosts.
    Portreeve,
    /// Portreeve with a policy of 10,000 hosts.
    PortreeveLarge,
}

impl Contestant {
    /// All, in the order of each round.
    pub const ALL: [Self; 10] = [
        Self::Direct,
        Self::Echo,
        Self::Relay,
        Self::Dnsmasq,
        Self::DnsmasqUncached,
        Self::Dnsdist,
        Self::Unbound,
        Self::Knot,
        Self::Portreeve,
        Self::PortreeveLarge,
    ];

    /// How the report names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct (NSD itself)",
            Self::Echo => "bare echo",
            Self::Relay => "bare relay",
            Self::Dnsmasq => "dnsmasq+nftset",
            Self::DnsmasqUncached => "dnsmasq+nftset, no cache",
            Self::Dnsdist => "dnsdist",
            Self::Unbound => "Unbound",
            Self::Knot => "knot-resolver",
            Self::Portreeve => "Portreeve, 10 hosts",
            Self::PortreeveLarge => "Portreeve, 10,000 hosts",
        }
    }

    /// Whether it is the product.
    #[must_use]
    pub fn is_portreeve(self) -> bool {
        self.hosts().is_some()
    }

    /// Whether it is somebody else's resolver.
    #[must_use]
    pub fn is_peer(self) -> bool {
        !self.is_portreeve() && !matches!(self, Self::Direct | Self::Echo | Self::Relay)
    }

    /// Whether it opens what it answers.
    pub(super) fn enforces(self) -> bool {
        self.is_portreeve() || matches!(self, Self::Dnsmasq | Self::DnsmasqUncached)
    }

    /// Whether it gives addresses, so that an app can be answered by it.
    pub(super) fn resolves(self) -> bool {
        self != Self::Echo
    }

    /// The hosts of its policy.
    pub(super) fn hosts(self) -> Option<usize> {
        match self {
            Self::Portreeve => Some(10),
            Self::PortreeveLarge => Some(10_000),
            _ => None,
        }
    }

    /// Starts it in the pod, behind the ruleset, and waits until it answers.
    ///
    /// # Panics
    /// With what it said, when it does not answer.
    pub(super) fn start<'a>(self, pod: &'a Pod, rules: &str, upstream: (SocketAddr, i32)) -> Started<'a> {
        let resolver = if self == Self::Direct { upstream.0 } else { (RESOLVER, 53).into() };
        let guard = match self.peer(pod, upstream.0) {
            Some(command) => {
                pod.load_nft(rules);
                Guard::Peer(command.spawn())
            }
            None => match self.hosts() {
                Some(hosts) => Guard::Portreeve(Setup::new(pod).policy("bench.toml", &names::policy(hosts)).upstream(upstream.0).start()),
                None => Guard::Upstream(upstream.1),
            },
        };
        let asked = || ask(pod.namespace(), resolver, &names::first_hot(), Type::A, Duration::from_millis(200));
        let answered = crate::wait_until(START_LIMIT, || asked().filter(|reply| !self.resolves() || !reply.answers.is_empty())).is_some();
        assert!(answered, "{} does not answer (is its package installed?):\n{}", self.name(), guard.log());
        Started { resolver, processes: usage::family(guard.root()), guard }
    }

    fn peer(self, pod: &Pod, upstream: SocketAddr) -> Option<Cmd> {
        match self {
            Self::Echo => Some(peers::floor(pod, "echo", None)),
            Self::Relay => Some(peers::floor(pod, "relay", Some(upstream))),
            Self::Dnsmasq => Some(peers::dnsmasq(pod, upstream, None)),
            Self::DnsmasqUncached => Some(peers::dnsmasq(pod, upstream, Some(0))),
            Self::Dnsdist => Some(peers::dnsdist(pod, upstream)),
            Self::Unbound => Some(peers::unbound(pod, upstream)),
            Self::Knot => Some(peers::knot(pod, upstream)),
            Self::Direct | Self::Portreeve | Self::PortreeveLarge => None,
        }
    }
}

/// A contestant that answers; its processes end with this value (NSD's excepted, which is not its own).
#[derive(Debug)]
pub(super) struct Started<'a> {
    /// Whom the app asks.
    pub(super) resolver: SocketAddr,
    /// All its processes.
    pub(super) processes: Vec<i32>,
    guard: Guard<'a>,
}

impl Started<'_> {
    /// What was measured is what was started: a process that ended takes its CPU time along, one that came is not counted.
    ///
    /// # Panics
    /// With what the contestant said, when its processes are others by now.
    pub(super) fn expect_unchanged(&self) {
        let now = usage::family(self.guard.root());
        assert_eq!(now, self.processes, "the processes are others than at the start. The log:\n{}", self.guard.log());
    }
}

#[derive(Debug)]
enum Guard<'a> {
    Upstream(i32),
    Peer(Running),
    Portreeve(Portreeve<'a>),
}

impl Guard<'_> {
    fn root(&self) -> i32 {
        match self {
            Self::Upstream(pid) => *pid,
            Self::Peer(running) => running.pid(),
            Self::Portreeve(portreeve) => portreeve.supervisor(),
        }
    }

    fn log(&self) -> String {
        match self {
            Self::Upstream(_) => String::new(),
            Self::Peer(running) => running.stdout() + &running.stderr(),
            Self::Portreeve(portreeve) => portreeve.log(),
        }
    }
}
