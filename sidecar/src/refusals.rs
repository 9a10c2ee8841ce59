//! What the log says of questions: each at debug, refusals and failures at info and warn, a bounded number of them a second.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use dnsproxy::{Event, Observer, Outcome};
use policies::Reason;

use crate::exit::chain;
use crate::worker::selftest;

/// Lines a second at the most; the others are counted in the next second's first line.
const LINES_A_SECOND: u64 = 20;

/// The log of the resolver for people.
#[derive(Debug)]
pub struct RefusalLog {
    started: Instant,
    second: AtomicU64,
    lines: AtomicU64,
    left_out: AtomicU64,
    looked: String,
}

impl RefusalLog {
    /// A log that says, where no policy selects the pod, that it was looked for in `dirs`.
    pub fn new(dirs: &[PathBuf]) -> Self {
        let looked = dirs.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(", ");
        RefusalLog { started: Instant::now(), second: AtomicU64::new(0), lines: AtomicU64::new(0), left_out: AtomicU64::new(0), looked }
    }

    /// Whether one more line is due now, and how many were left out before it.
    fn due(&self) -> Option<u64> {
        let second = self.started.elapsed().as_secs();
        if self.second.swap(second, Relaxed) != second {
            self.lines.store(0, Relaxed);
        }
        if self.lines.fetch_add(1, Relaxed) >= LINES_A_SECOND {
            self.left_out.fetch_add(1, Relaxed);
            return None;
        }
        Some(self.left_out.swap(0, Relaxed))
    }

    fn no_answer(&self, event: &Event<'_>, why: &str) {
        if let Some(left_out) = self.due() {
            tracing::warn!(name = %event.name(), rtype = %event.rtype(), why, left_out, "no answer");
        }
    }
}

impl Observer for RefusalLog {
    fn told(&self, event: &Event<'_>) {
        match event.outcome {
            // The self-test's own question is no app's.
            Outcome::Refused(refusal) if refusal.name().as_wire() == selftest::WIRE_NAME => {}
            // What a stub resolver tries is no wish of the app's.
            Outcome::Refused(refusal) if refusal.reason() == Reason::SearchListStep => {}
            Outcome::Refused(refusal) => {
                if let Some(left_out) = self.due() {
                    let (name, rtype) = (refusal.name(), event.rtype());
                    let looked = (refusal.reason() == Reason::NoPolicy).then_some(&self.looked);
                    tracing::info!(%name, %rtype, reason = %refusal, looked, left_out, "refused");
                }
            }
            Outcome::NoUpstream(_) => self.no_answer(event, "no upstream answered"),
            Outcome::Unusable(_, why) => self.no_answer(event, &chain(why)),
            Outcome::GateFailed(_, why) => self.no_answer(event, &chain(why)),
            _ => tracing::debug!(
                name = %event.name(),
                rtype = %event.rtype(),
                rcode = %event.rcode,
                addresses = event.addresses().count(),
                ttl = event.ttl,
                microseconds = u64::try_from(event.duration().as_micros()).unwrap_or(u64::MAX),
                "answered"
            ),
        }
    }
}
