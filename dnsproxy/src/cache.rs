//! What is told from here was answered once, is no older than its TTL allows, and names no address for longer than its lease is open.
//!
//! One thread owns the cache; it does no I/O and reads no clock: every call is told what time it is. A hit copies and allocates nothing.
//!
//! - **Time.** Of each answer one moment is kept, in nanoseconds, so nothing is rounded before a TTL is told: the end of the answer itself
//!   or of its lease, whichever comes first. A told TTL is what is left until then in whole seconds, rounded down.
//! - **Room.** The table for all entries is set aside when the cache is made (address space; a page becomes resident as it is first
//!   written), so a round never waits for it to grow. What a bound leaves besides that is for names and bodies; [`weight`] says how both
//!   bounds come down to the one that the library knows.
//! - **Who goes.** Over a bound CLOCK-Pro takes what was not asked for again. What ended long ago is found by nobody and goes the same way.
mod entry;
#[cfg(test)]
mod tests;
mod weight;

use std::time::Instant;

use quick_cache::{DefaultHashBuilder, unsync};

use self::{
    entry::{Kept, Key},
    weight::{Freed, Weight},
};
use crate::{
    body::{Body, Marks},
    question::Question,
};

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

/// How long behind its end an answer may still be told while no upstream answers. RFC 8767 §5 proposes days; here it is an hour, because
/// every address that is told stays open for as long.
const STALE: u64 = 3600 * SECOND;

/// What a cache may take. Both hold after every call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Answers at most. Fewer are kept if `bytes` has no room for a table of so many, and none if it is one.
    pub(crate) entries: usize,
    /// Octets of memory at most: names, bodies, what the allocator adds to both, and the table.
    pub(crate) bytes: usize,
}

/// Answers by their question.
#[derive(Debug)]
pub(crate) struct Cache {
    entries: unsync::Cache<Key, Kept, Weight, DefaultHashBuilder, Freed>,
    /// The moment that all others are counted from.
    start: Instant,
    /// Octets of names and bodies, see [`weight::heap`].
    heap: usize,
}

/// An answer to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hit<'a> {
    /// [`Body::octets`], to go behind a question of the same length. The TTLs in it are those of the upstream: `ttl` replaces them all.
    pub(crate) octets: &'a [u8],
    /// How many of the records are answers.
    pub(crate) answers: u16,
    /// How many stand in the authority section.
    pub(crate) authorities: u16,
    /// What else is told with it.
    pub(crate) marks: Marks,
    /// Seconds that may be told: what is left of the answer and of its lease, rounded down. 0 of a stale one; what to tell then is the
    /// caller's to say, who also keeps the lease open for as long.
    pub(crate) ttl: u32,
    /// The number it was kept under.
    pub(crate) era: u32,
}

impl Cache {
    /// An empty cache. What is kept at a time before `now`, or with a lease that ended before it, is not kept.
    pub(crate) fn new(bounds: Bounds, now: Instant) -> Self {
        Self { entries: weight::table(bounds), start: now, heap: 0 }
    }

    /// Keeps an answer in place of any earlier one to this question.
    ///
    /// - `ttl`: seconds from `now` that the answer is good for: the least TTL of chain and addresses, of a negative one the lesser of the
    ///   SOA's TTL and its MINIMUM (RFC 2308 §5).
    /// - `lease`: until when all of its addresses are open; `None` if it has none.
    /// - `era`: the number of the policy and of the gate's state that it was judged under; it is handed back with the answer.
    ///
    /// With less than a second left of either it is never [`fresh`](Self::fresh), but may be told [`stale`](Self::stale). Not kept at all,
    /// while the earlier one is gone nonetheless: what takes more than nine tenths of the room, or has more than 255 authority records.
    pub(crate) fn keep(&mut self, question: Question<'_>, body: &Body, ttl: u32, lease: Option<Instant>, era: u32, now: Instant) {
        let kept = self.end(ttl, lease, now).and_then(|end| Kept::new(body, end, era));
        let Some(kept) = kept else { return self.forget(question) };
        let key = Key::new(question);
        let mut freed = 0;
        self.heap += weight::heap(&key, &kept);
        self.entries.insert_with_lifecycle(key, kept, &mut freed);
        self.heap = self.heap.saturating_sub(freed);
    }

    /// The answer to this question, if there is at least a whole second left of it.
    pub(crate) fn fresh(&self, question: Question<'_>, now: Instant) -> Option<Hit<'_>> {
        let kept = self.entries.get(&question)?;
        let ttl = kept.left(self.since(now).unwrap_or(0));
        (ttl > 0).then(|| kept.hit(ttl))
    }

    /// The answer to this question, if it ended at most an hour ago or has not ended yet (RFC 8767).
    pub(crate) fn stale(&self, question: Question<'_>, now: Instant) -> Option<Hit<'_>> {
        let kept = self.entries.get(&question)?;
        let now = self.since(now).unwrap_or(0);
        (now <= kept.end.saturating_add(STALE)).then(|| kept.hit(kept.left(now)))
    }

    /// Drops the answer to this question.
    pub(crate) fn forget(&mut self, question: Question<'_>) {
        if let Some((key, kept)) = self.entries.remove(&question) {
            self.heap = self.heap.saturating_sub(weight::heap(&key, &kept));
        }
    }

    #[cfg(test)]
    /// Drops all answers.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.heap = 0;
    }

    #[cfg(test)]
    /// How many answers are kept, fresh or not.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    #[cfg(test)]
    /// Octets of memory taken: names, bodies and what the allocator adds to them, the slots that were ever used, the whole of the index.
    pub(crate) fn bytes(&self) -> usize {
        self.heap + self.entries.memory_used().total()
    }

    /// When an answer ends that is kept now; `None` if that or now is before time began here.
    fn end(&self, ttl: u32, lease: Option<Instant>, now: Instant) -> Option<u64> {
        let answer = self.since(now)?.saturating_add(u64::from(ttl) * SECOND);
        match lease {
            Some(lease) => Some(answer.min(self.since(lease)?)),
            None => Some(answer),
        }
    }

    /// Nanoseconds from the start to `at`, enough for 584 years. Both ends of what is counted here come from the same monotonic clock.
    fn since(&self, at: Instant) -> Option<u64> {
        let passed = at.checked_duration_since(self.start)?;
        Some(u64::try_from(passed.as_nanos()).unwrap_or(u64::MAX))
    }
}
