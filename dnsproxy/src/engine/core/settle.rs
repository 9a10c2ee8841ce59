//! What becomes of an answer: verified, opened with all others of its round in one call of the gate, and only then told.

use std::time::Instant;

use super::{Core, Opening, Told, room};
use crate::{
    answer::{LeftOut, PlainAnswer, Unusable, Verified, verify},
    asking::{self, Ticket},
    body::{self, Body},
    engine::{outbox::Outbox, waiting::Pending},
    gate::{Committed, Gate, OpenError},
    observer::{Observer, Outcome, Source},
    question::Question,
    reply::{Failure, Reply},
};

/// How often one answer is judged while the policy changes under it. A gate that is of another mind than the policy in force will be of
/// the same mind after its reload; one that always says stale must not be asked for ever.
const JUDGEMENTS: usize = 3;

/// What an answer beyond its time is told with, in seconds (RFC 8767 §4).
const STALE_TTL: u32 = 30;

impl<G: Gate, O: Observer> Core<G, O> {
    /// An upstream has answered, or none has.
    pub(crate) fn settled(&mut self, ticket: Ticket, outcome: asking::Outcome<'_>, outboxes: &mut [Outbox]) {
        let Some(pending) = self.state.pendings.remove(ticket) else { return };
        match outcome {
            asking::Outcome::Answer { message, from } => self.verify(pending, message, Source::Upstream(from), None, outboxes),
            asking::Outcome::Failed(asking::Failure::Silent) => {
                if let Some(pending) = self.tell_stale(pending, outboxes) {
                    self.fail(pending, Failure::Upstream, Outcome::NoUpstream, outboxes);
                }
            }
            asking::Outcome::Failed(asking::Failure::Errors) => self.fail(pending, Failure::Upstream, Outcome::NoUpstream, outboxes),
        }
    }

    /// Verifies a message that answers the question of `pending`; `ttl` is what is left of it, where it was kept.
    pub(super) fn verify(&mut self, mut pending: Pending, message: &[u8], source: Source, ttl: Option<u32>, outboxes: &mut [Outbox]) {
        if pending.grant.generation() != self.state.current.generation() {
            self.counters.rejudged.one();
            match self.judge(pending.grant.name().as_wire()) {
                Some(Ok(grant)) => pending.grant = grant,
                Some(Err(refusal)) => return self.refuse_all(pending, &refusal, source, outboxes),
                // Never: it was a name when it was asked for.
                None => return self.fail(pending, Failure::Upstream, Outcome::NoUpstream, outboxes),
            }
        }
        match verify(&self.state.current, &pending.grant, pending.question.get(), message) {
            Ok(Verified::Addresses(answer)) => {
                let answer = match ttl {
                    Some(ttl) => answer.aged(ttl),
                    None => answer,
                };
                self.state.opening.push(Opening { answer, pending, source });
            }
            Ok(Verified::Plain(plain)) => self.tell_plain(pending, plain, source, ttl, outboxes),
            Ok(Verified::Refused(refusal)) => self.refuse_all(pending, &refusal, source, outboxes),
            Err(unusable) => {
                self.counters.unusable_answers.one();
                let outcome = |grant| Outcome::Unusable(grant, unusable);
                let failure = if unusable == Unusable::Unreadable { Failure::Upstream } else { Failure::Answer };
                self.fail(pending, failure, outcome, outboxes);
            }
        }
    }

    /// Has the gate open all that wait, and tells those that it opened.
    pub(crate) fn commit(&mut self, outboxes: &mut [Outbox]) {
        for judgement in 1..=JUDGEMENTS {
            if self.state.opening.is_empty() {
                return;
            }
            let waiting = std::mem::take(&mut self.state.opening);
            let (answers, theirs): (Vec<_>, Vec<_>) =
                waiting.into_iter().map(|Opening { answer, pending, source }| (answer, (pending, source))).unzip();
            let outcomes = Committed::by(&mut self.gate, answers);
            self.look();
            let now = Instant::now();
            for (outcome, (pending, source)) in outcomes.into_iter().zip(theirs) {
                match outcome {
                    Ok(committed) => self.release(pending, &committed, source, now, outboxes),
                    Err((answer, OpenError::Stale)) if judgement < JUDGEMENTS => {
                        self.counters.rejudged.one();
                        let body = answer.body();
                        let message = body::message(pending.question.get(), &body.octets, body.answers, body.authorities, body.marks);
                        // What an earlier policy stripped may be permitted by now: told once, and not kept.
                        let ttl = if body.marks.stripped { 0 } else { answer.ttl() };
                        self.verify(pending, &message, source, Some(ttl), outboxes);
                    }
                    Err((_, error)) => {
                        self.counters.gate_failures.one();
                        self.fail(pending, Failure::Gate, |grant| Outcome::GateFailed(grant, error), outboxes);
                    }
                }
            }
        }
    }

    /// Keeps and tells an answer whose addresses are open.
    fn release(&mut self, pending: Pending, committed: &Committed, source: Source, now: Instant, outboxes: &mut [Outbox]) {
        let answer = committed.answer();
        self.count_left_out(answer.left_out());
        let question = pending.question.get();
        let reply = Reply::release(committed, now);
        let reply = match source {
            Source::Stale => reply.with_error(3, "portreeve: no upstream answers; this is what was known before"),
            _ => {
                self.keep(question, answer.body(), answer.ttl(), Some(committed.until()), now);
                reply
            }
        };
        self.counters.released.many(pending.waiters.len());
        self.tell_all(pending, &reply, Outcome::Released, source, outboxes);
    }

