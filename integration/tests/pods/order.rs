//! Pods that are more than one app: a Job's, one with init containers, one with a native sidecar of its own.

use integration::pods::{APP_IMAGE, inject};
use integration::world::RESOLVER;
use integration::{PlayedPod, Watcher, wait_until};
use serde_json::{Value, json};

use crate::stage::{self, LIMIT, Stage};
use crate::{AT_ONCE, QUICK};

/// One round of what [`AT_ONCE`] does for ever.
const ONCE: &str = "for url in http://198.51.100.42:443/ http://new.example.com:443/ http://events.pagerduty.com:80/ \
    http://events.pagerduty.com:443/; do curl --silent --ipv4 --max-time 1 \"$url\" >/dev/null && echo \"came through: $url\"; done";

const CAME: &str = "came through: http://events.pagerduty.com:443/";

fn container(name: &str, script: &str) -> Value {
    json!({ "name": name, "image": APP_IMAGE, "command": ["sh", "-c", script] })
}

/// The pod of the app `alerts` as the injector makes it of one with these containers.
fn pod(init: &[Value], app: &Value, restart: &str) -> Value {
    inject(&json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "alerts", "namespace": "shop", "labels": { "app": "alerts" } },
        "spec": {
            "serviceAccountName": "alerts", "restartPolicy": restart, "terminationGracePeriodSeconds": 10,
            "initContainers": init, "containers": [app],
        },
    }))
}

/// Nothing has left but questions to the resolver and what the policy permits.
fn expect_only_permitted(watcher: &Watcher, who: &str) {
    let strays = watcher.left_pod(|packet| {
        !packet.is_housekeeping()
            && packet.destination != RESOLVER
            && !(packet.destination.to_string() == "198.51.100.43" && packet.destination_port == 443)
    });
    assert!(strays.is_empty(), "{who}: {strays:?}");
}

/// All that it has said is that the permitted one came through, at least once.
fn expect_came_through(pod: &PlayedPod<'_>, container: &str) {
    let log = pod.logs(container);
    let came = log.lines().filter(|line| *line == CAME).count();
    assert!(came > 0 && came == log.lines().count(), "{container}: {log}\n{}", pod.logs("portreeve"));
}

#[test]
fn a_job_completes_with_its_own_exit_code_and_the_sidecar_follows() {
    let stage = Stage::new();
    let podman = stage.podman();
    for (number, code) in [0, 3].into_iter().enumerate() {
        let mut manifest = pod(&[], &container("app", &format!("{ONCE}; exit {code}")), "Never");
        manifest["metadata"]["name"] = format!("alerts{number}").into();
        let pod = podman.play(&manifest, &[stage::example("alerts")]);
        let watcher = pod.pod().watch();
        pod.start();
        let ended = pod.run_to_its_end();
        let codes: Vec<_> = ended.iter().map(|ended| (ended.container.as_str(), ended.code)).collect();
        assert_eq!(codes, [("app", code), ("portreeve", 0)], "{}", pod.logs("portreeve"));
        assert!(ended[1].took < QUICK, "{ended:?}\n{}", pod.logs("portreeve"));
        expect_came_through(&pod, "app");
        expect_only_permitted(&watcher, "a Job");
        watcher.forget();
        watcher.expect_silence("after a Job's end");
    }
}

#[test]
fn init_containers_run_behind_the_fence_from_their_first_packet() {
    let stage = Stage::new();
    let podman = stage.podman();
    let init = [container("migrate", ONCE), container("fetch", ONCE)];
    let pod = podman.play(&pod(&init, &container("app", "exec sleep 600"), "Always"), &[stage::example("alerts")]);
    let watcher = pod.pod().watch();
    pod.start();
    for init in ["migrate", "fetch"] {
        assert!(!pod.runs(init));
        expect_came_through(&pod, init);
    }
    assert!(pod.runs("app") && pod.runs("portreeve"));
    expect_only_permitted(&watcher, "init containers");
}

#[test]
fn a_sidecar_of_the_apps_own_is_held_and_has_names_until_its_end() {
    let stage = Stage::new();
    let podman = stage.podman();
    let script = format!(
        "trap 'curl --silent --ipv4 --max-time 3 http://events.pagerduty.com:443/ >/dev/null && echo \"{CAME}\" && exit 0; exit 1' TERM; \
         ({AT_ONCE}) & wait"
    );
    let mut proxy = container("proxy", &script);
    proxy["restartPolicy"] = json!("Always");
    // It comes first in the app's manifest, and second in the pod.
    let manifest = pod(&[proxy, container("migrate", ONCE)], &container("app", "trap 'exit 0' TERM; sleep 600 & wait"), "Always");
    let pod = podman.play(&manifest, &[stage::example("alerts")]);
    let watcher = pod.pod().watch();
    pod.start();
    let came = wait_until(LIMIT, || pod.logs("proxy").contains(CAME).then_some(()));
    assert!(came.is_some(), "{}\n{}", pod.logs("proxy"), pod.logs("portreeve"));
    let ended = pod.stop();
    let ended: Vec<_> = ended.iter().map(|ended| (ended.container.as_str(), ended.code, ended.took < QUICK)).collect();
    assert_eq!(ended, [("app", 0, true), ("proxy", 0, true), ("portreeve", 0, true)], "{}", pod.logs("portreeve"));
    expect_came_through(&pod, "proxy");
    expect_came_through(&pod, "migrate");
    expect_only_permitted(&watcher, "a sidecar of the app's own");
}
