//! The resolver's own thread: rounds of receiving, answering, one call of the gate for all that wait, and sending.
//!
//! Fast path. One thread without a lock does everything that a datagram needs, so nothing is handed over between its coming and its going, and the
//! system calls of a round are shared by all that came in it. What may wait (connections, streams to upstreams, reloads) lives elsewhere and
//! comes in by errands.

pub(crate) mod budgets;
pub(crate) mod core;
pub(crate) mod door;
pub(crate) mod errand;
pub(crate) mod outbox;
pub(crate) mod reverse;
pub(crate) mod targets;
pub(crate) mod waiting;

use std::{
    io,
    sync::mpsc::Receiver,
    time::{Duration, Instant},
};

use mio::{Events, Poll, Token};

use self::{
    core::Core,
    door::Door,
    errand::{Errand, QUEUE, Taken},
    outbox::Outbox,
    waiting::Route,
};
use crate::{
    asking::{Asking, StreamDone},
    gate::Gate,
    observer::Observer,
};

/// Readiness that is taken from the kernel at once.
const EVENTS: usize = 128;

/// Batches that one socket may hand over in a round, so that a flood on it does not keep the answers of upstreams waiting.
const TURNS: usize = 4;

/// Wakes the thread for errands.
pub(crate) const WAKER: Token = Token(0);

/// The token of the first UDP socket; the others follow.
pub(crate) const FIRST_DOOR: usize = 1;

/// The thread's own.
pub(crate) struct Engine<G, O> {
    pub(crate) poll: Poll,
    pub(crate) doors: Vec<Door>,
    pub(crate) outboxes: Vec<Outbox>,
    pub(crate) asking: Asking,
    pub(crate) core: Core<G, O>,
    pub(crate) errands: Taken<G>,
    pub(crate) streams: Receiver<StreamDone>,
    /// After the end is asked for, how long queries in flight may still take.
    pub(crate) drain: Duration,
}

impl<G: Gate, O: Observer> Engine<G, O> {
    /// Answers until it is told to stop, or nobody is left who could; then finishes what is in flight.
    pub(crate) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        let mut stopping: Option<Instant> = None;
        loop {
            if let Err(error) = self.poll.poll(&mut events, self.patience(stopping))
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::error!(%error, "the resolver cannot wait for queries");
                return;
            }
            let now = Instant::now();
            self.core.begin(now);
            for event in &events {
                self.ready(event.token(), now);
            }
            self.run_errands(now);
            if self.errands.is_stopped() && stopping.is_none() {
                stopping = now.checked_add(self.drain);
                for door in &mut self.doors {
                    door.close(self.poll.registry());
                }
            }
            self.receive();
            self.finish(now);
            if stopping.is_some_and(|end| self.core.waiters() == 0 || Instant::now() >= end) {
                if self.core.waiters() > 0 {
                    tracing::info!("queries in flight were given up at the end");
                }
                return;
            }
        }
    }

    /// How long there is nothing to do but wait.
    fn patience(&self, stopping: Option<Instant>) -> Option<Duration> {
        if self.doors.iter().any(|door| door.more) {
            return Some(Duration::ZERO);
        }
        let due = [self.asking.deadline(), self.core.deadline(), stopping].into_iter().flatten().min()?;
        // A millisecond more: the kernel's timer may end a little early, and then there would be nothing to do yet.
        Some(due.saturating_duration_since(Instant::now()) + Duration::from_millis(1))
    }

    fn ready(&mut self, token: Token, now: Instant) {
        if self.asking.owns(token) {
            let (core, outboxes) = (&mut self.core, &mut self.outboxes);
            self.asking.readable(token, now, &mut |ticket, outcome| core.settled(ticket, outcome, outboxes));
        } else if let Some(door) = token.0.checked_sub(FIRST_DOOR).and_then(|number| self.doors.get_mut(number)) {
            door.more = true;
        }
    }

    /// Does what other threads asked for.
    fn run_errands(&mut self, now: Instant) {
        let (core, outboxes, asking) = (&mut self.core, &mut self.outboxes, &mut self.asking);
        while let Ok(done) = self.streams.try_recv() {
            asking.streamed(done, now, &mut |ticket, outcome| core.settled(ticket, outcome, outboxes));
        }
        // As many as may wait: who goes on handing them over does not keep everybody else waiting.
        for errand in (0..QUEUE).map_while(|_| self.errands.next()) {
            match errand {
                Errand::Job(job) => core.with_gate(job),
                Errand::Refresh(name, six) => core.refresh(&name, six, asking),
                Errand::Upstreams(servers) => asking.set_servers(&servers, now),
                Errand::Ipv6(reachable) => core.ipv6 = reachable,
                // Who asked may be gone.
                Errand::Health(to) => drop(to.try_send(asking.health(now))),
            }
        }
        for (bytes, line) in (0..QUEUE).map_while(|_| self.errands.query()) {
            core.handle(&bytes, Route::Tcp(line), asking, outboxes);
        }
    }

    /// Takes what clients ask.
    fn receive(&mut self) {
        let (core, outboxes, asking) = (&mut self.core, &mut self.outboxes, &mut self.asking);
        for (number, door) in self.doors.iter_mut().enumerate() {
            for _ in 0..TURNS {
                if !door.more {
                    break;
                }
                door.receive(|bytes, client| core.handle(bytes, Route::Udp(number, client), asking, outboxes));
            }
        }
    }

    /// Sends what the round brought.
    fn finish(&mut self, now: Instant) {
        let (core, outboxes, asking) = (&mut self.core, &mut self.outboxes, &mut self.asking);
        asking.flush(now);
        if asking.deadline().is_some_and(|due| due <= now) {
            asking.tick(now, &mut |ticket, outcome| core.settled(ticket, outcome, outboxes));
            asking.flush(now);
        }
        core.overdue(outboxes);
        core.commit(outboxes);
        for (door, outbox) in self.doors.iter_mut().zip(outboxes) {
            if !outbox.replies().is_empty() {
                let lost = door.send(outbox);
                core.left(outbox, lost);
            }
        }
    }
}
