//! Real pods, played by podman: an injected sidecar holds apps that know nothing of it, from their first packet to their last.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

#[path = "pods/inbound.rs"]
mod inbound;
#[path = "pods/order.rs"]
mod order;
#[path = "pods/rights.rs"]
mod rights;
#[path = "pods/stage.rs"]
mod stage;

use std::time::Duration;

use integration::pods::{ConfigMap, injected};
use integration::{PlayedPod, kernel, wait_until};

use stage::{LIMIT, Must, Stage, curl};

/// SIGTERM to exit: within the 8 s that the supervisor gives its worker, and the 10 s of the pod's grace period.
const QUICK: Duration = Duration::from_secs(4);

/// Asks for what it may and for what it may not, from its first moment on and without a pause.
const AT_ONCE: &str = "while :; do for url in http://198.51.100.42:443/ http://new.example.com:443/ http://events.pagerduty.com:80/ \
    http://events.pagerduty.com:443/; do curl --silent --ipv4 --max-time 1 \"$url\" >/dev/null && echo \"came through: $url\"; done; done";

#[test]
fn three_apps_are_held_behind_their_config_maps() {
    let stage = Stage::new();
    let podman = stage.podman();
    for (app, attempts) in [
        (
            "payment",
            [
                ("http://github.com:22/", Must::BeHeld),
                ("http://events.pagerduty.com:443/", Must::BeHeld),
                ("http://198.51.100.43:443/", Must::BeHeld),
            ],
        ),
        (
            "updates",
            [
                ("http://github.com:22/", Must::Leave),
                ("http://github.com:443/", Must::BeHeld),
                ("http://events.pagerduty.com:443/", Must::BeHeld),
            ],
        ),
        (
            "alerts",
            [
                ("http://events.pagerduty.com:443/", Must::Leave),
                ("http://events.pagerduty.com:80/", Must::BeHeld),
                ("http://198.51.100.22:22/", Must::BeHeld),
            ],
        ),
    ] {
        let pod = podman.play(&injected(app, &["sleep", "600"]), &[stage::example(app)]);
        let watcher = pod.pod().watch();
        pod.start();
        for (url, must) in attempts {
            stage.attempt(&pod, &watcher, url, must);
        }
    }
}

#[test]
fn an_app_that_starts_at_once_finds_the_fence_up() {
    let stage = Stage::new();
    let podman = stage.podman();
    let pod = podman.play(&injected("alerts", &["sh", "-c", AT_ONCE]), &[stage::example("alerts")]);
    let watcher = pod.pod().watch();
    pod.start();
    // It comes through with the last of its four, so the others were tried before.
    let came = wait_until(LIMIT, || Some(pod.logs("app")).filter(|log| log.contains("came through")));
    let log = came.unwrap_or_else(|| panic!("nothing came through:\n{}", pod.logs("portreeve")));
    assert!(log.lines().all(|line| line == "came through: http://events.pagerduty.com:443/"), "{log}");
    // The sidecar's own questions, and the one connection that the policy permits.
    let strays = watcher.left_pod(|packet| {
        !packet.is_housekeeping()
            && packet.destination != integration::world::RESOLVER
            && !(packet.destination.to_string() == "198.51.100.43" && packet.destination_port == 443)
    });
    assert!(strays.is_empty(), "{strays:?}");
}

#[test]
fn the_same_app_without_a_sidecar_is_seen_by_the_watcher() {
    let stage = Stage::new();
    let podman = stage.podman();
    let mut bare = injected("alerts", &["sh", "-c", AT_ONCE]);
    let spec = bare["spec"].as_object_mut().expect("a spec");
    assert!(spec.remove("initContainers").is_some() && spec.remove("volumes").is_some());
    let pod = podman.play(&bare, &[]);
    let watcher = pod.pod().watch();
    pod.start();
    let seen = watcher.wait_for(LIMIT, |packet| packet.destination.to_string() == "198.51.100.80");
    assert!(seen.is_some(), "{}", pod.logs("app"));
}

#[test]
fn a_config_map_that_changes_is_in_force() {
    let stage = Stage::new();
    let podman = stage.podman();
    let pod = podman.play(&injected("alerts", &["sleep", "600"]), &[stage::example("alerts")]);
    let watcher = pod.pod().watch();
    pod.start();
    stage.attempt(&pod, &watcher, "http://events.pagerduty.com:443/", Must::Leave);
    stage.attempt(&pod, &watcher, "http://new.example.com:443/", Must::BeHeld);
    // podman has no live ConfigMaps: the test swaps the volume's `..data` as a kubelet does.
    let text = "version = 1\nname = \"alerts\"\n[[allow]]\nname = \"new\"\nhosts = [\"new.example.com\"]\nports = [\"443\"]\n";
    pod.volume("portreeve-policies-0").replace(&[("alerts.toml", text)]);
    let reloaded = wait_until(LIMIT, || curl(&pod, "http://new.example.com:443/").ok().then_some(()));
    assert!(reloaded.is_some(), "{}", pod.logs("portreeve"));
    stage.attempt(&pod, &watcher, "http://new.example.com:443/", Must::Leave);
    stage.attempt(&pod, &watcher, "http://events.pagerduty.com:443/", Must::BeHeld);
    stage.attempt(&pod, &watcher, "http://198.51.100.43:443/", Must::BeHeld);
}

