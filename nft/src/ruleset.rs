//! What must hold in the kernel, as plain values; the modules below turn it into tables, sets, chains and rules.

use std::net::SocketAddr;

use ipnet::IpNet;

use crate::{Ports, RuleId};

mod dispatch;
mod dns;
mod egress;
mod guards;
mod line;
mod names;
mod openings;
mod plan;
mod ranges;
pub(crate) mod raw_guard;

pub(crate) use guards::{AUDITED, AUDITED_ONCE, CAME_IN, CAME_IN_PREFIX};
pub(crate) use line::Ip;
pub(crate) use names::Names;
pub(crate) use openings::parse_record;
pub(crate) use plan::{
    Content, DENIED, Extras, INBOUND, LIVE_RULES, PERMITTED, Plan, SPOOFED, UDATA_KEY, UDATA_LONG_NAME, UDATA_NAME, address_key,
};

/// The table of families IPv4 and IPv6 that holds the ruleset.
pub const TABLE: &str = "portreeve";
/// The table of family `netdev` that holds the raw guard. It has the same name.
pub const NETDEV_TABLE: &str = "portreeve";

/// Everything that [`crate::Firewall::install`] makes the kernel hold. An empty one lets nothing out but the proxy's own questions.
#[derive(Debug, Clone)]
pub struct Ruleset {
    /// Where questions are turned to, and how the proxy's own traffic is known.
    pub proxy: Proxy,
    /// Ranges that nothing opens; they stand before established flows too.
    pub denies: Vec<Deny>,
    /// What is open: by lease, or by static range.
    pub openings: Vec<Opening>,
    /// Rules that are gone but whose established flows may go on (`revoke = "new"`).
    pub retained: Vec<RuleId>,
    /// What to do where the kernel cannot see raw frames.
    pub raw_guard: RawGuard,
    /// Whether what no opening opens is held, or only told.
    pub posture: Posture,
    /// How packets are told.
    pub log: Log,
    /// Bounds of the sets.
    pub sizes: Sizes,
}

/// The DNS proxy, as the kernel sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// The user id that makes its upstream sockets.
    pub uid: u32,
    /// `SO_MARK` of its upstream sockets: drawn anew at every start.
    pub mark: u32,
    /// `SO_PRIORITY` of its upstream sockets: drawn anew at every start; above 6, so that setting it needs a capability.
    pub priority: u32,
    /// It listens on `127.0.0.1:port` and `[::1]:port`.
    pub port: u16,
    /// The resolvers that it may ask, each with its port, over UDP and TCP.
    pub upstreams: Vec<SocketAddr>,
}

/// Destination ranges that no opening can open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deny {
    /// The ranges.
    pub ranges: Vec<IpNet>,
    /// The ports closed; `None`: everything, of every protocol.
    pub ports: Option<Ports>,
}

/// One rule with one set of ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// The id that its flows carry. Unique within a ruleset.
    pub id: RuleId,
    /// Names its sets and chain; unique and stable. `[a-z0-9_.-]`, up to 200 bytes.
    pub key: String,
    /// Shown in `nft list ruleset`; shortened to 100 bytes.
    pub comment: String,
    /// The ports it opens.
    pub ports: Ports,
    /// The static ranges it opens.
    pub ranges: Vec<IpNet>,
    /// Whether addresses are leased to it. Without, it has no lease sets, and a change for it is refused.
    pub leased: bool,
    /// The caller's own number for what the opening permits; comes back from [`crate::Firewall::read_back`].
    pub fingerprint: u64,
}

/// What to do about frames that no chain of family `inet` sees (`AF_PACKET`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RawGuard {
    /// Without the guard nothing is installed.
    #[default]
    Require,
    /// Where the kernel lacks it, the rest is installed and [`crate::Installed::raw_guard`] says so.
    Prefer,
    /// No guard, and one that stands is taken down. For tests and for pods whose containers cannot make raw sockets.
    Off,
}

/// What becomes of a packet that nothing opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Posture {
    /// It is refused, and told.
    #[default]
    Enforce,
    /// It is told and passes; its flow carries a mark of its own, and is judged anew as soon as the posture is another. The raw guard only
    /// counts. What protects the proxy's identity stays.
    Audit,
}

/// How packets are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// The NFLOG group of refused packets; in audit, of those that would be.
    pub refused: u16,
    /// The NFLOG group of the first packets of flows that are permitted or came in: another one, so that a flood of refused packets
    /// costs none of these.
    pub began: u16,
    /// Packets told a second, of refused ones, of each opening's and of those that came in; counters count the others too.
    pub per_second: u32,
    /// Bytes of each packet that are told.
    pub snaplen: u32,
}

impl Default for Log {
    fn default() -> Self {
        Self { refused: 7, began: 8, per_second: 10_000, snaplen: 128 }
    }
}

/// Bounds of the sets, for each opening and each family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// Leases. A full set refuses the next one ([`crate::CommitError::SetFull`]).
    pub leases: u32,
    /// Addresses noted as in use. What does not fit is not noted.
    pub used: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Self { leases: 32_768, used: 32_768 }
    }
}
