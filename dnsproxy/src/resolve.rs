//! The path of one query, from its bytes to its reply, in the order the types demand.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use arc_swap::ArcSwap;
use hickory_proto::{op::ResponseCode, rr::RecordType};
use policies::{Grant, Policy, Refusal, Verdict};

use crate::{
    answer::{Verified, verify},
    config::Limits,
    gate::{Committed, Gate, GateFailure, OpenError},
    observer::{Event, Observer, Outcome, Transport},
    query::{Parsed, Query},
    refusal,
    reply::{Failure, Reply},
    stats::Counters,
    upstream::{Upstreams, message::UpstreamReply},
};

/// How often one answer is judged while the policy changes under it; reloads come seconds apart, so the third try is never reached
/// but by a gate that always says stale.
const JUDGEMENTS: usize = 3;

/// What answers queries: everything the listeners share.
#[derive(Debug)]
pub(crate) struct Resolver<G, O> {
    pub(crate) policy: Arc<ArcSwap<Policy>>,
    pub(crate) gate: G,
    pub(crate) observer: O,
    pub(crate) upstreams: Arc<Upstreams>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) limits: Limits,
}

/// What the first look at a message led to.
pub(crate) enum Glance {
    /// Nothing is answered.
    Nothing,
    /// The reply is ready: nobody had to be asked.
    Ready(Box<Finished>),
    /// An upstream must be asked: this one counts against the limit of queries in flight.
    Ask(Box<Asking>),
}

/// A permitted query that waits for its answer.
pub(crate) struct Asking {
    policy: Arc<Policy>,
    grant: Grant,
    heard: Heard,
}

/// A query as it was received.
struct Heard {
    query: Query,
    client: SocketAddr,
    transport: Transport,
    at: Instant,
}

/// A reply, and what is to be told once it has left.
pub(crate) struct Finished {
    pub(crate) reply: Reply,
    told: Option<Told>,
}

/// What the observer hears.
struct Told {
    heard: Heard,
    policy: Arc<Policy>,
    outcome: Outcome,
    upstream: Option<SocketAddr>,
}

impl<G: Gate, O: Observer> Resolver<G, O> {
    /// Reads and judges a message. Refusals are answered here: they cost no task and no place among the queries in flight.
    pub(crate) fn glance(&self, bytes: &[u8], client: SocketAddr, transport: Transport) -> Glance {
        let at = Instant::now();
        self.counters.queries.one();
        let query = match Query::parse(bytes, transport) {
            Parsed::Query(query) => query,
            Parsed::Rejected(rejected) => {
                self.counters.rejected.one();
                return Glance::Ready(Box::new(Finished { reply: Reply::reject(&rejected), told: None }));
            }
            Parsed::Ignored => {
                self.counters.ignored.one();
                return Glance::Nothing;
            }
        };
        let policy = self.policy.load_full();
        let heard = Heard { query, client, transport, at };
        let grant = match policy.judge(heard.query.name()) {
            Verdict::Granted(grant) => grant,
            Verdict::Refused(refusal) => return Glance::Ready(Box::new(self.refused(heard, policy, refusal, None))),
        };
        let local = match heard.query.rtype() {
            RecordType::ANY => Reply::minimal_any(&heard.query),
            rtype if refusal::carries_hints(rtype) => Reply::empty(&heard.query),
            _ => return Glance::Ask(Box::new(Asking { policy, grant, heard })),
        };
        self.counters.plain.one();
        Glance::Ready(Box::new(Finished::new(local, heard, policy, Outcome::Plain(grant), None)))
    }

    /// Asks for what was permitted, and tells it if it is fit to be told and open.
    pub(crate) async fn settle(&self, asking: Asking) -> Finished {
        let Asking { policy, grant, heard } = asking;
        let Some(answer) = self.upstreams.ask(&heard.query, &self.counters).await else {
            self.counters.servfail.one();
            let reply = Reply::fail(&heard.query, Failure::Upstream);
            return Finished::new(reply, heard, policy, Outcome::NoUpstream(grant), None);
        };
        self.pass(heard, policy, grant, &answer).await
    }

