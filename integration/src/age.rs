//! Lets time pass in a pod's kernel: what would be gone a minute and a half later is taken away while no worker owns the table.
//!
//! A note that an address is in use lives for 90 s after the last packet, and an address that left its name's answer is kept in steps of
//! minutes. Nobody but the owner may change the table, so the worker is killed for it, and its successor finds what it would find later.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{Pod, Portreeve, leases, wait_until};

/// How long the successor may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Kills the worker, runs `work` while there is none, and waits for its successor.
///
/// # Panics
/// When the worker does not die or has no successor.
pub fn without_worker(portreeve: &Portreeve<'_>, work: impl FnOnce()) {
    let (supervisor, worker) = (portreeve.supervisor(), portreeve.worker());
    let stopped = Continue::after_stop(supervisor);
    kill(Pid::from_raw(worker), Signal::SIGKILL).expect("the worker");
    assert!(wait_until(LIMIT, || is_dead(worker).then_some(())).is_some(), "the worker does not die");
    work();
    drop(stopped);
    assert!(wait_until(LIMIT, || (portreeve.worker() != worker).then_some(())).is_some(), "no successor: {}", portreeve.log());
    portreeve.expect_ready(LIMIT);
}

/// Nobody reaps it, so a dead process is a zombie; its files are closed when the last of its threads has gone.
fn is_dead(pid: i32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    threads <= 1 && std::fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
}

/// Takes away the notes that addresses of `key` are in use. Call it [`without_worker`].
///
/// # Panics
/// When `nft` refuses.
pub fn forget_use(pod: &Pod, key: &str) {
    for family in ["v4", "v6"] {
        pod.load_nft(&format!("flush set inet portreeve {key}_{family}_used\n"));
    }
}

/// Leaves `left` of the lease of an address. Call it [`without_worker`].
///
/// # Panics
/// When there is not exactly one such lease, or `nft` refuses.
pub fn shorten(pod: &Pod, address: &str, left: Duration) {
    let found = leases::of(pod, address);
    let [lease] = found.as_slice() else { panic!("{address}: {found:?}") };
    let (set, comment, left) = (&lease.set, &lease.comment, left.as_millis());
    // One batch: there is no moment without the lease.
    pod.load_nft(&format!(
        "delete element inet portreeve {set} {{ {address} }}\n\
         add element inet portreeve {set} {{ {address} timeout 2m expires {left}ms comment \"{comment}\" }}\n"
    ));
}

/// A stopped process goes on when this is dropped.
struct Continue(i32);

impl Continue {
    fn after_stop(pid: i32) -> Self {
        kill(Pid::from_raw(pid), Signal::SIGSTOP).expect("the supervisor");
        Self(pid)
    }
}

impl Drop for Continue {
    fn drop(&mut self) {
        let _already_gone = kill(Pid::from_raw(self.0), Signal::SIGCONT);
    }
}
