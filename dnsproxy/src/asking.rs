//! Asking the resolvers the pod would have asked: the fastest that lives, over several of them, for less time than a stub waits.
//!
//! All of it runs on the resolver's own thread, without waiting and without a clock of its own. One round of the engine may `ask` many
//! questions, and hears many answers; `flush` sends what has gathered, in one system call a socket. Nothing on the way of a question
//! that is answered by the first server allocates, but for tables that grow to their bound.
//!
//! | part | what |
//! | --- | --- |
//! | `octets.rs` | a question, written |
//! | `accept.rs` | what counts as its answer |
//! | `server.rs` | how a server fares, and which is the best |
//! | `socket.rs`, `pool.rs` | sockets, kept and rotated; what that leaves a forger |
//! | `tries.rs` | the tables of what is in flight |
//! | `course.rs` | whom a question goes to next, and how it ends |
//! | `hearing.rs` | what comes in |
//! | `streams.rs` | TCP |
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    config::{Identity, Limits},
    question::Question,
    stats::Counters,
};

mod accept;
mod course;
mod hearing;
mod octets;
mod pool;
mod random;
mod server;
mod socket;
mod streams;
mod tries;

use octets::Asked;
use pool::Pool;
use random::Random;
use server::Server;
pub use server::{Trouble, UpstreamHealth};
use socket::Post;
pub(crate) use streams::{StreamDone, Streams};
use tries::{InFlight, Pending, Purpose};

/// Which question an answer belongs to. The index is used again later; the
/// ticket as a whole is not (until 2³² questions later).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ticket {
    index: u32,
    serial: u32,
}

impl Ticket {
    /// A place for it in a table as long as [`Limits::in_flight`].
    pub(crate) fn index(self) -> usize {
        self.index as usize
    }
}

/// How a question ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome<'a> {
    /// A server said NOERROR or NXDOMAIN. Id, name, type and class are those asked; nothing else about the message is to be trusted.
    Answer {
        /// The whole message, its question in lower case. Its records could be walked to the last one, which is all that is known of them.
        message: &'a [u8],
        /// The server.
        from: SocketAddr,
    },
    /// No server did.
    Failed(Failure),
}

/// Why a question has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// No server gave any sign of life in time: what was known before may be told (RFC 8767).
    Silent,
    /// A server answered, with an error code or with what cannot be read.
    Errors,
}

/// So many questions are in flight that this one was not asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many questions are in flight")]
pub(crate) struct TooMany;

