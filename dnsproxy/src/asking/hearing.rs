//! What comes from upstream: heard once, judged, and either the end of a question or the reason to ask on.

use std::time::Instant;

use mio::Token;
use nix::errno::Errno;

use super::{
    Asking, Failure, Outcome, Settle, StreamDone,
    accept::{self, Heard},
    bit,
    octets::HEADER,
    pool::STRAYS,
    server::Trouble,
    socket::{Booked, Post},
    streams::Exchange,
    tries::{Purpose, TryId},
};

impl Asking {
    /// Reads a socket until it is empty: to be called for every event of a token here, errors too, for that is how the kernel tells that
    /// a server cannot be reached. A token of a socket that is closed by now does no harm.
    pub(crate) fn readable(&mut self, token: Token, now: Instant, settle: Settle<'_>) {
        let Some(place) = self.pool.place(token) else { return };
        // The buffers are lent to this loop: what is heard in them changes all the rest.
        let Some(mut post) = self.post.take() else { return };
        self.drain(place, &mut post, now, settle);
        self.post = Some(post);
    }

    fn drain(&mut self, place: u32, post: &mut Post, now: Instant, settle: Settle<'_>) {
        let Some(serial) = self.pool.get(place).map(|socket| socket.serial) else { return };
        while let Some(socket) = self.pool.get(place).filter(|socket| socket.serial == serial) {
            let received = match socket.receive(post) {
                Ok(received) => received,
                Err(Errno::EAGAIN) => return,
                Err(Errno::EINTR) => continue,
                Err(error) => {
                    tracing::debug!(%error, "the network says that a question did not arrive");
                    return self.unreachable(place, now, settle);
                }
            };
            for index in 0..received.count {
                let Some((octets, whole)) = post.message(index) else { break };
                self.hear(place, octets, whole, now, settle);
                // What came to a port that is closed by now is no guess at the one that has its place.
                if self.pool.get(place).is_none_or(|socket| socket.serial != serial) {
                    return;
                }
            }
            if received.drained {
                return;
            }
        }
    }

    /// One datagram.
    fn hear(&mut self, place: u32, octets: &mut [u8], whole: bool, now: Instant, settle: Settle<'_>) {
        let Some(socket) = self.pool.get(place) else { return };
        let booked = accept::id(octets).map(|id| (id, socket.booked(id)));
        let (id, index) = match booked {
            Some((id, Booked::Try(index))) => (id, index),
            Some((id, Booked::Settled)) => {
                // Late, for a question that another answer has settled: it is no sign of a forger.
                socket.answered(id);
                return self.counters.upstream_strays.one();
            }
            Some((_, Booked::Unknown)) | None => return self.stray(place, now, settle),
        };
        let Some((of, one, pending)) = self.flight.get(index) else { return };
        match accept::judge(octets, whole, &pending.asked, &one.spelling, one.manner.mixed_case) {
            Heard::Stray => self.stray(place, now, settle),
            heard => {
                one.socket = None;
                socket.answered(id);
                self.pool.tidy(place);
                self.heard(of, heard, octets, now, settle);
            }
        }
    }

    /// An answer to a try, over whichever transport.
    fn heard(&mut self, of: TryId, heard: Heard, octets: &mut [u8], now: Instant, settle: Settle<'_>) {
        let Some((one, pending)) = self.flight.still(of) else { return };
        let (slot, manner, sent, streamed, index, purpose) = (one.server, one.manner, one.sent, one.streamed, one.pending, pending.purpose);
        let was_main = pending.main == Some(of);
        let name = pending.asked.name().len();
        let Some(server) = self.servers.get_mut(usize::from(slot)).and_then(Option::as_mut) else { return };
        let from = server.address;
        let mut again = manner;
        let trouble = match heard {
            Heard::Stray => return,
            Heard::Answer => {
                server.answered(manner, now);
                if !streamed {
                    server.took(now.saturating_duration_since(sent));
                }
                if let Some(name) = octets.get_mut(HEADER..HEADER + name) {
                    name.make_ascii_lowercase();
                }
                let own = self.flight.ticket(index);
                self.drop_question(index);
                let told = match purpose {
                    Purpose::Answer => own,
                    Purpose::Measure(ticket) => Some(ticket).filter(|ticket| self.flight.ticket(ticket.index) == Some(*ticket)),
                };
                if let Some(ticket) = told {
                    self.drop_question(ticket.index);
                    settle(ticket, Outcome::Answer { message: octets, from });
                }
                return;
            }
            Heard::Truncated => {
                server.took(now.saturating_duration_since(sent));
                server.lives(now);
                if matches!(purpose, Purpose::Measure(_)) {
                    self.drop_question(index);
                } else {
                    self.over_tcp(of, now, settle);
                }
                return;
            }
            Heard::OtherCase => {
                again.mixed_case = false;
                Trouble::Garbled
            }
            Heard::Code(accept::FORMERR | accept::NOTIMP | accept::BADVERS) if manner.edns => {
                again.edns = false;
                Trouble::ErrorCode
            }
            Heard::Code(_) => Trouble::ErrorCode,
            Heard::Broken => Trouble::Garbled,
        };
        self.flight.end(of.index);
        // Two things can be learnt of a server, each once.
        if again != manner && self.send(index, slot, again, was_main, now) {
            return self.note_due(index);
        }
        tracing::debug!(upstream = %from, ?heard, "an upstream gave no usable answer");
        self.useless(index, slot, trouble, was_main, now, settle);
    }