    /// Takes an upstream's answer past verification and gate, again from the judgement on whenever the policy has changed meanwhile.
    async fn pass(&self, heard: Heard, mut policy: Arc<Policy>, mut grant: Grant, answer: &UpstreamReply) -> Finished {
        let from = Some(answer.from());
        let mut failure = GateFailure::Refused(OpenError::Stale);
        for _ in 0..JUDGEMENTS {
            let current = self.policy.load_full();
            if current.generation() != grant.generation() {
                self.counters.rejudged.one();
                match current.judge(heard.query.name()) {
                    Verdict::Granted(again) => grant = again,
                    Verdict::Refused(refusal) => return self.refused(heard, current, refusal, from),
                }
            }
            policy = current;
            let permitted = match verify(&policy, grant.clone(), &heard.query, answer) {
                Ok(Verified::Addresses(permitted)) => permitted,
                Ok(Verified::Plain(plain)) => {
                    self.count_left_out(plain.left_out);
                    self.counters.plain.one();
                    return Finished::new(Reply::plain(&heard.query, &plain), heard, policy, Outcome::Plain(grant), from);
                }
                Ok(Verified::Refused(refusal)) => return self.refused(heard, policy, refusal, from),
                Err(unusable) => {
                    self.counters.unusable_answers.one();
                    self.counters.servfail.one();
                    let reply = Reply::fail(&heard.query, Failure::Answer);
                    return Finished::new(reply, heard, policy, Outcome::Unusable(grant, unusable), from);
                }
            };
            match Committed::by(&self.gate, permitted, self.limits.gate_deadline).await {
                Ok(committed) => {
                    self.count_left_out(committed.answer().left_out());
                    return self.released(heard, policy, grant, &committed, from);
                }
                Err((_, GateFailure::Refused(OpenError::Stale))) => {}
                Err((_, other)) => {
                    failure = other;
                    break;
                }
            }
        }
        self.counters.gate_failures.one();
        self.counters.servfail.one();
        let reply = Reply::fail(&heard.query, Failure::Gate);
        Finished::new(reply, heard, policy, Outcome::GateFailed(grant, failure), from)
    }

    /// A reply with addresses, which are open.
    fn released(&self, heard: Heard, policy: Arc<Policy>, grant: Grant, committed: &Committed, from: Option<SocketAddr>) -> Finished {
        let reply = Reply::release(&heard.query, committed);
        match reply.rcode() {
            ResponseCode::NoError => self.counters.released.one(),
            _ => self.counters.servfail.one(),
        }
        Finished::new(reply, heard, policy, Outcome::Released(grant), from)
    }

    /// The reply to a refused name.
    fn refused(&self, heard: Heard, policy: Arc<Policy>, refusal: Refusal, from: Option<SocketAddr>) -> Finished {
        self.counters.refused.one();
        Finished::new(Reply::refuse(&heard.query, &refusal), heard, policy, Outcome::Refused(refusal), from)
    }

    /// Counts what an answer lost.
    fn count_left_out(&self, left_out: crate::answer::LeftOut) {
        self.counters.stray_records.many(left_out.strays);
        self.counters.stripped_addresses.many(left_out.stripped);
    }

    /// Tells the observer of a reply that has left.
    pub(crate) fn tell(&self, finished: &Finished) {
        let Some(told) = &finished.told else { return };
        self.observer.told(&Event {
            query: &told.heard.query,
            client: told.heard.client,
            transport: told.heard.transport,
            policy: &told.policy,
            outcome: &told.outcome,
            upstream: told.upstream,
            rcode: finished.reply.rcode(),
            addresses: finished.reply.addresses(),
            ttl: finished.reply.ttl(),
            duration: told.heard.at.elapsed(),
        });
    }
}

impl Finished {
    fn new(reply: Reply, heard: Heard, policy: Arc<Policy>, outcome: Outcome, upstream: Option<SocketAddr>) -> Self {
        Self { reply, told: Some(Told { heard, policy, outcome, upstream }) }
    }
}
