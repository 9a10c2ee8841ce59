//! The rights that the injector gives are enough and no more: as given, with one taken away, and what the worker keeps of them.

use std::time::Duration;

use integration::pods::injected;
use integration::{PlayedPod, wait_until};
use serde_json::json;

use crate::stage::{self, LIMIT, Stage};

/// Long enough for a sidecar that has all it needs to be ready, several times over.
const IN_VAIN: Duration = Duration::from_secs(2);

/// A line of /proc/PID/status.
fn line<'a>(status: &'a str, key: &str) -> &'a str {
    let found = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    found.unwrap_or_else(|| panic!("no {key} in\n{status}")).trim()
}

/// Supervisor and worker.
fn both(pod: &PlayedPod<'_>) -> [String; 2] {
    let found = wait_until(LIMIT, || <[String; 2]>::try_from(pod.processes("portreeve")).ok());
    found.unwrap_or_else(|| panic!("not two processes: {:?}\n{}", pod.processes("portreeve"), pod.logs("portreeve")))
}

#[test]
fn as_injected_the_worker_ends_up_with_net_admin_alone() {
    let stage = Stage::new();
    let podman = stage.podman();
    let pod = podman.play(&injected("alerts", &["sleep", "600"]), &[stage::example("alerts")]);
    pod.start();
    let [supervisor, worker] = both(&pod);
    // SETGID, SETUID, SETPCAP, NET_ADMIN; of the worker NET_ADMIN.
    assert_eq!((line(&supervisor, "CapEff"), line(&supervisor, "CapBnd")), ("00000000000011c0", "00000000000011c0"));
    assert_eq!((line(&worker, "CapEff"), line(&worker, "CapPrm")), ("0000000000001000", "0000000000001000"));
    assert_eq!((line(&worker, "CapBnd"), line(&worker, "CapInh")), ("0000000000000000", "0000000000000000"));
    assert_eq!(line(&worker, "Uid").split_whitespace().collect::<Vec<_>>(), ["5453"; 4]);
    for process in [&supervisor, &worker] {
        // The runtime's default filter, under which all the other tests run too.
        assert_eq!((line(process, "NoNewPrivs"), line(process, "Seccomp")), ("1", "2"));
    }
    // What the image says is enough for `kubectl exec … -- portreeve`, and the doctor finds nothing.
    let doctor = pod.exec("portreeve", &["portreeve", "doctor"]);
    assert!(doctor.ok(), "{}{}", doctor.stdout, doctor.stderr);
    assert!(pod.read_only("portreeve"), "the sidecar's root can be written to");
    assert!(!pod.read_only("app"), "the test cannot tell");
}

#[test]
fn without_one_of_them_it_does_not_get_ready_or_says_so() {
    let stage = Stage::new();
    let podman = stage.podman();
    for (number, (right, must_say)) in
        [("NET_ADMIN", "NET_ADMIN"), ("SETUID", "SETUID"), ("SETGID", "SETGID"), ("SETPCAP", "SETPCAP")].into_iter().enumerate()
    {
        let mut manifest = injected(&format!("lacking{number}"), &["sleep", "600"]);
        let add: Vec<&str> = ["NET_ADMIN", "SETUID", "SETGID", "SETPCAP"].into_iter().filter(|kept| *kept != right).collect();
        manifest["spec"]["initContainers"][0]["securityContext"]["capabilities"]["add"] = json!(add);
        let pod = podman.play(&manifest, &[]);
        pod.start_one("portreeve");
        if right == "SETPCAP" {
            // It cannot empty its bounding set then; the doctor says so.
            pod.expect_started("portreeve");
            let [_, worker] = both(&pod);
            assert_eq!(line(&worker, "CapEff"), "0000000000001000");
            assert_ne!(line(&worker, "CapBnd"), "0000000000000000", "SETPCAP is not needed any more: do not inject it");
            continue;
        }
        let ready = wait_until(IN_VAIN, || pod.probe("portreeve").ok().then_some(()));
        let log = pod.logs("portreeve");
        assert!(ready.is_none(), "ready without {right}: do not inject it any more\n{log}");
        assert!(log.contains(must_say), "without {right} the log does not name it:\n{log}");
    }
}