/// Where outcomes go.
pub(crate) type Settle<'a> = &'a mut dyn FnMut(Ticket, Outcome<'_>);

/// What [`Asking`] is made from.
#[derive(Debug)]
pub(crate) struct Setup {
    /// The servers, most wanted first. At most [`MAX_SERVERS`]; further ones are left out.
    pub(crate) servers: Vec<SocketAddr>,
    /// How the ruleset knows the proxy's own sockets.
    pub(crate) identity: Option<Identity>,
    /// Bounds; used are `in_flight`, `upstream_try` and `upstream_total`.
    pub(crate) limits: Limits,
    /// Where the sockets are registered.
    pub(crate) registry: mio::Registry,
    /// The first of [`TOKENS`] tokens that are for the sockets here.
    pub(crate) first_token: usize,
    /// TCP, for what does not fit a datagram.
    pub(crate) streams: Streams,
    /// What is counted.
    pub(crate) counters: Arc<Counters>,
}

/// The most servers.
pub(crate) const MAX_SERVERS: usize = 16;

/// How many tokens the sockets take.
pub(crate) const TOKENS: usize = 512;

/// Between two looks at all questions in flight, if none was asked for at once: so many time-outs at slightly different times cost one
/// look.
const GRAIN: Duration = Duration::from_millis(5);

/// All upstream servers, their sockets, and all questions in flight.
#[derive(Debug)]
pub(crate) struct Asking {
    /// By slot: a server keeps its slot as long as it is one of ours.
    servers: [Option<Server>; MAX_SERVERS],
    /// The slots, the most wanted server's first.
    order: Vec<u8>,
    pool: Pool,
    /// Lent out while something is received.
    post: Option<Post>,
    random: Random,
    flight: InFlight,
    in_flight: usize,
    longest_wait: Duration,
    total: Duration,
    identity: Option<Identity>,
    streams: Streams,
    counters: Arc<Counters>,
    /// Sockets with something to send.
    dirty: Vec<u32>,
    /// Sockets that could not send: their questions go elsewhere at the next tick.
    broken: Vec<u32>,
    /// Never later than what is due first.
    next_due: Option<Instant>,
    /// Room for a list of what is due.
    due: Vec<u32>,
}

impl Asking {
    /// Nothing is opened before the first question.
    pub(crate) fn new(setup: Setup) -> Self {
        let mut asking = Self {
            servers: [const { None }; MAX_SERVERS],
            order: Vec::new(),
            pool: Pool::new(setup.registry, setup.first_token, setup.identity),
            post: Some(Post::new()),
            random: Random::new(),
            flight: InFlight::default(),
            in_flight: setup.limits.in_flight.max(1),
            longest_wait: setup.limits.upstream_try,
            total: setup.limits.upstream_total,
            identity: setup.identity,
            streams: setup.streams,
            counters: setup.counters,
            dirty: Vec::new(),
            broken: Vec::new(),
            next_due: None,
            due: Vec::new(),
        };
        asking.name_servers(&setup.servers);
        asking
    }

    /// Takes other servers. Of those that stay, all that is known stays; questions to others go on with the rest.
    pub(crate) fn set_servers(&mut self, servers: &[SocketAddr], now: Instant) {
        for (slot, place) in (0..).zip(&mut self.servers) {
            if place.as_ref().is_none_or(|server| servers.iter().take(MAX_SERVERS).any(|stays| *stays == server.address)) {
                continue;
            }
            *place = None;
            for index in self.flight.tries(|one| one.server == slot) {
                self.flight.end(index);
            }
            for socket in self.pool.of_server(slot) {
                self.pool.close(socket);
            }
            for (_, pending) in self.flight.pendings() {
                // Another server may come into the slot, and is asked like any other.
                pending.spoken &= !bit(slot);
                pending.asked_in_round &= !bit(slot);
                if pending.main.is_none() {
                    match pending.purpose {
                        Purpose::Answer => pending.resume = Some(now),
                        Purpose::Measure(_) => pending.deadline = now,
                    }
                    pending.due = pending.due.min(now);
                    self.next_due = Some(now);
                }
            }
        }
        self.name_servers(servers);
    }

    /// Gives each server a slot, and notes their order.
    fn name_servers(&mut self, servers: &[SocketAddr]) {
        self.order.clear();
        for address in servers.iter().take(MAX_SERVERS) {
            let own = self.servers.iter().position(|server| server.as_ref().is_some_and(|server| server.address == *address));
            let Some(slot) = own.or_else(|| self.servers.iter().position(Option::is_none)) else { continue };
            let Some((place, slot)) = self.servers.get_mut(slot).zip(u8::try_from(slot).ok()) else { continue };
            place.get_or_insert_with(|| Server::new(*address));
            if !self.order.contains(&slot) {
                self.order.push(slot);
            }
        }
    }

    /// Begins to ask; [`flush`](Self::flush) sends. `authentic_data` is the AD bit (RFC 6840 §5.7).
    ///
    /// The outcome comes from `readable`, `tick` or `streamed`, never from here.
    ///
    /// # Errors
    /// [`TooMany`] are in flight. (Also for a name that is longer than names can be, which no parser lets through.)
    pub(crate) fn ask(&mut self, question: Question<'_>, authentic_data: bool, now: Instant) -> Result<Ticket, TooMany> {
        if self.flight.len() >= self.in_flight {
            return Err(TooMany);
        }
        let asked = Asked::new(question, authentic_data).ok_or(TooMany)?;
        let ticket = self.flight.insert(Pending::new(asked, Purpose::Answer, now + self.total));
        if self.advance(ticket.index, false, now).is_err() {
            self.resume(ticket.index, now);
        }
        self.note_due(ticket.index);
        self.measure(ticket, now);
        Ok(ticket)
    }

    /// Sends all that waits to be sent. To be called at the end of each round: `ask`, `readable`, `tick` and `streamed` all may leave
    /// something.
    pub(crate) fn flush(&mut self, now: Instant) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for place in dirty.drain(..) {
            let (Some(socket), Some(post)) = (self.pool.get(place), &mut self.post) else { continue };
            if let Err(error) = socket.send(post) {
                tracing::debug!(%error, "a question could not be sent");
                self.broken.push(place);
                self.next_due = Some(now);
            }
        }
        self.dirty = dirty;
    }

    /// Whether the token is of a socket here.
    pub(crate) fn owns(&self, token: mio::Token) -> bool {
        self.pool.place(token).is_some()
    }

    /// Time-outs, fail-over and the end of questions.
    pub(crate) fn tick(&mut self, now: Instant, settle: Settle<'_>) {
        for place in std::mem::take(&mut self.broken) {
            self.unreachable(place, now, settle);
        }
        if self.next_due.is_none_or(|due| now < due) {
            return;
        }
        let mut due = std::mem::take(&mut self.due);
        due.extend(self.flight.pendings().filter(|(_, pending)| pending.due <= now).map(|(index, _)| index));
        for index in due.drain(..) {
            self.time_passed(index, now, settle);
        }
        self.due = due;
        self.next_due = self.flight.pendings().map(|(_, pending)| pending.due).min().map(|due| due.max(now + GRAIN));
    }

    /// When `tick` is due; `None` if nothing waits.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.next_due.filter(|_| self.flight.len() > 0 || !self.broken.is_empty())
    }

    /// Whether no server is known to live: then a question is not likely to be answered.
    pub(crate) fn all_down(&self) -> bool {
        self.listed().all(Server::is_down)
    }

    /// What is known of each server, in the configured order.
    pub(crate) fn health(&self, now: Instant) -> Vec<UpstreamHealth> {
        self.listed().map(|server| server.health(now)).collect()
    }

    fn listed(&self) -> impl Iterator<Item = &Server> {
        self.order.iter().filter_map(|slot| self.servers.get(usize::from(*slot))?.as_ref())
    }
}

/// A slot as a bit of a set.
fn bit(slot: u8) -> u16 {
    1u16.checked_shl(u32::from(slot)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
