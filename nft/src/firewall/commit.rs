//! Leases for the answers that wait: one batch for all, and one answer's failure never touches its neighbours.

use std::{
    io,
    net::IpAddr,
    time::{Duration, Instant},
};

use nix::errno::Errno;

use super::{Firewall, leases};
use crate::{
    ruleset::Ip,
    sys::{Lost, Refused, SendError, What},
};

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
    /// The name that it was resolved for; the element's comment. At most 253 bytes.
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
    /// No such opening was installed or read back: the answer belongs to another policy.
    #[error("{key} has no leases")]
    NoSuchOpening {
        /// The opening's key.
        key: String,
    },
    /// The name is longer than an element can carry (253 bytes).
    #[error("the name of {len} bytes is too long for the kernel's comment")]
    NameTooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The acknowledgement was lost, and the sets do not show the lease.
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
        self.batch.clear();
        let mut results: Vec<Result<(), CommitError>> = Vec::with_capacity(answers.len());
        for answer in answers {
            let checked = self.check(answer);
            if checked.is_ok() {
                self.write(answer);
            }
            results.push(checked);
        }
        let sent = Instant::now();
        match self.netlink.commit(&mut self.batch) {
            Ok(()) => {}
            Err(SendError::Lost(Lost(error))) => {
                for (answer, result) in answers.iter().zip(&mut results).filter(|(_, result)| result.is_ok()) {
                    *result = self.reconcile(answer, sent, &error);
                }
            }
            Err(SendError::Refused(refused)) => {
                let alone = results.iter().filter(|result| result.is_ok()).count() == 1;
                let mut first = Some(refused).filter(|_| alone);
                for (answer, result) in answers.iter().zip(&mut results).filter(|(_, result)| result.is_ok()) {
                    *result = match first.take() {
                        Some(refused) => Err(self.told(answer, refused)),
                        None => self.alone(answer),
                    };
                }
            }
        }
        results
    }

    fn check(&self, answer: &Answer) -> Result<(), CommitError> {
        for change in &answer.changes {
            if !self.sets.contains_key(&change.key) {
                return Err(CommitError::NoSuchOpening { key: change.key.clone() });
            }
            if change.name.len() > leases::MAX_NAME {
                return Err(CommitError::NameTooLong { len: change.name.len() });
            }
        }
        Ok(())
    }

    /// Writes a checked answer into the batch.
    fn write(&mut self, answer: &Answer) {
        for change in &answer.changes {
            let Some(set) = self.sets.get(&change.key).map(|sets| sets.get(change.address)) else { continue };
            let Ok(element) = leases::element(change.address, &change.name, change.timeout) else { continue };
            let element = [element];
            self.batch.elements(&self.inet, set, &element);
            if change.kind == Kind::Refresh {
                // The first add makes sure that there is one to delete; the second starts its time anew.
                self.batch.delete_elements(&self.inet, set, &[leases::bare(change.address)]);
                self.batch.elements(&self.inet, set, &element);
            }
        }
    }

    fn alone(&mut self, answer: &Answer) -> Result<(), CommitError> {
        self.batch.clear();
        self.write(answer);
        let sent = Instant::now();
        match self.netlink.commit(&mut self.batch) {
            Ok(()) => Ok(()),
            Err(SendError::Refused(refused)) => Err(self.told(answer, refused)),
            Err(SendError::Lost(Lost(error))) => self.reconcile(answer, sent, &error),
        }
    }

    fn told(&self, answer: &Answer, refused: Refused) -> CommitError {
        let errno = refused.source.raw_os_error().unwrap_or_default();
        match Errno::from_raw(errno) {
            Errno::ENFILE => {
                let full = |change: &&Change| {
                    let set = self.sets.get(&change.key).map(|sets| sets.get(change.address));
                    matches!(&refused.what, What::Elements(name) if Some(name) == set)
                };
                let change = answer.changes.iter().find(full).or_else(|| answer.changes.first());
                CommitError::SetFull { key: change.map(|change| change.key.clone()).unwrap_or_default() }
            }
            Errno::ENOENT => CommitError::TableVanished,
            _ => CommitError::Refused { errno, source: refused.source },
        }
    }

    /// The acknowledgement was lost: the sets say what became of the answer.
    fn reconcile(&mut self, answer: &Answer, sent: Instant, lost: &io::Error) -> Result<(), CommitError> {
        for change in &answer.changes {
            let Some(set) = self.sets.get(&change.key).map(|sets| sets.get(change.address).clone()) else { continue };
            let family = Ip::of(change.address);
            let elements = match self.elements_of(&set) {
                Ok(elements) => elements,
                Err(super::ReadError::TableVanished) => return Err(CommitError::TableVanished),
                Err(_) => return Err(CommitError::Unknown(again(lost))),
            };
            // A tick of the kernel is at most 10 ms.
            let least = change.timeout.saturating_sub(sent.elapsed()).saturating_sub(Duration::from_millis(20));
            let holds = elements
                .iter()
                .any(|element| leases::address(&element.key, family) == Some(change.address) && leases::left(element) >= least);
            if !holds {
                return Err(CommitError::Unknown(again(lost)));
            }
        }
        Ok(())
    }
}

/// The same error once more: an error of the system has no copy.
fn again(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(errno) => io::Error::from_raw_os_error(errno),
        None => error.kind().into(),
    }
}
