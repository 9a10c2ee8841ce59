//! What a batch of answers needs of the kernel, worked out beforehand: nothing is sent or written down here, and nothing is allocated
//! once the buffers have grown.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use nft::Kind;
use policies::{Grant, Policy};

use super::MOST_LEASES;
use super::open::NotOpened;
use crate::addressbook::{AddressBook, Clock, Need, Place, Term, Tick};

/// One answer to open.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// What the policy permitted.
    pub grant: &'a Grant,
    /// The addresses of the answer, all of one family.
    pub addresses: &'a [IpAddr],
    /// The TTL of the answer's chain.
    pub ttl: Duration,
}

/// One moment, both ways.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// As the system has it.
    pub instant: Instant,
    /// As the book has it.
    pub tick: Tick,
}

/// One lease of one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Which.
    pub place: Place,
    /// How long it holds for the answer's name.
    pub term: Term,
    /// What the kernel is told, and when the element ends then; `None` where it stands long enough.
    pub change: Option<(Kind, Tick)>,
    /// Whether an earlier answer of the batch has a change of the same element.
    pub again: bool,
}

/// All that one answer needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    steps: Range<usize>,
    /// How many steps are for the kernel.
    pub changes: usize,
    /// Every address of the answer stays open until then; `None` of an answer without addresses.
    pub until: Option<Tick>,
}

/// The plans of one batch, in the order of the answers. Kept from batch to batch for its buffers.
#[derive(Debug, Default)]
pub struct Plans {
    plans: Vec<Result<Plan, NotOpened>>,
    steps: Vec<Step>,
    /// What the batch changes, and when that ends.
    touched: HashMap<Place, Tick>,
    /// New elements of the batch.
    added: usize,
}

impl Plans {
    /// Forgets the batch before.
    pub fn clear(&mut self) {
        self.plans.clear();
        self.steps.clear();
        self.touched.clear();
        self.added = 0;
    }

    /// The plans.
    pub fn iter(&self) -> impl Iterator<Item = &Result<Plan, NotOpened>> {
        self.plans.iter()
    }

    /// The steps of a plan.
    pub fn steps(&self, plan: &Plan) -> &[Step] {
        self.steps.get(plan.steps.clone()).unwrap_or_default()
    }

    /// Plans one more answer.
    pub fn add(&mut self, wanted: &Wanted<'_>, policy: &Policy, book: &AddressBook, clock: &Clock, now: Now) {
        let (start, added) = (self.steps.len(), self.added);
        let mut plan = self.plan(wanted, policy, book, clock, now);
        if self.added > added && book.elements() + self.added > MOST_LEASES {
            plan = Err(NotOpened::Full);
        }
        if plan.is_err() {
            // What it touched stays noted: a refresh where an add would do does no harm.
            self.steps.truncate(start);
            self.added = added;
        }
        self.plans.push(plan);
    }

    fn plan(&mut self, wanted: &Wanted<'_>, policy: &Policy, book: &AddressBook, clock: &Clock, now: Now) -> Result<Plan, NotOpened> {
        if wanted.grant.generation() != policy.generation() {
            return Err(NotOpened::Stale);
        }
        let name = wanted.grant.name();
        let start = self.steps.len();
        let (mut changes, mut until) = (0, None);
        for &address in wanted.addresses {
            for index in wanted.grant.openings_for(address) {
                let opening = policy.opening(index).ok_or(NotOpened::Stale)?;
                let place = Place { opening: u32::try_from(index.get()).map_err(|_| NotOpened::Stale)?, address };
                let terms = opening.lease;
                let own = clock.end(now.instant, wanted.ttl.clamp(terms.min, terms.max.max(terms.min)).saturating_add(terms.grace));
                let term = Term { end: own, span: own.since(now.tick) };
                let element = book.find(place);
                let mut again = false;
                let (change, end) = match element.map_or(Need::Add, |element| element.need(name, own, now.tick)) {
                    // The name's own time is written down all the same: the longer lease may be another name's.
                    Need::Nothing(end) => (None, end),
                    need => {
                        let known = element.map_or(own, |element| element.until().max(own));
                        let touched = self.touched.get(&place).copied();
                        again = touched.is_some();
                        let end = touched.map_or(known, |touched| touched.max(known));
                        // Where another answer of this batch adds it too, a plain add would not count: whatever becomes of the
                        // first, this one starts the timer anew.
                        let kind = if need == Need::Add && touched.is_none() { Kind::Add } else { Kind::Refresh };
                        self.added += usize::from(kind == Kind::Add);
                        self.touched.insert(place, end);
                        changes += 1;
                        (Some((kind, end)), end)
                    }
                };
                until = Some(until.map_or(end, |until: Tick| until.min(end)));
                self.steps.push(Step { place, term, change, again });
            }
        }
        Ok(Plan { steps: start..self.steps.len(), changes, until })
    }
}

#[cfg(test)]
mod tests;
