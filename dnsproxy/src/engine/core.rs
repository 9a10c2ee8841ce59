//! What becomes of a query, in the order the types demand: read, judged, asked for, verified, committed, released.

mod settle;

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use hickory_proto::rr::RecordType;
use policies::{Grant, HttpsRecords, Judged, Mode, Name, Policy, Reason, Refusal};

use super::{
    budgets::Budgets,
    outbox::{Outbox, Told},
    reverse,
    targets::Targets,
    waiting::{Pending, Pendings, Route, Waiter},
};
use crate::{
    answer::PermittedAnswer,
    asking::{Asking, Ticket},
    body,
    cache::{Bounds, Cache},
    config::Limits,
    gate::Gate,
    glimpse::{Glimpse, NAME, glimpse},
    observer::{Observer, Outcome, Source, Transport},
    query::{Parsed, Query},
    question::Question,
    refusal,
    reply::Reply,
    stats::Counters,
};

/// How long a client waits for an upstream before it is told what was kept (RFC 8767 §5 recommends 1.8 s: before stub resolvers ask again).
const CLIENT_PATIENCE: Duration = Duration::from_millis(1800);

/// Everything a query meets, but the sockets.
pub(crate) struct Core<G, O> {
    pub(crate) policy: Arc<ArcSwap<Policy>>,
    pub(crate) gate: G,
    pub(crate) observer: O,
    pub(crate) counters: Arc<Counters>,
    pub(crate) limits: Limits,
    pub(crate) cache: Cache,
    /// Whether the pod has a way to IPv6 addresses.
    pub(crate) ipv6: bool,
    state: State,
}

/// What changes from round to round.
struct State {
    now: Instant,
    /// The policy of this round.
    current: Arc<Policy>,
    /// Counts the changes of policy and gate: what was kept under another one must pass both again.
    era: u32,
    epoch: u64,
    pendings: Pendings,
    /// Answers that wait for the gate.
    opening: Vec<Opening>,
    /// When clients have waited long enough for each question, in order.
    patience: VecDeque<(Instant, Ticket)>,
    budgets: Budgets,
    targets: Targets,
}

/// An answer that waits for the gate, and who waits for it.
struct Opening {
    answer: PermittedAnswer,
    pending: Pending,
    source: Source,
}

impl<G: Gate, O: Observer> Core<G, O> {
    pub(crate) fn new(policy: Arc<ArcSwap<Policy>>, gate: G, observer: O, counters: Arc<Counters>, limits: Limits) -> Self {
        let now = Instant::now();
        let state = State {
            now,
            current: policy.load_full(),
            era: 0,
            epoch: gate.epoch(),
            pendings: Pendings::default(),
            opening: Vec::new(),
            patience: VecDeque::new(),
            budgets: Budgets::default(),
            targets: Targets::default(),
        };
        let cache = Cache::new(Bounds { entries: limits.cache_entries, bytes: limits.cache_bytes }, now);
        Self { policy, gate, observer, counters, limits, cache, ipv6: true, state }
    }