    /// Keeps and tells an answer without an address.
    fn tell_plain(&mut self, pending: Pending, plain: PlainAnswer, source: Source, ttl: Option<u32>, outboxes: &mut [Outbox]) {
        self.count_left_out(plain.left_out);
        let now = self.state.now;
        let plain = PlainAnswer { ttl: ttl.unwrap_or(plain.ttl), ..plain };
        if let (Source::Upstream(_), rtype @ (1 | 28)) = (source, pending.question.get().rtype) {
            self.gate.nothing(plain.grant.name(), rtype == 28);
        }
        for (target, own) in &plain.targets {
            // What was kept has less time left than its records say.
            let ttl = ttl.map_or(*own, |left| left.min(*own));
            self.state.targets.note(target.clone(), &plain.grant, ttl, now);
        }
        let reply = Reply::plain(&plain);
        let reply = match (source, plain.body.marks.rcode) {
            (Source::Stale, 0) => reply.with_error(3, "portreeve: no upstream answers; this is what was known before"),
            (Source::Stale, _) => reply.with_error(19, "portreeve: no upstream answers; this is what was known before"),
            _ => {
                self.keep(pending.question.get(), &plain.body, plain.ttl, None, now);
                reply
            }
        };
        self.counters.plain.many(pending.waiters.len());
        self.tell_all(pending, &reply, Outcome::Plain, source, outboxes);
    }

    /// Keeps an answer, if it has any time: with a TTL of 0 (RFC 1035 §3.2.1) or an absence without SOA (RFC 2308 §5) it is for this one use, and
    /// the earlier one is no longer true.
    fn keep(&mut self, question: Question<'_>, body: &Body, ttl: u32, lease: Option<Instant>, now: Instant) {
        match ttl {
            0 => self.cache.forget(question),
            _ => self.cache.keep(question, body, ttl, lease, self.state.era, now),
        }
    }

    /// Tells what was kept beyond its time (RFC 8767), where it was; it passes verification and gate as if it had just come.
    fn tell_stale(&mut self, pending: Pending, outboxes: &mut [Outbox]) -> Option<Pending> {
        let question = pending.question.get();
        let hit = self.cache.stale(question, self.state.now).filter(|hit| hit.era == self.state.era || !hit.marks.stripped);
        let Some(hit) = hit else { return Some(pending) };
        let message = body::message(question, hit.octets, hit.answers, hit.authorities, hit.marks);
        self.counters.stale.many(pending.waiters.len());
        self.verify(pending, &message, Source::Stale, Some(STALE_TTL), outboxes);
        None
    }

    /// Tells what was kept to those that wait for a question; it goes on being asked.
    pub(super) fn relieve(&mut self, ticket: Ticket, outboxes: &mut [Outbox]) {
        let Some(pending) = self.state.pendings.relieve(ticket) else { return };
        if let Some(Pending { waiters, .. }) = self.tell_stale(pending, outboxes) {
            self.state.pendings.wait_on(ticket, waiters);
        }
    }

    /// Tells what was kept to those that have waited long enough.
    pub(crate) fn overdue(&mut self, outboxes: &mut [Outbox]) {
        while let Some(&(_, ticket)) = self.state.patience.front().filter(|(due, _)| *due <= self.state.now) {
            self.state.patience.pop_front();
            self.relieve(ticket, outboxes);
        }
    }

    /// Tells each that waits the same.
    fn tell_all(
        &mut self,
        pending: Pending,
        reply: &Reply<'_>,
        outcome: impl Fn(policies::Grant) -> Outcome,
        source: Source,
        outboxes: &mut [Outbox],
    ) {
        let Pending { question, grant, waiters, .. } = pending;
        for waiter in waiters {
            let mut message = room(&waiter.route, outboxes);
            reply.write(&waiter.asker.glimpse(question.get()), &mut message);
            let told = Told::of(reply, waiter.at, outcome(grant.clone()), source);
            self.deliver(waiter.route, message, Some(told), outboxes);
        }
    }

    fn refuse_all(&mut self, pending: Pending, refusal: &policies::Refusal, source: Source, outboxes: &mut [Outbox]) {
        let Pending { question, waiters, .. } = pending;
        for waiter in waiters {
            let asker = waiter.asker.glimpse(question.get());
            self.refuse(&asker, waiter.route, waiter.at, refusal.clone(), source, outboxes);
        }
    }

    fn fail(&mut self, pending: Pending, failure: Failure, outcome: impl Fn(policies::Grant) -> Outcome, outboxes: &mut [Outbox]) {
        self.counters.servfail.many(pending.waiters.len());
        self.tell_all(pending, &Reply::fail(failure), outcome, Source::Here, outboxes);
    }

    /// Counts what an answer lost.
    fn count_left_out(&self, left_out: LeftOut) {
        self.counters.stray_records.many(left_out.strays);
        self.counters.stripped_addresses.many(left_out.stripped);
    }
}
