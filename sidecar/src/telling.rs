//! Where records go: the log, a bounded ring for who asks later, and who follows; none of them can hold up another or grow.

pub mod output;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use self::output::Output;
use crate::metrics::Metrics;
use crate::record::{Line, LostRecord, Origin, Record, SCHEMA_VERSION, Timestamp};

/// Bytes of lines that are kept for who asks later, of flows and of questions each.
const RING_BYTES: usize = 512 * 1024;
/// Followers at once, of flows and of questions each.
const FOLLOWERS: usize = 4;
/// Lines that wait for a follower; one that does not keep up is let go.
const WAITING: usize = 1024;

/// Which lines are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Flows, and what of them was lost.
    Flows,
    /// Questions, and what of them was lost.
    Questions,
}

/// Cheap to clone; all clones tell to the same places.
#[derive(Debug, Clone)]
pub struct Telling {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    origin: Origin,
    metrics: Metrics,
    output: Option<Output>,
    flows: Mutex<Ring>,
    questions: Mutex<Ring>,
    /// Losses that stdout had no room for, one of each kind.
    owed: Mutex<Vec<LostRecord>>,
}

#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<Arc<str>>,
    bytes: usize,
    followers: Vec<mpsc::Sender<Arc<str>>>,
}

/// What a follower gets.
#[derive(Debug)]
pub struct Following {
    /// The lines that are kept, the oldest first.
    pub kept: Vec<Arc<str>>,
    /// Those that come, without a gap between; it ends for one that does not keep up.
    pub coming: mpsc::Receiver<Arc<str>>,
}

/// Why nobody more can follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{FOLLOWERS} follow already: end one of them")]
pub struct TooManyFollowers;

impl Telling {
    /// Tells of the pod `origin`.
    pub fn new(origin: Origin, metrics: Metrics, output: Option<Output>) -> Self {
        Telling {
            inner: Arc::new(Inner {
                origin,
                metrics,
                output,
                flows: Mutex::default(),
                questions: Mutex::default(),
                owed: Mutex::default(),
            }),
        }
    }

    /// Tells a record. Never waits for a reader.
    pub fn tell(&self, of: Of, record: Record) {
        self.inner.metrics.record(&record);
        let lost = if let Record::Lost(lost) = &record { Some(*lost) } else { None };
        let Some(text) = self.text(record) else { return };
        match (&self.inner.output, lost) {
            (Some(_), Some(lost)) => self.owe(lost),
            (Some(output), None) => output.line(Arc::clone(&text)),
            (None, _) => {}
        }
        self.ring(of).push(text);
    }

    fn text(&self, record: Record) -> Option<Arc<str>> {
        let line = Line { time: Timestamp::now(), schema_version: SCHEMA_VERSION, origin: self.inner.origin.clone(), record };
        // What is made of strings and numbers has a form in JSON.
        Some(serde_json::to_string(&line).ok()?.into())
    }

    /// A loss is told on stdout as soon as there is room: it must not get lost in its turn.
    fn owe(&self, lost: LostRecord) {
        {
            let mut owed = self.inner.owed.lock().unwrap_or_else(PoisonError::into_inner);
            match owed.iter_mut().find(|other| (other.what, other.why) == (lost.what, lost.why)) {
                Some(other) => other.count = other.count.saturating_add(lost.count),
                None => owed.push(lost),
            }
        }
        self.pay();
    }

    fn pay(&self) {
        let Some(output) = &self.inner.output else { return };
        let mut owed = self.inner.owed.lock().unwrap_or_else(PoisonError::into_inner);
        owed.retain(|lost| !self.text(Record::Lost(*lost)).is_some_and(|text| output.offer(text)));
    }

    /// Waits until all lines are on stdout, at most for `limit`: who reads there may be gone.
    pub fn finish(&self, limit: std::time::Duration) {
        if let Some(output) = &self.inner.output {
            output.finish(limit / 2);
            // What there was no room for until now.
            self.pay();
            output.finish(limit / 2);
        }
    }

    /// Lines that were not written to stdout since this was last asked. Losses that stdout had no room for are tried again.
    pub fn take_unwritten(&self) -> u64 {
        self.pay();
        self.inner.output.as_ref().map_or(0, Output::take_unwritten)
    }

    /// The lines that are kept, the oldest first.
    pub fn kept(&self, of: Of) -> Vec<Arc<str>> {
        self.ring(of).lines.iter().cloned().collect()
    }

    /// The lines that are kept, and those that come. A follower that does not keep up finds its end.
    ///
    /// # Errors
    /// [`TooManyFollowers`].
    pub fn follow(&self, of: Of) -> Result<Following, TooManyFollowers> {
        let mut ring = self.ring(of);
        ring.followers.retain(|follower| !follower.is_closed());
        if ring.followers.len() >= FOLLOWERS {
            return Err(TooManyFollowers);
        }
        let (to, from) = mpsc::channel(WAITING);
        ring.followers.push(to);
        Ok(Following { kept: ring.lines.iter().cloned().collect(), coming: from })
    }

    fn ring(&self, of: Of) -> std::sync::MutexGuard<'_, Ring> {
        let ring = match of {
            Of::Flows => &self.inner.flows,
            Of::Questions => &self.inner.questions,
        };
        // A panic elsewhere leaves lines, not half a line.
        ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn push(&mut self, line: Arc<str>) {
        self.followers.retain(|follower| follower.try_send(line.clone()).is_ok());
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.bytes > RING_BYTES {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes -= oldest.len();
        }
    }
}
