//! What the kernel lets through: the ruleset, the leases and their acknowledgement, over netlink.
//!
//! A [`Ruleset`] says what must hold; [`Firewall::install`] makes the kernel hold it in one batch; [`Firewall::commit`] opens
//! addresses for the answers that wait, and returns only when the kernel has said yes or no to each; [`ToldPackets`] reads what was refused
//! and what began, [`EndedConnections`] what ended.
//! The crate knows neither DNS nor
//! policy, and it is synchronous: a batch is a system call of a few microseconds that never waits.

mod connections;
mod firewall;
mod heard;
mod ports;
mod rule_id;
mod ruleset;
mod sys;
mod told;

pub use connections::{Connection, EndedConnections, FlowOwner, Volume, each_connection};
pub use firewall::{
    Answers, Change, CommitError, CountError, Counted, Counters, Devices, Firewall, InUse, InstallError, Installed, Kind, LEASE_TOLERANCE,
    Lease, Missing, OpenError, OpeningHandle, Options, Ownership, RawGuardMissing, RawGuardState, ReadBack, ReadError, RefreshError,
    Standing,
};
pub use heard::ListenError;
pub use ports::{PortRange, Ports};
pub use rule_id::RuleId;
pub use ruleset::{Deny, Log, NETDEV_TABLE, Opening, Posture, Proxy, RawGuard, Ruleset, Sizes, TABLE};
pub use told::{Packet, Told, ToldPacket, ToldPackets};
