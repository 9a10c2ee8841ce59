//! One answer and the question it belongs to, packed: 56 octets besides name and body.

use std::hash::{Hash, Hasher};

use quick_cache::Equivalent;

use super::{Hit, SECOND};
use crate::{
    body::{Body, Marks},
    question::Question,
};

/// A question that owns its name.
#[derive(Debug)]
pub(super) struct Key {
    name: Box<[u8]>,
    rtype: u16,
    dnssec_ok: bool,
    checking_disabled: bool,
}

impl Key {
    pub(super) fn new(question: Question<'_>) -> Self {
        let Question { name, rtype, dnssec_ok, checking_disabled } = question;
        Self { name: name.into(), rtype, dnssec_ok, checking_disabled }
    }

    fn question(&self) -> Question<'_> {
        Question { name: &self.name, rtype: self.rtype, dnssec_ok: self.dnssec_ok, checking_disabled: self.checking_disabled }
    }

    /// Octets of its name.
    pub(super) fn len(&self) -> usize {
        self.name.len()
    }
}

// A key is found by a question, so it must be equal and hash as its question does.
impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.question().hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.question() == other.question()
    }
}

impl Eq for Key {}

impl Equivalent<Key> for Question<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        *self == key.question()
    }
}

/// An answer and its end.
#[derive(Debug)]
pub(super) struct Kept {
    octets: Box<[u8]>,
    /// The end of the answer or of its lease, whichever comes first, in nanoseconds from the cache's start.
    pub(super) end: u64,
    era: u32,
    answers: u16,
    authorities: u8,
    marks: u8,
}

/// Bits of [`Kept::marks`] above the four of the response code.
const AUTHENTIC: u8 = 1 << 4;
const STRIPPED: u8 = 1 << 5;

impl Kept {
    /// `None` if there are more authority records than an octet can count.
    pub(super) fn new(body: &Body, end: u64, era: u32) -> Option<Self> {
        let Marks { rcode, authentic, stripped } = body.marks;
        let marks = (rcode & 15) | if authentic { AUTHENTIC } else { 0 } | if stripped { STRIPPED } else { 0 };
        let authorities = u8::try_from(body.authorities).ok()?;
        Some(Self { octets: body.octets.clone(), end, era, answers: body.answers, authorities, marks })
    }

    /// Whole seconds left.
    pub(super) fn left(&self, now: u64) -> u32 {
        u32::try_from(self.end.saturating_sub(now) / SECOND).unwrap_or(u32::MAX)
    }

    pub(super) fn hit(&self, ttl: u32) -> Hit<'_> {
        let marks = Marks { rcode: self.marks & 15, authentic: self.marks & AUTHENTIC != 0, stripped: self.marks & STRIPPED != 0 };
        Hit { octets: &self.octets, answers: self.answers, authorities: self.authorities.into(), marks, ttl, era: self.era }
    }

    /// Octets of the body.
    pub(super) fn len(&self) -> usize {
        self.octets.len()
    }
}