#[test]
fn all_three_config_maps_count_and_none_is_needed() {
    let stage = Stage::new();
    let podman = stage.podman();
    let shared = "version = 1\nname = \"shared\"\n[[allow]]\nname = \"one\"\nhosts = [\"github.com\"]\nports = [\"443\"]\n";
    let limit = "version = 1\nname = \"platform\"\nplatform = true\n[[limit]]\nhosts = [\"github.com\", \"events.pagerduty.com\"]\n";
    let maps = [
        stage::example("alerts"),
        ConfigMap::new("portreeve-policies", "shared.toml", shared),
        ConfigMap::new("portreeve-platform", "platform.toml", limit),
    ];
    let pod = podman.play(&injected("alerts", &["sleep", "600"]), &maps);
    let watcher = pod.pod().watch();
    pod.start();
    stage.attempt(&pod, &watcher, "http://events.pagerduty.com:443/", Must::Leave);
    stage.attempt(&pod, &watcher, "http://github.com:443/", Must::Leave);
    // The app's own policy grants it, and the platform's limit does not hold it.
    stage.attempt(&pod, &watcher, "http://pagerduty.com:443/", Must::BeHeld);
    // Without one: ready all the same, and nothing leaves.
    let pod = podman.play(&injected("bare", &["sleep", "600"]), &[]);
    let watcher = pod.pod().watch();
    pod.start();
    let status = pod.exec("portreeve", &["portreeve", "status", "--ready"]).expect_ok("status");
    assert!(status.contains("no policy selects this pod"), "{status}");
    stage.attempt(&pod, &watcher, "http://github.com:443/", Must::BeHeld);
}

#[test]
fn a_sidecar_that_was_killed_leaves_the_fence_and_takes_it_over_again() {
    let stage = Stage::new();
    let podman = stage.podman();
    let pod = podman.play(&injected("alerts", &["sleep", "600"]), &[stage::example("alerts")]);
    let watcher = pod.pod().watch();
    pod.start();
    stage.attempt(&pod, &watcher, "http://events.pagerduty.com:443/", Must::Leave);
    let before = chains(&pod);
    pod.kill("portreeve");
    assert!(!pod.runs("portreeve") && kernel::stands(pod.pod()));
    // Nobody answers names meanwhile, so curl goes by address; what was leased stays open, nothing else is.
    let held = |url: &str| {
        watcher.forget();
        let said = curl(&pod, url);
        let left = watcher.left_pod(|packet| !packet.is_housekeeping());
        assert!(!said.ok() && left.is_empty(), "{url} without a sidecar: {} {left:?}", said.code);
    };
    held("http://198.51.100.80:443/");
    held("http://198.51.100.43:80/");
    held("http://events.pagerduty.com:443/");
    assert!(curl(&pod, "http://198.51.100.43:443/").ok(), "a lease that still stands was closed");
    pod.start_one("portreeve");
    pod.expect_started("portreeve");
    assert_eq!(chains(&pod), before, "the rules are not the same after a restart");
    stage.attempt(&pod, &watcher, "http://events.pagerduty.com:443/", Must::Leave);
    stage.attempt(&pod, &watcher, "http://new.example.com:443/", Must::BeHeld);
}

#[test]
fn a_pod_that_is_stopped_ends_in_time_and_stays_closed() {
    let stage = Stage::new();
    let podman = stage.podman();
    let app =
        "trap 'curl --silent --ipv4 --max-time 3 http://events.pagerduty.com:443/ && echo said goodbye; exit 0' TERM; sleep 600 & wait";
    let pod = podman.play(&injected("alerts", &["sh", "-c", app]), &[stage::example("alerts")]);
    let watcher = pod.pod().watch();
    pod.start();
    let ended = pod.stop();
    let order: Vec<&str> = ended.iter().map(|ended| ended.container.as_str()).collect();
    assert_eq!(order, ["app", "portreeve"]);
    assert!(ended.iter().all(|ended| ended.code == 0 && ended.took < QUICK), "{ended:?}\n{}", pod.logs("portreeve"));
    // The app's last words went through: its resolver ends after it.
    assert!(pod.logs("app").contains("said goodbye"), "{}", pod.logs("app"));
    watcher.forget();
    pod.start_one("app");
    for url in ["http://198.51.100.80:443/", "http://events.pagerduty.com:443/", "http://198.51.100.22:22/"] {
        assert!(!curl(&pod, url).ok(), "{url} of a pod that was stopped");
    }
    watcher.expect_silence("after the sidecar's end");
}

/// The rules as `nft` lists them, without the mark and the priority, which are drawn anew at each start.
fn chains(pod: &PlayedPod<'_>) -> Vec<String> {
    let listed = pod.pod().command("nft").args(["--stateless", "list", "table", "inet", "portreeve"]).output().expect_ok("nft list table");
    let rules = listed.lines().map(str::trim).filter(|line| line.contains(" accept") || line.contains(" jump ") || line.contains(" drop"));
    let drawn =
        |word: &&str| word.starts_with("0x") || word.split_once(':').is_some_and(|(major, _)| u16::from_str_radix(major, 16).is_ok());
    rules.map(|rule| rule.split_whitespace().filter(|word| !drawn(word)).collect::<Vec<_>>().join(" ")).collect()
}
