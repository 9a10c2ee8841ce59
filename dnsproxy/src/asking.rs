//! Asking the resolvers the pod would have asked, on the resolver's own thread.
use std::{net::SocketAddr, sync::Arc, time::Instant};

use crate::{
    config::{Identity, Limits},
    question::Question,
    stats::Counters,
};

mod server;
mod streams;
mod tries;

pub(crate) use server::UpstreamHealth;
pub(crate) use streams::{StreamDone, Streams};

/// Which question an answer belongs to. The index is below the number of questions that may be in flight, and is used again later; the
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

/// All upstream servers, their sockets, and all questions in flight.
#[derive(Debug)]
pub(crate) struct Asking {
    setup: Setup,
}

impl Asking {
    /// Nothing is opened before the first question.
    pub(crate) fn new(setup: Setup) -> Self {
        Self { setup }
    }

    /// Takes other servers. Of those that stay, all that is known stays; questions to others go on with the rest.
    pub(crate) fn set_servers(&mut self, servers: &[SocketAddr], now: Instant) {
        let _ = (servers, now);
    }

    /// Begins to ask; [`flush`](Self::flush) sends. `authentic_data` is the AD bit (RFC 6840 §5.7).
    ///
    /// The outcome comes from `readable`, `tick` or `streamed`, never from here.
    ///
    /// # Errors
    /// [`TooMany`] are in flight.
    pub(crate) fn ask(&mut self, question: Question<'_>, authentic_data: bool, now: Instant) -> Result<Ticket, TooMany> {
        let _ = (question, authentic_data, now);
        Err(TooMany)
    }

    /// Sends all that waits to be sent. To be called at the end of each round: `ask`, `readable`, `tick` and `streamed` all may leave
    /// something.
    pub(crate) fn flush(&mut self, now: Instant) {
        let _ = now;
    }

    /// Whether the token is of a socket here.
    pub(crate) fn owns(&self, token: mio::Token) -> bool {
        (self.setup.first_token..self.setup.first_token + TOKENS).contains(&token.0)
    }

    /// Reads a socket until it is empty.
    pub(crate) fn readable(&mut self, token: mio::Token, now: Instant, settle: Settle<'_>) {
        let _ = (token, now, settle);
    }

    /// Time-outs, fail-over and the end of questions.
    pub(crate) fn tick(&mut self, now: Instant, settle: Settle<'_>) {
        let _ = (now, settle);
    }

    /// When `tick` is due; `None` if nothing waits.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Takes what came over TCP.
    pub(crate) fn streamed(&mut self, done: StreamDone, now: Instant, settle: Settle<'_>) {
        let _ = (done, now, settle);
    }

    /// Whether no server is known to live: then a question is not likely to be answered.
    pub(crate) fn all_down(&self) -> bool {
        false
    }

    /// What is known of each server, in the configured order.
    pub(crate) fn health(&self, now: Instant) -> Vec<UpstreamHealth> {
        let _ = now;
        Vec::new()
    }
}
