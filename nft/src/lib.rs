//! What the kernel lets through: the ruleset, the leases and their acknowledgement, over netlink.
//!
//! A [`Ruleset`] says what must hold; [`Firewall::install`] makes the kernel hold it in one batch; [`Firewall::commit`] opens
//! addresses for the answers that wait, and returns only when the kernel has said yes or no to each; [`DeniedPackets`] reads what was refused.
//! The crate knows neither DNS nor
//! policy, and it is synchronous: a batch is a system call of a few microseconds that never waits.

mod denied;
mod firewall;
mod ports;
mod rule_id;
mod ruleset;
mod sys;

pub use denied::{DeniedPacket, DeniedPackets, ListenError};
pub use firewall::{
    Answers, Change, CommitError, CountError, Counted, Devices, Firewall, InUse, InstallError, Installed, Kind, LEASE_TOLERANCE, Lease,
    Missing, OpenError, OpeningHandle, Options, Ownership, RawGuardMissing, RawGuardState, ReadBack, ReadError, RefreshError, Standing,
};
pub use ports::{PortRange, Ports};
pub use rule_id::RuleId;
pub use ruleset::{Deny, Log, NETDEV_TABLE, Opening, Proxy, RawGuard, Ruleset, Sizes, TABLE};
