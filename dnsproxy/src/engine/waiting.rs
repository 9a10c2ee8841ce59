//! Who waits for which question: equal questions are asked once, and all who wait for them share the answer.

use std::{net::SocketAddr, time::Instant};

use hashbrown::{Equivalent, HashMap};
use policies::Grant;
use tokio::sync::mpsc;

use crate::{
    asking::Ticket,
    glimpse::Glimpse,
    observer::Transport,
    query::Head,
    question::{OwnedQuestion, Question},
};

/// Where a reply goes.
#[derive(Debug)]
pub(crate) enum Route {
    /// To a client of the UDP socket with this number.
    Udp(usize, SocketAddr),
    /// Into a connection.
    Tcp(Line),
}

/// The way back into a connection: for one reply. Dropped without one, it ends the connection.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) client: SocketAddr,
    reply: Option<mpsc::OwnedPermit<Vec<u8>>>,
}

impl Line {
    /// The way to who has asked, through the place that was kept for the reply.
    pub(crate) fn new(client: SocketAddr, reply: mpsc::OwnedPermit<Vec<u8>>) -> Self {
        Self { client, reply: Some(reply) }
    }

    /// Sends the reply.
    pub(crate) fn send(mut self, message: Vec<u8>) {
        if let Some(reply) = self.reply.take() {
            reply.send(message);
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(reply) = self.reply.take() {
            // No message is empty: this is the sign to end.
            reply.send(Vec::new());
        }
    }
}

impl Route {
    /// How the query came.
    pub(crate) fn transport(&self) -> Transport {
        match self {
            Self::Udp(..) => Transport::Udp,
            Self::Tcp(_) => Transport::Tcp,
        }
    }
}

/// A client that waits.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) asker: Asker,
    pub(crate) route: Route,
    pub(crate) at: Instant,
}

/// How a client asked.
#[derive(Debug)]
pub(crate) struct Asker {
    head: Head,
    section: Box<[u8]>,
}

impl Waiter {
    /// Who asked with `asker`.
    pub(crate) fn new(asker: &Glimpse<'_>, route: Route, at: Instant) -> Self {
        Self { asker: Asker { head: asker.head, section: asker.section.into() }, route, at }
    }
}

impl Asker {
    /// The question as this client asked it.
    pub(crate) fn glimpse<'a>(&'a self, question: Question<'a>) -> Glimpse<'a> {
        Glimpse { head: self.head, question, section: &self.section }
    }
}

/// A question that is being asked.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) question: OwnedQuestion,
    pub(crate) grant: Grant,
    pub(crate) waiters: Vec<Waiter>,
    /// Whether those who waited were told what was kept beyond its time: who comes later need not wait as long.
    pub(crate) relieved: bool,
}

/// All questions that are being asked.
#[derive(Debug, Default)]
pub(crate) struct Pendings {
    by_question: HashMap<OwnedQuestion, Ticket>,
    /// By the tickets' indices.
    slots: Vec<Option<(Ticket, Pending)>>,
    asked: usize,
    waiters: usize,
}

impl Equivalent<OwnedQuestion> for Question<'_> {
    fn equivalent(&self, other: &OwnedQuestion) -> bool {
        *self == other.get()
    }
}

impl Pendings {
    /// How many clients wait, and questions are asked that nobody waits for.
    pub(crate) fn len(&self) -> usize {
        self.waiters.max(self.asked)
    }

    /// How many clients wait.
    pub(crate) fn waiters(&self) -> usize {
        self.waiters
    }

    /// Whether the question is being asked.
    pub(crate) fn is_asked(&self, question: Question<'_>) -> bool {
        self.by_question.contains_key(&question)
    }

    /// Has one more client wait for a question that is being asked. The question's ticket, if others have waited for it too long already.
    pub(crate) fn join(&mut self, question: Question<'_>, waiter: Waiter) -> Option<Ticket> {
        let ticket = *self.by_question.get(&question)?;
        let pending = self.get_mut(ticket)?;
        pending.waiters.push(waiter);
        let relieved = pending.relieved;
        self.waiters += 1;
        relieved.then_some(ticket)
    }

    /// Notes a question that is being asked from now on.
    pub(crate) fn insert(&mut self, ticket: Ticket, pending: Pending) {
        self.waiters += pending.waiters.len();
        self.by_question.insert(pending.question.clone(), ticket);
        if self.slots.len() <= ticket.index() {
            self.slots.resize_with(ticket.index() + 1, || None);
        }
        if let Some(slot) = self.slots.get_mut(ticket.index()) {
            *slot = Some((ticket, pending));
            self.asked += 1;
        }
    }

    fn get_mut(&mut self, ticket: Ticket) -> Option<&mut Pending> {
        let (own, pending) = self.slots.get_mut(ticket.index())?.as_mut()?;
        (*own == ticket).then_some(pending)
    }

    /// Takes out a question whose answer has come.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<Pending> {
        self.get_mut(ticket)?;
        let (_, pending) = self.slots.get_mut(ticket.index())?.take()?;
        self.asked -= 1;
        self.waiters -= pending.waiters.len();
        self.by_question.remove(&pending.question.get());
        Some(pending)
    }

    /// Has clients wait for a question that is being asked.
    pub(crate) fn wait_on(&mut self, ticket: Ticket, waiters: Vec<Waiter>) {
        let count = waiters.len();
        if let Some(pending) = self.get_mut(ticket) {
            pending.waiters.extend(waiters);
            self.waiters += count;
        }
    }

    /// Takes out who waits for a question, which goes on being asked.
    pub(crate) fn relieve(&mut self, ticket: Ticket) -> Option<Pending> {
        let pending = self.get_mut(ticket).filter(|pending| !pending.waiters.is_empty())?;
        pending.relieved = true;
        let waiters = std::mem::take(&mut pending.waiters);
        let relieved = Pending { question: pending.question.clone(), grant: pending.grant.clone(), waiters, relieved: true };
        self.waiters -= relieved.waiters.len();
        Some(relieved)
    }
}
