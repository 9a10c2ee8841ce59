//! The one way to the kernel, and the proof that it said yes: a [`Committed`] is made here and nowhere else.

use std::{
    future::Future,
    task::Poll,
    time::{Duration, Instant},
};

use crate::answer::PermittedAnswer;

/// Rounds of the event loop that a gate gets before a timer is set for it.
const ROUNDS: usize = 3;

/// What opens the pod for an answer. The sidecar implements it with netlink; tests with whatever they need.
pub trait Gate: Send + Sync + 'static {
    /// Opens every address of `answer` on the ports its grant names, and returns once that holds for the next packet.
    ///
    /// The future may be dropped at its deadline; what was opened by then stays open until its own end, and was told to nobody.
    ///
    /// # Errors
    ///
    /// See [`OpenError`]. After an error no address of the answer is told, whether or not some were opened.
    fn open(&self, answer: &PermittedAnswer) -> impl Future<Output = Result<Opened, OpenError>> + Send;
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

/// Why an answer was not committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GateFailure {
    /// The gate said no.
    #[error("the gate did not open")]
    Refused(#[source] OpenError),
    /// The gate said nothing within [`Limits::gate_deadline`](crate::Limits::gate_deadline).
    #[error("the gate did not answer in time")]
    TimedOut,
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
/// # fn skip(query: &dnsproxy::Query, answer: dnsproxy::PermittedAnswer) -> dnsproxy::Reply {
/// dnsproxy::Reply::release(query, &answer)
/// # }
/// ```
///
/// where the same with the gate in between compiles:
///
/// ```
/// # async fn walk<G: dnsproxy::Gate>(gate: &G, query: &dnsproxy::Query, answer: dnsproxy::PermittedAnswer) -> Option<dnsproxy::Reply> {
/// let deadline = std::time::Duration::from_millis(250);
/// let committed = dnsproxy::Committed::by(gate, answer, deadline).await.ok()?;
/// Some(dnsproxy::Reply::release(query, &committed))
/// # }
/// ```
#[derive(Debug)]
pub struct Committed {
    answer: PermittedAnswer,
    until: Instant,
}

impl Committed {
    /// Asks `gate` to open the answer's addresses and waits for its yes, at most until `deadline`.
    ///
    /// # Errors
    ///
    /// The answer comes back with the reason, for another try after [`OpenError::Stale`].
    pub async fn by<G: Gate>(gate: &G, answer: PermittedAnswer, deadline: Duration) -> Result<Self, (PermittedAnswer, GateFailure)> {
        match opened(gate.open(&answer), deadline).await {
            Some(Ok(Opened { until })) => Ok(Self { answer, until }),
            Some(Err(error)) => Err((answer, GateFailure::Refused(error))),
            None => Err((answer, GateFailure::TimedOut)),
        }
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
        let left = self.until.saturating_duration_since(now).as_secs();
        self.answer.ttl().min(u32::try_from(left).unwrap_or(u32::MAX))
    }
}

/// The gate's word, or `None` when `deadline` has passed.
///
/// A gate on the same event loop has spoken a round later. A timer of a quarter second is nearly always the next to end, and setting
/// one of those wakes the loop by a write to itself: more than the commit costs.
async fn opened<T>(opening: impl Future<Output = T>, deadline: Duration) -> Option<T> {
    let mut opening = std::pin::pin!(opening);
    for _ in 0..ROUNDS {
        tokio::select! {
            biased;
            word = &mut opening => return Some(word),
            () = behind_the_others() => {}
        }
    }
    tokio::time::timeout(deadline, opening).await.ok()
}

/// Lets every task that is ready have its turn. Unlike tokio's `yield_now` it does not ask the kernel for news in between: the gate's
/// word comes from a task, not from a socket.
async fn behind_the_others() {
    let mut waited = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
