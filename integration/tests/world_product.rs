//! The guard of the product starts it as PID 1, finds supervisor and worker, and ends each alone, shown with a stand-in.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::path::Path;
use std::time::Duration;

use integration::{Pod, Portreeve, Setup, World};

const LIMIT: Duration = Duration::from_secs(5);

fn start(pod: &Pod) -> Portreeve<'_> {
    let stand_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/stand-in.sh");
    Setup::new(pod).program(&stand_in).policy("web.toml", "version = 1\n").start()
}

fn alive(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn it_is_pid_1_and_its_worker_is_killed_alone() {
    let world = World::new();
    let pod = world.pod("app");
    let portreeve = start(&pod);
    assert!(portreeve.wait_for_log("supervisor is pid 1\n", LIMIT), "{}", portreeve.log());
    assert_eq!(portreeve.status()["ready"], true);
    let (supervisor, worker) = (portreeve.supervisor(), portreeve.worker());
    assert!(portreeve.resident() > 0);
    assert_eq!(portreeve.kill_worker(), worker);
    let next = integration::wait_until(LIMIT, || Some(portreeve.worker()).filter(|pid| *pid != worker));
    assert!(next.is_some() && portreeve.supervisor() == supervisor);
    drop(portreeve);
    assert!(integration::wait_until(LIMIT, || (!alive(supervisor) && !alive(next.unwrap())).then_some(())).is_some());
}

#[test]
fn it_ends_by_sigterm_and_by_sigkill_and_starts_again() {
    let world = World::new();
    let pod = world.pod("app");
    let mut portreeve = start(&pod);
    let worker = portreeve.worker();
    portreeve.kill();
    assert!(integration::wait_until(LIMIT, || (!alive(worker)).then_some(())).is_some(), "the worker goes with its PID namespace");
    portreeve.relaunch();
    portreeve.expect_ready(LIMIT);
    assert!(portreeve.policies().path().join("web.toml").exists());
    assert!(portreeve.wait_for_log("worker", LIMIT));
    let status = portreeve.terminate(LIMIT).expect("it ends on SIGTERM");
    assert_eq!(status.code(), Some(0));
    assert!(!portreeve.is_ready());
}
