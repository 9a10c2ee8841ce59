//! What other threads ask of the resolver's: jobs for its gate, questions out of connections, news. Bounded, and done between two rounds.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
};

use mio::Waker;
use policies::Name;

use super::waiting::Line;
use crate::asking::UpstreamHealth;

/// How many questions may wait, and how many of all else; one more is turned away. Apart, as it is the app that chooses how many it asks: no
/// flood of its keeps a change of policy out.
pub(crate) const QUEUE: usize = 256;

/// Something to do between two rounds.
pub(crate) enum Errand<G> {
    /// Something with the gate.
    Job(Box<dyn FnOnce(&mut G) + Send>),
    /// Asks for the addresses of a name anew, though nobody waits: A, or AAAA.
    Refresh(Name, bool),
    /// Other upstreams.
    Upstreams(Vec<SocketAddr>),
    /// Whether the pod has a way to IPv6 addresses.
    Ipv6(bool),
    /// How the upstreams have fared.
    Health(SyncSender<Vec<UpstreamHealth>>),
}

/// Hands errands over; its clones share the queues.
pub(crate) struct Desk<G> {
    errands: SyncSender<Errand<G>>,
    queries: SyncSender<(Vec<u8>, Line)>,
    waker: Arc<Waker>,
    stop: Arc<AtomicBool>,
}

impl<G> Clone for Desk<G> {
    fn clone(&self) -> Self {
        Self { errands: self.errands.clone(), queries: self.queries.clone(), waker: Arc::clone(&self.waker), stop: Arc::clone(&self.stop) }
    }
}

impl<G> std::fmt::Debug for Desk<G> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").finish_non_exhaustive()
    }
}

/// The resolver's thread did not take an errand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotTaken {
    /// Too many wait.
    #[error("the resolver has too much to do")]
    Busy,
    /// It has ended.
    #[error("the resolver has ended")]
    Ended,
}

impl<G> Desk<G> {
    /// A desk whose errands wake the thread that waits by `waker`.
    pub(crate) fn new(waker: Arc<Waker>) -> (Self, Taken<G>) {
        let ((errands, taken), (queries, asked)) = (sync_channel(QUEUE), sync_channel(QUEUE));
        let stop = Arc::new(AtomicBool::new(false));
        (Self { errands, queries, waker, stop: Arc::clone(&stop) }, Taken { errands: taken, queries: asked, stop })
    }

    /// Wakes the thread, and what wakes it.
    pub(crate) fn waker(&self) -> &Arc<Waker> {
        &self.waker
    }

    /// Asks for the end: what is in flight is answered, and no more is taken.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Relaxed);
        let _ = self.waker.wake();
    }

    /// Hands one over.
    pub(crate) fn hand(&self, errand: Errand<G>) -> Result<(), NotTaken> {
        self.taken(self.errands.try_send(errand))
    }

    /// Hands over a message out of a connection.
    pub(crate) fn ask(&self, message: Vec<u8>, line: Line) -> Result<(), NotTaken> {
        self.taken(self.queries.try_send((message, line)))
    }

    fn taken<T>(&self, sent: Result<(), TrySendError<T>>) -> Result<(), NotTaken> {
        sent.map_err(|error| match error {
            TrySendError::Full(_) => NotTaken::Busy,
            TrySendError::Disconnected(_) => NotTaken::Ended,
        })?;
        // The eventfd's counter may be full: then the thread is being woken already.
        let _ = self.waker.wake();
        Ok(())
    }
}

/// The other side of the desk: what the resolver's thread takes from it.
pub(crate) struct Taken<G> {
    errands: Receiver<Errand<G>>,
    queries: Receiver<(Vec<u8>, Line)>,
    stop: Arc<AtomicBool>,
}

impl<G> Taken<G> {
    /// The next errand, if one waits.
    pub(crate) fn next(&self) -> Option<Errand<G>> {
        self.errands.try_recv().ok()
    }

    /// The next message out of a connection, if one waits.
    pub(crate) fn query(&self) -> Option<(Vec<u8>, Line)> {
        self.queries.try_recv().ok()
    }

    /// Whether the end was asked for.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }
}
