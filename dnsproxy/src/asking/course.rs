//! Whom a question goes to next: each server once a round, the best first, with longer waits each round, until one helps.

use std::time::{Duration, Instant};

use super::{
    Asking, Failure, Outcome, Settle, Ticket, bit,
    octets::Spelling,
    server::{Manner, Server, Trouble},
    tries::{Pending, Purpose, Try},
};

/// Packets sent for one question, over all servers and rounds.
const TRIES: u8 = 8;

/// Rounds in which no server could be reached, after which it is over.
const ROUNDS: u8 = 3;

/// The pause before servers that could not be reached are tried again; doubled each round.
const PAUSE: Duration = Duration::from_millis(200);

/// One question in so many goes to another server as well, to measure it.
const MEASURED: usize = 50;

/// How long a copy that measures is in flight at most.
const PATIENCE: Duration = Duration::from_secs(2);

impl Asking {
    /// Sends the question to the next server. `lost` says that the last one let its time pass: then a new round begins without a
    /// pause.
    ///
    /// # Errors
    /// There is nobody left to ask or to hear.
    pub(super) fn advance(&mut self, index: u32, lost: bool, now: Instant) -> Result<(), Failure> {
        let mut pause = !lost;
        loop {
            let Some(pending) = self.flight.pending(index) else { return Ok(()) };
            pending.resume = None;
            let (spoken, passed) = (pending.spoken, pending.spoken | pending.asked_in_round);
            let failure = if spoken == 0 { Failure::Silent } else { Failure::Errors };
            if matches!(pending.purpose, Purpose::Measure(_)) || self.order.iter().all(|slot| spoken & bit(*slot) != 0) {
                return Err(failure);
            }
            if pending.sent >= TRIES {
                return if self.flight.newest(index).is_some() { Ok(()) } else { Err(failure) };
            }
            if let Some(slot) = self.best(|slot| passed & bit(slot) == 0) {
                pending_mut(&mut self.flight, index, |pending| pending.asked_in_round |= bit(slot));
                let Some(manner) = self.server(slot).map(|server| server.manner(now)) else { continue };
                if self.send(index, slot, manner, true, now) {
                    return Ok(());
                }
                continue;
            }
            let open = self.flight.newest(index).is_some();
            let Some(pending) = self.flight.pending(index) else { return Ok(()) };
            pending.asked_in_round = 0;
            pending.round += 1;
            if pending.round >= ROUNDS && !open && pause {
                return Err(failure);
            }
            if std::mem::replace(&mut pause, true) {
                pending.resume = Some(now + PAUSE.saturating_mul(1 << pending.round.clamp(1, 8)) / 2);
                return Ok(());
            }
        }
    }

    /// The best server of which `may` is true.
    fn best(&self, may: impl Fn(u8) -> bool) -> Option<u8> {
        // Of equals the one listed first.
        let may = self.order.iter().copied().filter(|slot| may(*slot));
        may.filter_map(|slot| Some((self.servers.get(usize::from(slot))?.as_ref()?.rank(), slot)))
            .min_by_key(|(rank, _)| *rank)
            .map(|(_, slot)| slot)
    }

    /// The server in a slot.
    pub(super) fn server(&mut self, slot: u8) -> Option<&mut Server> {
        self.servers.get_mut(usize::from(slot))?.as_mut()
    }

    /// Sends the question to a server; false if it could not be. With `main`, its time-out is what the question waits for.
    pub(super) fn send(&mut self, index: u32, slot: u8, manner: Manner, main: bool, now: Instant) -> bool {
        let Some(server) = self.servers.get_mut(usize::from(slot)).and_then(Option::as_mut) else { return false };
        let place = match self.pool.pick(slot, server.address, &mut self.random, now) {
            Ok(place) => place,
            Err(error) => {
                tracing::debug!(upstream = %server.address, %error, "no socket for a question");
                self.counters.upstream_errors.one();
                server.silent(Trouble::Unreachable, now);
                return false;
            }
        };
        let Some(pending) = self.flight.pending(index).filter(|pending| pending.sent < TRIES) else { return false };
        let Some(socket) = self.pool.get(place) else { return false };
        let spelling = if manner.mixed_case { pending.asked.spelling(&mut self.random) } else { Some(Spelling::default()) };
        let (Some(id), Some(spelling)) = (socket.free_id(&mut self.random), spelling) else { return false };
        pending.sent += 1;
        let due = now + server.wait(self.longest_wait).saturating_mul(1 << pending.round.min(8));
        let Some(of) = self.flight.add(index, Try::new(slot, manner, spelling, id, place, now, due)) else { return false };
        let Some(pending) = self.flight.pending(index) else { return false };
        if main {
            pending.main = Some(of);
        }
        pending.due = pending.due.min(due);
        if socket.book(id, of.index, |outbox| pending.asked.write(id, &spelling, manner, outbox)) {
            self.dirty.push(place);
        }
        true
    }

