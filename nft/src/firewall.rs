//! One handle on the kernel: reading the standing ruleset back, replacing it in one batch, and committing leases.

use std::{collections::HashSet, io, net::IpAddr, time::Duration};

use nix::errno::Errno;

use crate::{
    ruleset::{NETDEV_TABLE, TABLE},
    sys::{Batch, Family, Ident, Netlink, Table},
};

mod answers;
mod commit;
mod devices;
mod error;
mod growth;
mod install;
mod leased;
mod leases;
mod read;
mod standing;

use leased::Leased;

pub use answers::{Answers, Change, Kind, OpeningHandle};
pub use commit::CommitError;
pub use devices::Devices;
pub use error::{CountError, InstallError, OpenError, RawGuardMissing, ReadError, RefreshError};
pub use install::{Installed, Missing, RawGuardState};
pub use read::{Counted, Counters, InUse, ReadBack, Standing};

/// A lease whose wanted and present time left differ by less than this is left alone by [`Firewall::install`].
pub const LEASE_TOLERANCE: Duration = Duration::from_secs(2);

/// How [`Firewall::open_with`] behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Whether the tables are claimed.
    pub ownership: Ownership,
    /// Bytes of the netlink socket's buffers. The default of 8 MiB holds a ruleset of some thousand rules and leases; it is a bound, not
    /// memory that is taken.
    pub buffer: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { ownership: Ownership::default(), buffer: 8 * 1024 * 1024 }
    }
}

/// Whether other processes can change our tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ownership {
    /// Flags `OWNER|PERSIST` where the kernel has them (6.9): others get EPERM, the tables outlive the [`Firewall`], and the next one adopts
    /// them. Where it has not: as [`Ownership::Shared`].
    #[default]
    Claim,
    /// Anyone with `CAP_NET_ADMIN` can change or delete the tables.
    Shared,
}

/// A lease as it stands, or as it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The opening's key.
    pub key: String,
    /// The address that is open.
    pub address: IpAddr,
    /// The name that it was resolved for; at most 253 bytes.
    pub name: String,
    /// How long it still stands.
    pub left: Duration,
}

/// The kernel's firewall of this network namespace. Synchronous and never waiting: netlink answers before the call returns.
pub struct Firewall {
    options: Options,
    netlink: Netlink,
    /// Used again for every commit: no allocation on the way of a lease.
    batch: Batch,
    inet: Table,
    netdev: Table,
    /// What is in it, before it is written: as with the batch.
    rows: Vec<commit::Row>,
    /// The openings that take leases, as of the last installation or read-back.
    leased: Leased,
    /// The sets and chains of the last installation; `None`: what stands is another process's.
    in_use: Option<HashSet<Ident>>,
    /// Whether the kernel lets a set's size be changed.
    sets_grow: bool,
    /// Whether the raw guard stands.
    guarded: bool,
}

impl std::fmt::Debug for Firewall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Firewall").field("netlink", &self.netlink).field("leased", &self.leased.len()).finish_non_exhaustive()
    }
}

impl Firewall {
    /// Opens the netlink socket of the calling thread's network namespace with default [`Options`], and asks once whether the kernel has
    /// nf_tables and lets us use it. Tables that are claimed stay claimed for as long as this value lives.
    ///
    /// # Errors
    /// [`OpenError`] tells a missing nf_tables and a missing permission apart.
    pub fn open() -> Result<Self, OpenError> {
        Self::open_with(Options::default())
    }

    /// As [`Firewall::open`], with options.
    ///
    /// # Errors
    /// As [`Firewall::open`].
    pub fn open_with(options: Options) -> Result<Self, OpenError> {
        let netlink = Netlink::open(options.buffer).map_err(told)?;
        let mut firewall = Self {
            options,
            netlink,
            batch: Batch::new(),
            inet: Table { family: Family::Inet, name: Ident::new(TABLE) },
            netdev: Table { family: Family::Netdev, name: Ident::new(NETDEV_TABLE) },
            rows: Vec::new(),
            leased: Leased::default(),
            in_use: None,
            sets_grow: growth::possible(),
            guarded: false,
        };
        firewall.netlink.has_table(&firewall.inet).map_err(told)?;
        Ok(firewall)
    }
}

fn told(error: io::Error) -> OpenError {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EPERM | Errno::EACCES) => OpenError::NotPermitted(error),
        // No such subsystem of nfnetlink; no such family of nf_tables; no netfilter netlink at all.
        Some(Errno::EINVAL | Errno::EOPNOTSUPP | Errno::EAFNOSUPPORT | Errno::EPROTONOSUPPORT) => OpenError::NoNfTables(error),
        _ => OpenError::Socket(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_firewall_can_be_moved_to_another_thread() {
        const fn send<T: Send>() {}
        send::<Firewall>();
    }

    #[test]
    fn a_missing_subsystem_and_a_missing_right_are_told_apart() {
        assert!(matches!(told(Errno::EINVAL.into()), OpenError::NoNfTables(_)));
        assert!(matches!(told(Errno::EPERM.into()), OpenError::NotPermitted(_)));
        assert!(matches!(told(Errno::EMFILE.into()), OpenError::Socket(_)));
    }
}
