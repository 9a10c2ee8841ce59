//! Leases for the answers that wait: one batch for all, and one answer's failure never touches its neighbours.

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    ops::Range,
    time::{Duration, Instant},
};

use nix::errno::Errno;

use super::{Answers, Change, Firewall, Kind, OpeningHandle, ReadError, leases};
use crate::{
    ruleset::Ip,
    sys::{Act, ElementSeen, Ident, Lease, Lost, Refused, SendError, What},
};

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
    /// The opening is not of the ruleset that stands: the answer belongs to another policy.
    #[error("the opening belongs to another ruleset")]
    NoSuchOpening,
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

/// What one element becomes: the changes of a batch for one address of one set, in one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    /// The opening's index, and its family: rows of one set lie together.
    slot: (u32, bool),
    address: u128,
    /// Where the change is; of several, the last.
    place: usize,
    timeout: Duration,
    refresh: bool,
}

impl Firewall {
    /// The opening of this key, if it takes leases. It holds until the next installation or read-back.
    #[must_use]
    pub fn opening(&self, key: &str) -> Option<OpeningHandle> {
        self.leased.handle(key)
    }

    /// Opens what the answers need: one batch for all of them, acknowledged when this returns; result *i* is answer *i*'s. If the batch
    /// fails each answer is tried alone, so that the result of one says nothing about another. Where several changes of a batch speak of
    /// one address of one opening, it stands for the longest of their times, with the last one's name.
    pub fn commit(&mut self, answers: &Answers) -> Vec<Result<(), CommitError>> {
        let mut results: Vec<Result<(), CommitError>> = Vec::with_capacity(answers.len());
        self.rows.clear();
        for answer in 0..answers.len() {
            let checked = self.check(answers, answer);
            if checked.is_ok() {
                self.take(answers, answers.range(answer));
            }
            results.push(checked);
        }
        let sent = Instant::now();
        match self.send_rows(answers) {
            Ok(()) => {}
            Err(SendError::Lost(Lost(error))) => {
                let mut sets = HashMap::new();
                for (answer, result) in results.iter_mut().enumerate().filter(|(_, result)| result.is_ok()) {
                    *result = self.reconcile(answers, answer, sent, &error, &mut sets);
                }
            }
            Err(SendError::Refused(refused)) => {
                let alone = results.iter().filter(|result| result.is_ok()).count() == 1;
                let mut first = Some(refused).filter(|_| alone);
                for (answer, result) in results.iter_mut().enumerate().filter(|(_, result)| result.is_ok()) {
                    *result = match first.take() {
                        Some(refused) => Err(self.told(answers, answer, refused)),
                        None => self.alone(answers, answer),
                    };
                }
            }
        }
        results
    }

    fn check(&self, answers: &Answers, answer: usize) -> Result<(), CommitError> {
        for change in answers.changes_of(answer) {
            if self.set_of(&change).is_none() {
                return Err(CommitError::NoSuchOpening);
            }
            if change.name.len() > leases::MAX_NAME {
                return Err(CommitError::NameTooLong { len: change.name.len() });
            }
        }
        Ok(())
    }

    fn set_of(&self, change: &Change<'_>) -> Option<&Ident> {
        self.leased.get(change.opening).map(|sets| sets.get(change.address))
    }

    /// Takes checked changes into the batch.
    fn take(&mut self, answers: &Answers, places: Range<usize>) {
        let rows = places.filter_map(|place| {
            let change = answers.change(place)?;
            let (v6, address) = match change.address {
                IpAddr::V4(address) => (false, u128::from(address.to_bits())),
                IpAddr::V6(address) => (true, address.to_bits()),
            };
            let slot = (change.opening.index, v6);
            Some(Row { slot, address, place, timeout: change.timeout, refresh: change.kind == Kind::Refresh })
        });
        self.rows.extend(rows);
    }

    /// Writes the rows, set by set, and sends them. The kernel looks a message's set up by walking over the table's sets, which costs more
    /// than all the rest of a lease: so each set has one message, not each lease.
    fn send_rows(&mut self, answers: &Answers) -> Result<(), SendError> {
        self.rows.sort_unstable_by_key(|row| (row.slot, row.address, row.place));
        self.rows.dedup_by(|later, kept| {
            let same = (later.slot, later.address) == (kept.slot, kept.address);
            if same {
                kept.place = later.place;
                kept.timeout = kept.timeout.max(later.timeout);
                kept.refresh |= later.refresh;
            }
            same
        });
        self.batch.clear();
        for rows in self.rows.chunk_by(|one, other| one.slot == other.slot) {
            let first = rows.first().and_then(|row| answers.change(row.place));
            let set = first.and_then(|change| self.leased.get(change.opening).map(|sets| sets.get(change.address)));
            let Some(set) = set else { continue };
            let lease = |row: &Row| answers.change(row.place).map(|change| Lease { timeout: row.timeout, ..leases::lease(&change) });
            let again = || rows.iter().filter(|row| row.refresh).filter_map(lease);
            self.batch.leases(&self.inet, set, Act::Add, rows.iter().filter_map(lease));
            // The first add makes sure that there is one to delete; the second starts its time anew.
            self.batch.leases(&self.inet, set, Act::Delete, again());
            self.batch.leases(&self.inet, set, Act::Add, again());
        }
        self.netlink.commit(&mut self.batch)
    }

    fn alone(&mut self, answers: &Answers, answer: usize) -> Result<(), CommitError> {
        self.rows.clear();
        self.take(answers, answers.range(answer));
        let sent = Instant::now();
        match self.send_rows(answers) {
            Ok(()) => Ok(()),
            Err(SendError::Refused(refused)) => Err(self.told(answers, answer, refused)),
            Err(SendError::Lost(Lost(error))) => self.reconcile(answers, answer, sent, &error, &mut HashMap::new()),
        }
    }

    fn told(&self, answers: &Answers, answer: usize, refused: Refused) -> CommitError {
        let errno = refused.source.raw_os_error().unwrap_or_default();
        match Errno::from_raw(errno) {
            Errno::ENFILE => {
                let full = |change: &Change<'_>| matches!(&refused.what, What::Elements(name) if Some(name) == self.set_of(change));
                let mut changes = answers.changes_of(answer);
                let change = changes.find(full).or_else(|| answers.changes_of(answer).next());
                let key = change.and_then(|change| self.leased.key(change.opening));
                CommitError::SetFull { key: key.map(|key| key.to_string()).unwrap_or_default() }
            }
            Errno::ENOENT => CommitError::TableVanished,
            _ => CommitError::Refused { errno, source: refused.source },
        }
    }

    /// The acknowledgement was lost: the sets say what became of the answer. Each is read once.
    fn reconcile(
        &mut self,
        answers: &Answers,
        answer: usize,
        sent: Instant,
        lost: &io::Error,
        sets: &mut HashMap<Ident, Vec<ElementSeen>>,
    ) -> Result<(), CommitError> {
        for change in answers.changes_of(answer) {
            let Some(set) = self.set_of(&change).cloned() else { continue };
            if !sets.contains_key(&set) {
                let elements = self.elements_of(&set).map_err(|error| match error {
                    ReadError::TableVanished => CommitError::TableVanished,
                    _ => CommitError::Unknown(again(lost)),
                })?;
                sets.insert(set.clone(), elements);
            }
            let family = Ip::of(change.address);
            // A tick of the kernel is at most 10 ms.
            let least = change.timeout.saturating_sub(sent.elapsed()).saturating_sub(Duration::from_millis(20));
            let holds = sets
                .get(&set)
                .into_iter()
                .flatten()
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