    /// Sends a copy of a question that was just asked to servers of which too little is known, or that may live again.
    pub(super) fn measure(&mut self, ticket: Ticket, now: Instant) {
        if self.order.len() < 2 {
            return;
        }
        let Some(asked) = self.flight.newest(ticket.index).and_then(|newest| self.flight.get(newest)).map(|(_, one, _)| one.server) else {
            return;
        };
        let drawn = match self.random.below(MEASURED) {
            Some(0) => self.random.below(self.order.len()),
            _ => None,
        };
        for at in 0..self.order.len() {
            let Some(slot) = self.order.get(at).copied().filter(|slot| *slot != asked) else { continue };
            if self.flight.len() >= self.in_flight {
                return;
            }
            let Some(server) = self.server(slot).filter(|server| server.wants_extra(drawn == Some(at), now)) else { continue };
            server.extra_sent(now);
            let manner = server.manner(now);
            let Some(pending) = self.flight.pending(ticket.index) else { return };
            let copy = Pending::new(pending.asked.clone(), Purpose::Measure(ticket), now + PATIENCE.min(self.total));
            let copy = self.flight.insert(copy).index;
            if self.send(copy, slot, manner, true, now) {
                self.note_due(copy);
            } else {
                self.drop_question(copy);
            }
        }
    }

    /// Looks after a question of which something is due.
    pub(super) fn time_passed(&mut self, index: u32, now: Instant, settle: Settle<'_>) {
        let mut lost = false;
        let mut at = self.flight.newest(index);
        while let Some(place) = at {
            at = self.flight.older(place);
            let Some((id, one, pending)) = self.flight.get(place) else { break };
            if one.due.is_none_or(|due| now < due) {
                continue;
            }
            // It stays open: its answer is welcome until another one has come.
            one.due = None;
            if pending.main == Some(id) {
                pending.main = None;
                lost = true;
            }
            let (slot, sent, socket) = (one.server, one.sent, one.socket);
            self.counters.upstream_errors.one();
            if let Some(server) = self.server(slot) {
                server.silent(Trouble::TimedOut, sent);
            }
            if let Some(socket) = socket {
                self.pool.timed_out(socket);
            }
        }
        let Some(pending) = self.flight.pending(index) else { return };
        let measures = matches!(pending.purpose, Purpose::Measure(_));
        if now >= pending.deadline {
            let failure = if pending.spoken == 0 { Failure::Silent } else { Failure::Errors };
            self.fail(index, failure, settle);
        } else if !measures && (lost || pending.resume.is_some_and(|resume| resume <= now)) {
            self.go_on(index, lost, now, settle);
        } else {
            self.note_due(index);
        }
    }

    /// [`advance`](Self::advance), or the end.
    pub(super) fn go_on(&mut self, index: u32, lost: bool, now: Instant, settle: Settle<'_>) {
        match self.advance(index, lost, now) {
            Ok(()) => self.note_due(index),
            Err(failure) => self.fail(index, failure, settle),
        }
    }

    /// Has the question looked after at the next tick.
    pub(super) fn resume(&mut self, index: u32, at: Instant) {
        pending_mut(&mut self.flight, index, |pending| pending.resume = Some(at));
    }

    /// Sees to it that the next tick is early enough for a question.
    pub(super) fn note_due(&mut self, index: u32) {
        let Some(due) = self.flight.note_due(index) else { return };
        self.next_due = Some(self.next_due.map_or(due, |next| next.min(due)));
    }

    /// Ends a question without an answer.
    pub(super) fn fail(&mut self, index: u32, failure: Failure, settle: Settle<'_>) {
        let ticket = self.flight.ticket(index);
        if let (Some(ticket), Some(Purpose::Answer)) = (ticket, self.drop_question(index)) {
            settle(ticket, Outcome::Failed(failure));
        }
    }

    /// Forgets a question and its tries; what it was for.
    pub(super) fn drop_question(&mut self, index: u32) -> Option<Purpose> {
        while let Some(newest) = self.flight.newest(index) {
            let Some(one) = self.flight.end(newest) else { break };
            let Some(place) = one.socket else { continue };
            if let Some(socket) = self.pool.get(place) {
                socket.settled(one.id);
            }
            self.pool.tidy(place);
        }
        self.flight.remove(index).map(|pending| pending.purpose)
    }
}

/// Changes a question, if it is there.
fn pending_mut(flight: &mut super::InFlight, index: u32, change: impl FnOnce(&mut Pending)) {
    if let Some(pending) = flight.pending(index) {
        change(pending);
    }
}
