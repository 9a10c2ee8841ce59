//! Pods in, answers out: each file of `tests/pods` is what its name says, is what was checked in, and comes back unpatched.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/hostile.rs"]
mod hostile;
#[path = "support/offline.rs"]
mod offline;
#[path = "support/reviews.rs"]
mod reviews;
#[path = "support/schema.rs"]
mod schema;

use cluster::{Case, cases};
use injector::review::Verdict;

#[test]
fn every_pod_is_answered_as_checked_in() {
    let cases = cases();
    assert!(cases.len() >= 40, "only {} pods were found", cases.len());
    for case in cases {
        let answer = case.review(&case.pod);
        let (wanted, allowed) = match case.name.split('-').next() {
            Some("held") => (Verdict::Patched, true),
            Some("left") => (Verdict::Admitted, true),
            Some("refused") => (Verdict::Refused, false),
            _ => panic!("{}: a file is called held-, left- or refused-", case.name),
        };
        assert_eq!((answer.verdict, answer.allowed), (wanted, allowed), "{}", case.name);
        insta::with_settings!({snapshot_path => "pods/answers", prepend_module_to_snapshot => false, omit_expression => true}, {
            insta::assert_snapshot!(case.name.as_str(), answer.told());
        });
    }
}

#[test]
fn a_second_pass_is_empty_whatever_the_api_server_adds() {
    for case in held() {
        let once = case.review(&case.pod).apply(&case.pod);
        assert_eq!(case.review(&once).patch, None, "{}: as it was patched", case.name);
        let mut defaulted = once.clone();
        cluster::default_and_add(&mut defaulted);
        assert_ne!(defaulted, once, "{}: the API server adds something", case.name);
        let again = case.review(&defaulted);
        assert_eq!(again.patch, None, "{}: as the API server made it of that", case.name);
        assert_eq!((again.verdict, again.reason), (Verdict::Admitted, "as-it-should-be"), "{}", case.name);
    }
}

#[test]
fn the_sidecar_is_first_alone_and_as_it_would_be_made_whatever_is_changed_in_it() {
    for case in held() {
        let wanted = case.review(&case.pod).apply(&case.pod);
        let sidecar = wanted["spec"]["initContainers"][0].clone();
        assert_eq!(sidecar["name"], "portreeve", "{}", case.name);
        let mut changed: Vec<serde_json::Value> = Vec::new();
        for key in sidecar.as_object().unwrap().keys().filter(|key| *key != "name") {
            let mut without = wanted.clone();
            without["spec"]["initContainers"][0].as_object_mut().unwrap().remove(key);
            changed.push(without);
        }
        for (pointer, value) in [
            ("image", serde_json::json!("registry.example/evil:1")),
            ("lifecycle", serde_json::json!({"postStart": {"exec": {"command": ["portreeve", "x"]}}})),
            ("envFrom", serde_json::json!([{"configMapRef": {"name": "x"}}])),
            ("livenessProbe", serde_json::json!({"exec": {"command": ["false"]}})),
        ] {
            let mut with = wanted.clone();
            with["spec"]["initContainers"][0][pointer] = value;
            changed.push(with);
        }
        let mut twice = wanted.clone();
        twice["spec"]["initContainers"].as_array_mut().unwrap().push(serde_json::json!({"name": "portreeve", "image": "x"}));
        changed.push(twice);
        let mut last = wanted.clone();
        last["spec"]["initContainers"].as_array_mut().unwrap().push(serde_json::json!({"name": "z", "image": "z",
            "securityContext": {"allowPrivilegeEscalation": false, "runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"},
                "capabilities": {"drop": ["ALL"]}}}));
        last["spec"]["initContainers"].as_array_mut().unwrap().rotate_left(1);
        let moved = case.review(&last).apply(&last);
        assert_eq!(moved["spec"]["initContainers"][0], sidecar, "{}: moved to the first place", case.name);
        for changed in changed {
            let answer = case.review(&changed);
            assert_eq!(answer.verdict, Verdict::Patched, "{}: {changed}", case.name);
            assert_eq!(answer.apply(&changed), wanted, "{}", case.name);
        }
    }
}

#[test]
fn volumes_of_ours_are_ours_again() {
    for case in held() {
        let wanted = case.review(&case.pod).apply(&case.pod);
        for (index, volume) in wanted["spec"]["volumes"].as_array().unwrap().iter().enumerate() {
            if !volume["name"].as_str().unwrap().starts_with("portreeve-") {
                continue;
            }
            let mut changed = wanted.clone();
            changed["spec"]["volumes"][index] = serde_json::json!({"name": volume["name"], "hostPath": {"path": "/"}});
            assert_eq!(case.review(&changed).apply(&changed), wanted, "{}: {volume}", case.name);
        }
    }
}

fn held() -> impl Iterator<Item = Case> {
    cases().into_iter().filter(|case| case.name.starts_with("held-"))
}
