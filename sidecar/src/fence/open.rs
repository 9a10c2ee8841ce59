//! The way of an answer to the kernel: planned, committed in one batch with all that wait, and written down when the kernel said yes.

use std::net::IpAddr;

use dnsproxy::{OpenError, Opened};
use nft::{Answers, Change, CommitError};

use policies::Mode;

use super::plan::{Now, Plan, Plans, Wanted};
use super::{Fence, MOST_LEASES};
use crate::addressbook::{Term, element};
use crate::record::cause;

/// From here on the book is swept as a whole before an answer is told that there is no room.
const NEARLY_FULL: usize = MOST_LEASES - 1024;

/// Why an answer was not opened, as the fence itself needs to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotOpened {
    /// The policy changed.
    Stale,
    /// No room.
    Full,
    /// The kernel refused, or what it did is not known.
    Failed,
    /// The table is gone.
    Vanished,
}

impl From<NotOpened> for OpenError {
    fn from(why: NotOpened) -> Self {
        match why {
            NotOpened::Stale => OpenError::Stale,
            NotOpened::Full => OpenError::Full,
            NotOpened::Failed | NotOpened::Vanished => OpenError::Failed,
        }
    }
}

impl Fence {
    /// Opens what the answers need, one batch for all, and says for each until when it holds, in their order.
    pub fn open<'a>(&mut self, wanted: impl Iterator<Item = Wanted<'a>> + Clone) -> Vec<Result<Opened, OpenError>> {
        let mut opened = self.try_open(wanted.clone());
        // Somebody deleted the table. It goes back with all that was leased, and then the answers have their turn again.
        if opened.iter().any(|outcome| matches!(outcome, Err(NotOpened::Vanished))) && self.restore() {
            opened = self.try_open(wanted);
        }
        opened.into_iter().map(|outcome| outcome.map_err(OpenError::from)).collect()
    }

    fn try_open<'a>(&mut self, wanted: impl Iterator<Item = Wanted<'a>> + Clone) -> Vec<Result<Opened, NotOpened>> {
        // On what is not known nothing is built: a plain add of an element that stands would not start its time anew.
        if !self.make_sure() {
            return wanted.map(|_| Err(NotOpened::Failed)).collect();
        }
        let now = self.now();
        if self.book.elements() > NEARLY_FULL && now.tick > self.swept.plus_seconds(1) {
            self.swept = now.tick;
            self.book.sweep_all(now.tick, |element| self.past.remember(&element));
        }
        let mut plans = std::mem::take(&mut self.plans);
        plans.clear();
        for answer in wanted.clone() {
            plans.add(&answer, &self.policy, &self.book, &self.clock, now);
        }
        let mut outcomes = self.commit(&plans, wanted.clone(), now).into_iter();
        let opened = wanted
            .clone()
            .zip(plans.iter())
            .map(|(answer, plan)| {
                let plan = plan.as_ref().map_err(|why| self.not_planned(*why))?;
                if plan.changes > 0 {
                    outcomes.next().unwrap_or(Err(NotOpened::Failed))?;
                }
                let name = answer.grant.name();
                for step in plans.steps(plan) {
                    self.book.record(step.place, name, step.term);
                }
                if let Some(refusal) = answer.grant.would_deny() {
                    return Ok(self.note_audited(&answer, refusal, now));
                }
                let ipv6 = answer.addresses.first().is_some_and(IpAddr::is_ipv6);
                self.renewals.answered(name, ipv6, answer.addresses, now.tick);
                // An answer always has an address and a grant an opening; were there none, no time at all is promised.
                // (In audit an address may have none: then it is as open as any, for its own time.)
                let none = if self.policy.mode() == Mode::Audit { now.instant + answer.ttl } else { now.instant };
                Ok(Opened { until: plan.until.map_or(none, |until| self.clock.instant(until)) })
            })
            .collect::<Vec<_>>();
        if opened.iter().any(Result::is_err) {
            self.note_shared(&plans, &opened, wanted);
        }
        self.plans = plans;
        self.make_sure();
        opened
    }

    /// In audit: a refused name's addresses are open like any; who flows there is told by that name.
    fn note_audited(&mut self, answer: &Wanted<'_>, refusal: &policies::Refusal, now: Now) -> Opened {
        let end = self.clock.end(now.instant, answer.ttl);
        for address in answer.addresses {
            self.audited.note(*address, refusal.name(), cause::reason(refusal.reason()), end);
        }
        Opened { until: now.instant + answer.ttl }
    }

    /// Where an answer was opened for as long as another one of its batch needs, and that one was not opened: the kernel has the longer time, so
    /// the book must have it too. To a lease that it believes to have ended it would plainly add, which does not start the time anew.
    fn note_shared<'a>(&mut self, plans: &Plans, opened: &[Result<Opened, NotOpened>], wanted: impl Iterator<Item = Wanted<'a>>) {
        let done = wanted.zip(plans.iter()).zip(opened).filter(|(_, outcome)| outcome.is_ok());
        for (answer, plan) in done.filter_map(|((answer, plan), _)| Some((answer, plan.as_ref().ok()?))) {
            for step in plans.steps(plan) {
                if let Some((_, end)) = step.change
                    && self.book.find(step.place).is_none_or(|element| element.until() < end)
                {
                    self.book.record(step.place, answer.grant.name(), Term { end, ..step.term });
                }
            }
        }
    }

    /// Sends the plans' changes; an outcome for each plan that has any.
    fn commit<'a>(&mut self, plans: &Plans, wanted: impl Iterator<Item = Wanted<'a>> + Clone, now: Now) -> Vec<Result<(), NotOpened>> {
        let mut batch = std::mem::take(&mut self.batch);
        batch.clear();
        let mut label = String::with_capacity(64);
        // Those whose opening has no sets: what stands is not the ruleset of the policy in force, and nothing opens by it.
        let mut homeless = Vec::new();
        let changed = |(answer, plan)| Some((answer, Result::as_ref(plan).ok().filter(|plan: &&Plan| plan.changes > 0)?));
        for (number, (answer, plan)) in wanted.clone().zip(plans.iter()).filter_map(changed).enumerate() {
            let changes = || plans.steps(plan).iter().filter_map(|step| Some((step, step.change?)));
            if changes().any(|(step, _)| self.sets(step.place).is_none()) {
                homeless.push(number);
                continue;
            }
            batch.begin();
            for (step, (kind, end)) in changes() {
                let Some(opening) = self.sets(step.place) else { continue };
                label.clear();
                element::write_label(&mut label, answer.grant.name(), self.book.find(step.place), now.tick);
                if step.again {
                    // The element is written as a whole: the names of before are those of earlier answers too.
                    let earlier = wanted.clone().zip(plans.iter()).filter_map(changed).take(number);
                    let same = earlier
                        .filter(|(_, plan)| plans.steps(plan).iter().any(|other| other.place == step.place && other.change.is_some()));
                    same.for_each(|(other, _)| element::add_to_label(&mut label, other.grant.name()));
                }
                let timeout = self.clock.instant(end).saturating_duration_since(now.instant);
                batch.push(Change { opening, address: step.place.address, name: &label, timeout, kind });
            }
        }
        let mut outcomes = self.send(&batch);
        for number in homeless {
            outcomes.insert(number.min(outcomes.len()), Err(NotOpened::Stale));
        }
        self.batch = batch;
        outcomes
    }

    /// Sends a batch; what went wrong is noted, and told to people, here.
    pub(super) fn send(&mut self, batch: &Answers) -> Vec<Result<(), NotOpened>> {
        if batch.is_empty() {
            return Vec::new();
        }
        self.firewall.commit(batch).into_iter().map(|outcome| outcome.map_err(|error| self.not_opened(&error))).collect()
    }

    /// What could not even be planned: that the pod is full is told to people.
    fn not_planned(&mut self, why: NotOpened) -> NotOpened {
        if why == NotOpened::Full {
            self.view.full += 1;
            self.view.complain(format!("the pod has all the leases it may have ({MOST_LEASES}), it is full; further answers are withheld"));
        }
        why
    }

    fn not_opened(&mut self, error: &CommitError) -> NotOpened {
        match error {
            CommitError::TableVanished => return NotOpened::Vanished,
            CommitError::NoSuchOpening => return NotOpened::Stale,
            CommitError::SetFull { key } => {
                self.view.full += 1;
                self.view.complain(format!(
                    "the lease set of {key} is full ({} addresses); its further answers are withheld",
                    self.frame.sizes.leases
                ));
                return NotOpened::Full;
            }
            CommitError::Unknown(_) => self.lose_word(),
            _ => {}
        }
        self.view.complain(format!("cannot open the addresses of an answer: {}", crate::exit::chain(error)));
        NotOpened::Failed
    }
}

#[cfg(test)]
mod tests;