    /// A server has answered, and it helps nobody: it is not asked again for this question.
    fn useless(&mut self, index: u32, slot: u8, trouble: Trouble, was_main: bool, now: Instant, settle: Settle<'_>) {
        self.counters.upstream_errors.one();
        if let Some(server) = self.server(slot) {
            server.erred(trouble, now);
        }
        let Some(pending) = self.flight.pending(index) else { return };
        pending.spoken |= bit(slot);
        let spoken = pending.spoken;
        // One that was late has been followed by another already, unless it was the last to be heard of.
        if was_main || self.order.iter().all(|slot| spoken & bit(*slot) != 0) || matches!(pending.purpose, Purpose::Measure(_)) {
            self.go_on(index, false, now, settle);
        } else {
            self.note_due(index);
        }
    }

    /// Asks the same again over TCP.
    fn over_tcp(&mut self, of: TryId, now: Instant, settle: Settle<'_>) {
        let Some((one, pending)) = self.flight.still(of) else { return };
        let (index, slot) = (one.pending, one.server);
        let Some(server) = self.servers.get(usize::from(slot)).and_then(Option::as_ref) else { return };
        one.streamed = true;
        let mut message = Vec::new();
        pending.asked.write(one.id, &one.spelling, one.manner, &mut message);
        let within = pending.deadline.saturating_duration_since(now);
        // A connection takes a round-trip more.
        one.due = Some(now + 2 * server.wait(self.longest_wait));
        self.counters.upstream_tcp.one();
        if self.streams.begin(Exchange { of, server: server.address, identity: self.identity, message, within }) {
            return self.note_due(index);
        }
        tracing::debug!("too many exchanges over TCP are under way");
        let was_main = pending.main == Some(of);
        self.flight.end(of.index);
        self.useless(index, slot, Trouble::Garbled, was_main, now, settle);
    }

    /// Takes what came over TCP.
    pub(crate) fn streamed(&mut self, done: StreamDone, now: Instant, settle: Settle<'_>) {
        let Some((one, pending)) = self.flight.still(done.of) else { return };
        let (index, slot, was_main) = (one.pending, one.server, pending.main == Some(done.of));
        let trouble = match done.result {
            Ok(mut octets) => {
                let heard = match accept::id(&octets) {
                    Some(id) if id == one.id => accept::judge(&octets, true, &pending.asked, &one.spelling, one.manner.mixed_case),
                    _ => Heard::Stray,
                };
                match heard {
                    // Nothing is too long for a stream: such an answer is broken.
                    Heard::Truncated => Trouble::Garbled,
                    Heard::Stray => {
                        self.counters.upstream_strays.one();
                        Trouble::Garbled
                    }
                    heard => return self.heard(done.of, heard, &mut octets, now, settle),
                }
            }
            Err(error) => {
                tracing::debug!(%error, "an exchange over TCP failed");
                if error.kind() == std::io::ErrorKind::TimedOut { Trouble::TimedOut } else { Trouble::Unreachable }
            }
        };
        self.flight.end(done.of.index);
        self.useless(index, slot, trouble, was_main, now, settle);
    }

    /// A packet that answers nothing; after too many, all that waits on the socket is asked over another one.
    fn stray(&mut self, place: u32, now: Instant, settle: Settle<'_>) {
        self.counters.upstream_strays.one();
        let Some(socket) = self.pool.get(place) else { return };
        socket.strays += 1;
        if socket.strays <= STRAYS {
            return;
        }
        let (slot, tries) = (socket.server, socket.tries());
        self.pool.close(place);
        let Some(server) = self.server(slot) else { return };
        tracing::debug!(upstream = %server.address, "a socket is given up: too much that answers nothing");
        server.garbled();
        for index in tries {
            let Some((of, one, pending)) = self.flight.get(index) else { continue };
            let (question, manner, was_main) = (one.pending, one.manner, pending.main == Some(of));
            self.flight.end(index);
            if self.send(question, slot, manner, was_main, now) {
                self.note_due(question);
            } else {
                self.lost(question, was_main, now, settle);
            }
        }
    }

    /// The network said that the server cannot be reached: all that waits on the socket goes elsewhere at once.
    pub(super) fn unreachable(&mut self, place: u32, now: Instant, settle: Settle<'_>) {
        let Some(socket) = self.pool.get(place) else { return };
        let (slot, tries) = (socket.server, socket.tries());
        self.pool.close(place);
        if tries.is_empty() {
            return;
        }
        self.counters.upstream_errors.many(tries.len());
        if let Some(server) = self.server(slot) {
            server.silent(Trouble::Unreachable, now);
        }
        for index in tries {
            let Some((of, one, pending)) = self.flight.get(index) else { continue };
            let (question, was_main) = (one.pending, pending.main == Some(of));
            self.flight.end(index);
            self.lost(question, was_main, now, settle);
        }
    }

    /// A try has ended without an answer, before its time.
    fn lost(&mut self, index: u32, was_main: bool, now: Instant, settle: Settle<'_>) {
        let Some(pending) = self.flight.pending(index) else { return };
        if matches!(pending.purpose, Purpose::Measure(_)) {
            self.fail(index, Failure::Silent, settle);
        } else if was_main || (self.flight.newest(index).is_none() && pending_rests(&mut self.flight, index)) {
            self.go_on(index, false, now, settle);
        } else {
            self.note_due(index);
        }
    }
}

/// Whether nothing is planned for a question.
fn pending_rests(flight: &mut super::InFlight, index: u32) -> bool {
    flight.pending(index).is_some_and(|pending| pending.resume.is_none())
}
