//! Replies that wait to be sent together, each with what is told about it once it has left. Room is made once and used again.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use hickory_proto::op::ResponseCode;
use policies::Policy;

use crate::{
    observer::{Event, Observer, Outcome, Source, Transport},
    reply::Reply,
};

/// Replies to the clients of one socket.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    replies: Vec<Waiting>,
    /// Room of replies that have left.
    free: Vec<Vec<u8>>,
}

/// A reply that waits to be sent.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) message: Vec<u8>,
    pub(crate) client: SocketAddr,
    told: Option<Told>,
}

/// What became of a query, for who is told.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) at: Instant,
    pub(crate) outcome: Outcome,
    pub(crate) source: Source,
    pub(crate) rcode: ResponseCode,
    pub(crate) ttl: Option<u32>,
}

impl Told {
    /// Of `reply`, to a query that came at `at`.
    pub(crate) fn of(reply: &Reply<'_>, at: Instant, outcome: Outcome, source: Source) -> Self {
        Self { at, outcome, source, rcode: reply.rcode(), ttl: reply.ttl() }
    }

    /// Tells it.
    pub(crate) fn tell(&self, observer: &impl Observer, policy: &Arc<Policy>, message: &[u8], client: SocketAddr, transport: Transport) {
        observer.told(&Event {
            client,
            transport,
            policy,
            outcome: &self.outcome,
            source: self.source,
            rcode: self.rcode,
            ttl: self.ttl,
            at: self.at,
            message,
        });
    }
}

impl Outbox {
    /// Room for a reply.
    pub(crate) fn room(&mut self) -> Vec<u8> {
        self.free.pop().unwrap_or_default()
    }

    /// Puts a reply in, with what is told once it has left.
    pub(crate) fn put(&mut self, client: SocketAddr, message: Vec<u8>, told: Option<Told>) {
        self.replies.push(Waiting { message, client, told });
    }

    /// What waits.
    pub(crate) fn replies(&self) -> &[Waiting] {
        &self.replies
    }

    /// Tells of all that has left, and is empty again.
    pub(crate) fn left(&mut self, observer: &impl Observer, policy: &Arc<Policy>) {
        for reply in self.replies.drain(..) {
            if let Some(told) = reply.told {
                told.tell(observer, policy, &reply.message, reply.client, Transport::Udp);
            }
            if self.free.len() < KEPT {
                self.free.push(reply.message);
            }
        }
    }
}

/// Room for so many replies is kept for the next round.
const KEPT: usize = 64;
