//! The one way to the kernel, and the proof that it said yes: a [`Committed`] is made here and nowhere else.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use policies::Name;

use crate::answer::PermittedAnswer;

/// What opens the pod for answers. The sidecar implements it with netlink; tests with whatever they need.
///
/// It belongs to the resolver's thread, which calls it between receiving and sending: all answers of one round at once, so that they share
/// the cost of the way to the kernel. Everybody else reaches it by [`Handle::with_gate`](crate::Handle::with_gate), between two rounds, so
/// nothing is ever told in the midst of a change of policy.
pub trait Gate: Send + 'static {
    /// Opens every address of every answer on the ports its grant names. What it says of answer i stands at i, and holds for the next
    /// packet. An answer without a word of its own counts as not opened.
    ///
    /// # Errors
    ///
    /// See [`OpenError`], for each answer by itself. After an error no address of the answer is told, whether or not some were opened.
    fn open(&mut self, answers: &[PermittedAnswer]) -> Vec<Result<Opened, OpenError>>;

    /// Told when an upstream had no address of this family (AAAA if `ipv6`) for a name that was asked for: what was leased to it is its no more.
    fn nothing(&mut self, name: &Name, ipv6: bool);

    /// The names that `address` is leased for now, each with the end of its lease: what a reverse look-up is answered with.
    fn names_of(&self, address: IpAddr) -> Vec<(Name, Instant)>;

    /// Another number whenever a lease may have ended before its time (a change of policy, a table that vanished): what was kept of answers
    /// before must pass the gate anew.
    fn epoch(&self) -> u64;
}

/// The gate's yes.
#[derive(Clone, Copy, Debug)]
pub struct Opened {
    /// Every address of the answer stays open at least until then, so no TTL is told that is longer.
    pub until: Instant,
}

/// The gate's no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The policy changed since the grant was given: judge again.
    #[error("the policy changed meanwhile")]
    Stale,
    /// No room is left for another lease.
    #[error("no room is left for another lease")]
    Full,
    /// The kernel refused, or what it did is not known.
    #[error("the kernel did not open the addresses")]
    Failed,
}

/// An answer whose addresses are open, with the proof inside: [`Reply::release`](crate::Reply::release) takes nothing else.
///
/// It owns the answer, so that the proof of one answer can never release another. There is no way to make one but
/// [`Committed::by`]:
///
/// ```compile_fail,E0451
/// # fn forge(answer: dnsproxy::PermittedAnswer) -> dnsproxy::Committed {
/// dnsproxy::Committed { answer, until: std::time::Instant::now() }
/// # }
/// ```
///
/// and what was not committed is not released:
///
/// ```compile_fail,E0308
/// # fn skip(answer: &dnsproxy::PermittedAnswer) -> dnsproxy::Reply<'_> {
/// dnsproxy::Reply::release(answer, std::time::Instant::now())
/// # }
/// ```
///
/// where the same with the gate in between compiles:
///
/// ```
/// # fn walk<G: dnsproxy::Gate>(gate: &mut G, answer: dnsproxy::PermittedAnswer) {
/// for committed in dnsproxy::Committed::by(gate, vec![answer]).into_iter().flatten() {
///     let reply = dnsproxy::Reply::release(&committed, std::time::Instant::now());
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Committed {
    answer: PermittedAnswer,
    until: Instant,
}

impl Committed {
    /// Has `gate` open the addresses of all answers; each comes back with its own outcome, in order.
    ///
    /// # Errors
    ///
    /// The answer, with the reason: for another try after [`OpenError::Stale`].
    #[expect(clippy::result_large_err, reason = "the answer comes back as it went in")]
    pub fn by<G: Gate>(gate: &mut G, answers: Vec<PermittedAnswer>) -> Vec<Result<Self, (PermittedAnswer, OpenError)>> {
        let mut words = gate.open(&answers).into_iter();
        let outcome = |answer| match words.next() {
            Some(Ok(Opened { until })) => Ok(Self { answer, until }),
            Some(Err(error)) => Err((answer, error)),
            None => Err((answer, OpenError::Failed)),
        };
        answers.into_iter().map(outcome).collect()
    }

    /// The answer that was committed.
    pub fn answer(&self) -> &PermittedAnswer {
        &self.answer
    }

    /// Until when its addresses stay open, at least.
    pub fn until(&self) -> Instant {
        self.until
    }

    /// The TTL to tell at `now`: that of the chain, but never longer than the whole seconds left of the lease.
    pub fn ttl_at(&self, now: Instant) -> u32 {
        self.answer.ttl().min(whole_seconds(self.until.saturating_duration_since(now)))
    }
}

/// The whole seconds of a time, as a TTL.
pub(crate) fn whole_seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}
