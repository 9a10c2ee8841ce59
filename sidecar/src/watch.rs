//! A word whenever the policy directories may have changed: by inotify at once, and by the clock in case inotify missed it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

/// After an event: the kubelet and editors write several things in a row.
const SETTLE: Duration = Duration::from_millis(20);
/// Without an event: a directory that appeared late, a mount that changed below inotify.
const ANYWAY: Duration = Duration::from_secs(5);

/// Watches directories, also ones that are not there yet.
pub struct PolicyWatch {
    dirs: Vec<PathBuf>,
    changed: Arc<Notify>,
    watcher: Option<RecommendedWatcher>,
}

impl PolicyWatch {
    /// Starts watching. Where inotify cannot be had (its limits are per user), the clock alone remains, and that is said.
    pub fn start(dirs: &[PathBuf]) -> Self {
        let changed = Arc::new(Notify::new());
        let wake = changed.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading a file is an event too: one's own reading must not wake one.
            if !matches!(event, Ok(notify::Event { kind: notify::EventKind::Access(_), .. })) {
                wake.notify_one();
            }
        });
        let watcher = watcher
            .inspect_err(|error| tracing::warn!(%error, "cannot watch the policy directories; looking every {} s", ANYWAY.as_secs()))
            .ok();
        let mut watch = PolicyWatch { dirs: dirs.to_vec(), changed, watcher };
        watch.cover();
        watch
    }

    /// Waits until it is time to look again.
    pub async fn changed(&mut self) {
        let event = tokio::time::timeout(ANYWAY, self.changed.notified()).await;
        if event.is_ok() {
            tokio::time::sleep(SETTLE).await;
        }
        self.cover();
    }

    /// Watches each directory, or for one that is not there its nearest parent. Watching again what is watched is harmless,
    /// and needed for one that was made anew.
    fn cover(&mut self) {
        let Some(watcher) = &mut self.watcher else { return };
        for dir in &self.dirs {
            let there = dir.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
            if let Err(error) = watcher.watch(there, RecursiveMode::NonRecursive) {
                tracing::debug!(%error, path = %there.display(), "cannot watch");
            }
        }
    }
}