    /// Begins a round.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.state.now = now;
        self.look();
    }

    /// Sees whether policy or gate have changed.
    fn look(&mut self) {
        let policy = self.policy.load();
        let epoch = self.gate.epoch();
        if policy.generation() != self.state.current.generation() || epoch != self.state.epoch {
            self.state.era = self.state.era.wrapping_add(1);
            self.state.epoch = epoch;
        }
        if !Arc::ptr_eq(&policy, &self.state.current) {
            self.state.current = Arc::clone(&policy);
        }
    }

    /// Does something with the gate, after which everything may be different.
    pub(crate) fn with_gate(&mut self, job: Box<dyn FnOnce(&mut G) + Send>) {
        job(&mut self.gate);
        self.look();
    }

    /// How many clients wait.
    pub(crate) fn waiters(&self) -> usize {
        self.state.pendings.waiters()
    }

    /// When the next client has waited long enough.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.state.patience.front().map(|(due, _)| *due)
    }

    /// Reads a message and answers it, now or when its answer has come.
    pub(crate) fn handle(&mut self, bytes: &[u8], route: Route, asking: &mut Asking, outboxes: &mut [Outbox]) {
        self.counters.queries.one();
        let transport = route.transport();
        let mut scratch = [0; NAME];
        if let Some(asker) = glimpse(bytes, &mut scratch, transport) {
            return self.answer(&asker, route, asking, outboxes);
        }
        match Query::parse(bytes, transport) {
            Parsed::Query(query) => self.answer(&query.glimpse(), route, asking, outboxes),
            Parsed::Rejected(rejected) => {
                self.counters.rejected.one();
                let mut message = room(&route, outboxes);
                Reply::write_rejected(&rejected, &mut message);
                self.deliver(route, message, None, outboxes);
            }
            // In a stream, what is no question ends the connection: its line is dropped.
            Parsed::Ignored => self.counters.ignored.one(),
        }
    }

    /// Answers a question: from what was kept, or by a verdict.
    fn answer(&mut self, asker: &Glimpse<'_>, route: Route, asking: &mut Asking, outboxes: &mut [Outbox]) {
        let now = self.state.now;
        let unreachable = asker.rtype() == RecordType::AAAA && !self.ipv6;
        if !unreachable
            && let Some(hit) = self.cache.fresh(asker.question, now)
            && hit.era == self.state.era
        {
            self.counters.cached.one();
            let reply = Reply::again(&hit);
            let mut message = room(&route, outboxes);
            reply.write(asker, &mut message);
            let told = Told::of(&reply, now, Outcome::Again, Source::Cache);
            return self.deliver(route, message, Some(told), outboxes);
        }
        if asker.question.rtype == reverse::PTR
            && let Some(names) = self.names(asker.question)
        {
            let (body, ttl) = reverse::body(&names, now);
            self.counters.reverse.one();
            return self.send(asker, route, &Reply::of(&body, ttl), now, Outcome::Leased, Source::Here, outboxes);
        }
        let grant = match self.judge(asker.question.name) {
            Some(Ok(grant)) => grant,
            Some(Err(refusal)) => return self.refuse(asker, route, now, refusal, Source::Here, outboxes),
            // What is no name for a policy is none on the wire either, and was turned away.
            None => return,
        };
        let local = match asker.rtype() {
            RecordType::ANY => Some(Reply::minimal_any()),
            rtype if refusal::carries_hints(rtype) && grant.https_records() == HttpsRecords::Nodata && !self.audits() => {
                Some(Reply::empty())
            }
            _ if unreachable => Some(Reply::empty()),
            _ => None,
        };
        if let Some(reply) = local {
            self.counters.plain.one();
            return self.send(asker, route, &reply, now, Outcome::Plain(grant), Source::Here, outboxes);
        }
        self.fetch(asker, route, grant, asking, outboxes);
    }

    /// Whether nothing is held, only told.
    fn audits(&self) -> bool {
        self.state.current.mode() == Mode::Audit
    }

    /// The verdict on a name; a target of a SRV record is granted as the record's owner is. `None` for octets that are no name.
    fn judge(&self, name: &[u8]) -> Option<Result<Grant, Refusal>> {
        let refusal = match self.state.current.judge_wire(name).ok()? {
            Judged::Granted(grant) => return Some(Ok(grant.to_grant())),
            Judged::Refused(refusal) => refusal.to_refusal(),
        };
        let target = match refusal.reason() {
            Reason::Denied => None,
            _ => self.state.targets.grant(refusal.name(), &self.state.current, self.state.now),
        };
        // In audit a refused name is answered all the same, with the refusal inside its grant.
        Some(target.ok_or(refusal).or_else(|refusal| Grant::audited(&self.state.current, refusal)))
    }

    /// Gets the answer: by waiting with others for it, out of what was kept under another policy, or from an upstream.
    fn fetch(&mut self, asker: &Glimpse<'_>, route: Route, grant: Grant, asking: &mut Asking, outboxes: &mut [Outbox]) {
        let now = self.state.now;
        let question = asker.question;
        if self.state.pendings.len() >= self.limits.in_flight {
            // A stub resolver asks again; a connection that ends is the sign to ask again.
            self.counters.dropped_over_limit.one();
            return;
        }
        if self.state.pendings.is_asked(question) {
            self.counters.coalesced.one();
            if let Some(ticket) = self.state.pendings.join(question, Waiter::new(asker, route, now)) {
                self.relieve(ticket, outboxes);
            }
            return;
        }
        let mut pending = Pending { question: question.to_owned(), grant, waiters: Vec::new(), relieved: false };
        // What was told under another policy is still good, but for what that one stripped; it passes verification and gate again.
        if let Some(hit) = self.cache.fresh(question, now).filter(|hit| !hit.marks.stripped) {
            let message = body::message(question, hit.octets, hit.answers, hit.authorities, hit.marks);
            let ttl = hit.ttl;
            let pending = Pending { waiters: vec![Waiter::new(asker, route, now)], ..pending };
            return self.verify(pending, &message, Source::Cache, Some(ttl), outboxes);
        }
        if let Some(budget) = pending.grant.budget()
            && let Err(kind) = self.state.budgets.take(pending.grant.generation(), &budget, question.name, now)
        {
            self.counters.over_budget.one();
            match Grant::audited(&self.state.current, pending.grant.over_budget(kind)) {
                Ok(grant) => pending.grant = grant,
                Err(refusal) => return self.refuse(asker, route, now, refusal, Source::Here, outboxes),
            }
        }
        let waiter = Waiter::new(asker, route, now);
        let down = asking.all_down();
        let Ok(ticket) = asking.ask(question, true, now) else {
            self.counters.dropped_over_limit.one();
            return;
        };
        self.state.pendings.insert(ticket, Pending { waiters: vec![waiter], ..pending });
        if self.cache.stale(question, now).is_none() {
            return;
        }
        if down {
            self.relieve(ticket, outboxes);
        } else if self.state.patience.len() < self.limits.in_flight {
            self.state.patience.push_back((now + CLIENT_PATIENCE, ticket));
        }
    }

    /// Asks for the addresses of a name anew, though nobody waits for them.
    pub(crate) fn refresh(&mut self, name: &Name, six: bool, asking: &mut Asking) {
        let rtype = if six { RecordType::AAAA } else { RecordType::A };
        let question = Question { name: name.as_wire(), rtype: rtype.into(), dnssec_ok: false, checking_disabled: false };
        if self.state.pendings.len() >= self.limits.in_flight || self.state.pendings.is_asked(question) || six && !self.ipv6 {
            return;
        }
        let Some(Ok(grant)) = self.judge(name.as_wire()) else { return };
        if let Ok(ticket) = asking.ask(question, true, self.state.now) {
            self.counters.refreshed.one();
            let pending = Pending { question: question.to_owned(), grant, waiters: Vec::new(), relieved: false };
            self.state.pendings.insert(ticket, pending);
        }
    }

    /// The names that a reverse look-up is answered with: those its address is leased for.
    fn names(&self, question: Question<'_>) -> Option<Vec<(Name, Instant)>> {
        let names = self.gate.names_of(reverse::address(question.name)?);
        Some(names).filter(|names| !names.is_empty())
    }

    /// Refuses a name, of our own accord or because of what its chain passes.
    fn refuse(&mut self, asker: &Glimpse<'_>, route: Route, at: Instant, refusal: Refusal, source: Source, outboxes: &mut [Outbox]) {
        match refusal.reason() {
            Reason::SearchListStep => self.counters.search_steps.one(),
            _ => self.counters.refused.one(),
        }
        let asked = refusal.name().as_wire() == asker.question.name;
        let reply = Reply::refuse(&refusal, asked);
        let mut message = room(&route, outboxes);
        reply.write(asker, &mut message);
        let (rcode, ttl) = (reply.rcode(), reply.ttl());
        let told = Told { at, outcome: Outcome::Refused(refusal), source, rcode, ttl };
        self.deliver(route, message, Some(told), outboxes);
    }

    /// Writes a reply for who asked, and sends it on its way.
    #[expect(clippy::too_many_arguments, reason = "who asked, what is told and what is told of it, each of another kind")]
    fn send(
        &self,
        asker: &Glimpse<'_>,
        route: Route,
        reply: &Reply<'_>,
        at: Instant,
        outcome: Outcome,
        source: Source,
        outboxes: &mut [Outbox],
    ) {
        let mut message = room(&route, outboxes);
        reply.write(asker, &mut message);
        self.deliver(route, message, Some(Told::of(reply, at, outcome, source)), outboxes);
    }

    /// Sends a message on its way: with others of its socket at the end of the round, or into its connection now.
    fn deliver(&self, route: Route, message: Vec<u8>, told: Option<Told>, outboxes: &mut [Outbox]) {
        match route {
            Route::Udp(door, client) => {
                if let Some(outbox) = outboxes.get_mut(door) {
                    outbox.put(client, message, told);
                }
            }
            Route::Tcp(line) => {
                if let Some(told) = told {
                    told.tell(&self.observer, &self.state.current, &message, line.client, Transport::Tcp);
                }
                line.send(message);
            }
        }
    }

    /// Tells of all that has left a socket.
    pub(crate) fn left(&mut self, outbox: &mut Outbox, lost: usize) {
        self.counters.send_errors.many(lost);
        outbox.left(&self.observer, &self.state.current);
    }
}

/// Room for a reply.
fn room(route: &Route, outboxes: &mut [Outbox]) -> Vec<u8> {
    match route {
        Route::Udp(door, _) => outboxes.get_mut(*door).map(Outbox::room).unwrap_or_default(),
        Route::Tcp(_) => Vec::new(),
    }
}
