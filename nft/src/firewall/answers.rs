//! The answers that wait for the kernel, in memory that is used again: once it has grown, nothing is allocated for a lease.

use std::{net::IpAddr, ops::Range, time::Duration};

/// One opening of the ruleset that stands, as [`crate::Firewall::opening`] gave it. The next installation or read-back makes it stale, and a
/// stale one is refused ([`crate::CommitError::NoSuchOpening`]): it can never lead into another opening's sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OpeningHandle {
    pub(super) installation: u32,
    pub(super) index: u32,
}

/// One address to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change<'a> {
    /// Where it is opened.
    pub opening: OpeningHandle,
    /// The address.
    pub address: IpAddr,
    /// The name that it was resolved for; the element's comment. At most 253 bytes.
    pub name: &'a str,
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

/// The answers of one batch, each with all that it needs opened: an answer is committed as a whole or not at all.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    /// Where each answer's changes end; they begin where the one before ends.
    ends: Vec<usize>,
    changes: Vec<Kept>,
    names: String,
}

/// A change whose name is in the common store.
#[derive(Debug, Clone)]
struct Kept {
    opening: OpeningHandle,
    address: IpAddr,
    name: Range<usize>,
    timeout: Duration,
    kind: Kind,
}

impl Answers {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.ends.clear();
        self.changes.clear();
        self.names.clear();
    }

    /// Begins the next answer and gives its index, which is also its place in what [`crate::Firewall::commit`] gives back.
    pub fn begin(&mut self) -> usize {
        self.ends.push(self.changes.len());
        self.ends.len() - 1
    }

    /// Adds a change to the answer begun last; where none was begun, it begins the first.
    pub fn push(&mut self, change: Change<'_>) {
        let Change { opening, address, name, timeout, kind } = change;
        let start = self.names.len();
        self.names.push_str(name);
        self.changes.push(Kept { opening, address, name: start..self.names.len(), timeout, kind });
        match self.ends.last_mut() {
            Some(end) => *end = self.changes.len(),
            None => self.ends.push(self.changes.len()),
        }
    }

    /// Takes the answer begun last back, with its changes.
    pub fn abandon(&mut self) {
        self.ends.pop();
        let start = self.ends.last().copied().unwrap_or_default();
        if let Some(first) = self.changes.get(start) {
            self.names.truncate(first.name.start);
        }
        self.changes.truncate(start);
    }

    /// How many answers there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many changes there are, over all answers.
    #[must_use]
    pub fn changes(&self) -> usize {
        self.changes.len()
    }

    /// The places of an answer's changes.
    pub(super) fn range(&self, answer: usize) -> Range<usize> {
        let start = answer.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or_default();
        start..self.ends.get(answer).copied().unwrap_or(start)
    }

    pub(super) fn change(&self, place: usize) -> Option<Change<'_>> {
        let Kept { opening, address, name, timeout, kind } = self.changes.get(place)?;
        let name = self.names.get(name.clone()).unwrap_or_default();
        Some(Change { opening: *opening, address: *address, name, timeout: *timeout, kind: *kind })
    }

    pub(super) fn changes_of(&self, answer: usize) -> impl Iterator<Item = Change<'_>> {
        self.range(answer).filter_map(|place| self.change(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(name: &str) -> Change<'_> {
        let opening = OpeningHandle { installation: 1, index: 0 };
        Change { opening, address: IpAddr::from([198, 51, 100, 1]), name, timeout: Duration::from_secs(1), kind: Kind::Add }
    }

    #[test]
    fn an_answer_taken_back_leaves_its_neighbours_as_they_were() {
        let mut answers = Answers::new();
        assert_eq!(answers.begin(), 0);
        answers.push(change("one"));
        answers.push(change("two"));
        assert_eq!(answers.begin(), 1);
        answers.push(change("three"));
        answers.abandon();
        assert_eq!(answers.begin(), 1);
        answers.push(change("four"));
        assert_eq!(answers.begin(), 2);
        let names = |answer| answers.changes_of(answer).map(|change| change.name).collect::<Vec<_>>();
        assert_eq!((names(0), names(1), names(2)), (vec!["one", "two"], vec!["four"], vec![]));
        assert_eq!((answers.len(), answers.changes()), (3, 3));
    }
}
