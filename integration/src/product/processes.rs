//! The product's processes, found by their parents and ended one by one.

use std::fs;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Running;

pub(super) fn send(pid: i32, signal: Signal) {
    let _already_gone = kill(Pid::from_raw(pid), signal);
}

pub(super) fn alive(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None).is_ok()
}

/// The processes that a process started, and those that these did.
pub(super) fn descendants(of: i32) -> Vec<i32> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let all: Vec<i32> = pids.filter_map(|entry| entry.file_name().to_string_lossy().parse().ok()).collect();
    let mut found = vec![of];
    // Three deep: unshare, supervisor, worker.
    for _ in 0..3 {
        found.extend(all.iter().filter(|pid| parent_of(**pid).is_some_and(|parent| found.contains(&parent))).copied().collect::<Vec<_>>());
    }
    found.retain(|pid| *pid != of);
    found
}

/// The first child of a process, waited for up to 2 s.
pub(crate) fn child_of(parent: i32) -> Option<i32> {
    crate::wait_until(Duration::from_secs(2), || {
        let entries = fs::read_dir("/proc").ok()?;
        let mut pids = entries.flatten().filter_map(|entry| entry.file_name().to_string_lossy().parse::<i32>().ok());
        pids.find(|pid| parent_of(*pid) == Some(parent))
    })
}

pub(super) fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; state and parent follow it.
    let (_, rest) = stat.rsplit_once(") ")?;
    let (state, rest) = rest.split_once(' ')?;
    if state == "Z" { None } else { rest.split(' ').next()?.parse().ok() }
}

/// Whether a process still runs: one that has ended and is not reaped has closed all it had.
pub(crate) fn runs(pid: i32) -> bool {
    parent_of(pid).is_some()
}

/// The product with all its processes.
#[derive(Debug)]
pub(super) struct Whole(pub(super) Running);

impl Whole {
    /// Ends everything and waits until it has: `unshare` itself does not wait for those it kills, and while they end they own the table.
    pub(super) fn end(&mut self) {
        let all = descendants(self.0.pid());
        let _status = self.0.kill();
        if crate::wait_until(Duration::from_secs(15), || all.iter().all(|pid| !runs(*pid)).then_some(())).is_none() {
            // The next test of the pod would only see that the table is owned.
            for pid in all.into_iter().filter(|pid| runs(*pid)) {
                let said = ["status", "wchan", "stack"].map(|file| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default());
                println!("still there 15 s after SIGKILL: {pid}\n{}", said.join("\n"));
            }
        }
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        self.end();
    }
}

impl std::ops::Deref for Whole {
    type Target = Running;

    fn deref(&self) -> &Running {
        &self.0
    }
}

impl std::ops::DerefMut for Whole {
    fn deref_mut(&mut self) -> &mut Running {
        &mut self.0
    }
}
