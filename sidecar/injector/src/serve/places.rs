//! Who is connected: a bounded number, of whom the one that has been idle longest makes room for somebody new.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slab::Slab;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The places of a port.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    taken: Mutex<Slab<Arc<Activity>>>,
    freed: Notify,
}

/// What a connection does. It alone changes it, but for `asked_to_go`.
#[derive(Debug)]
pub(super) struct Activity {
    busy: AtomicUsize,
    any: AtomicBool,
    last: Mutex<Instant>,
    leaving: AtomicBool,
    asked_to_go: Notify,
}

/// A place, free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    key: usize,
    pub(super) activity: Arc<Activity>,
}

/// A request in work, until this is dropped.
#[derive(Debug)]
pub(super) struct Busy(Arc<Activity>);

impl Places {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Places { most, taken: Mutex::new(Slab::new()), freed: Notify::new() })
    }

    /// Waits for a place. While all are taken, whoever is idle longest is asked to go; while all are busy, this waits for one of them,
    /// and each has but a few seconds.
    pub(super) async fn take(self: &Arc<Self>) -> Place {
        loop {
            if let Some(place) = self.try_take() {
                return place;
            }
            self.freed.notified().await;
        }
    }

    fn try_take(self: &Arc<Self>) -> Option<Place> {
        let mut taken = held(&self.taken);
        if taken.len() < self.most {
            let activity = Arc::new(Activity::new());
            let key = taken.insert(activity.clone());
            return Some(Place { places: self.clone(), key, activity });
        }
        // One at a time: who was asked is on the way out.
        if taken.iter().any(|(_, activity)| activity.leaving.load(Ordering::Relaxed)) {
            return None;
        }
        let idle = taken.iter().map(|(_, activity)| activity).filter(|activity| activity.is_quiet());
        if let Some(longest) = idle.min_by_key(|activity| activity.since()) {
            longest.leaving.store(true, Ordering::Relaxed);
            longest.asked_to_go.notify_one();
        }
        None
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        held(&self.taken).len()
    }

    /// Waits until nobody is there.
    pub(super) async fn empty(&self) {
        while self.taken() > 0 {
            self.freed.notified().await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        held(&self.places.taken).try_remove(self.key);
        self.places.freed.notify_one();
    }
}

impl Activity {
    fn new() -> Self {
        Activity {
            busy: AtomicUsize::new(0),
            any: AtomicBool::new(false),
            last: Mutex::new(Instant::now()),
            leaving: AtomicBool::new(false),
            asked_to_go: Notify::new(),
        }
    }

    /// A request begins.
    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.busy.fetch_add(1, Ordering::Relaxed);
        self.any.store(true, Ordering::Relaxed);
        Busy(self.clone())
    }

    /// Whether nothing is in work.
    pub(super) fn is_quiet(&self) -> bool {
        self.busy.load(Ordering::Relaxed) == 0
    }

    /// Whether it ever asked anything.
    pub(super) fn has_asked(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Since when nothing is in work.
    pub(super) fn since(&self) -> Instant {
        *held(&self.last)
    }

    /// Waits until somebody else needs the place.
    pub(super) async fn asked_to_go(&self) {
        self.asked_to_go.notified().await;
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        *held(&self.0.last) = Instant::now();
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Nothing that holds these locks can panic, and half-done there is nothing.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
