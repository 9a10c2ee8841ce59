//! The fence policy tells good pods from bad ones, in words, and not one of its validations is idle.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

#[path = "fence/cases.rs"]
mod cases;
#[path = "support/cluster.rs"]
#[allow(dead_code, reason = "the tests of the injection use the rest")]
mod cluster;
#[path = "fence/evaluator.rs"]
mod evaluator;
#[path = "fence/injected.rs"]
mod injected;
#[path = "fence/pods.rs"]
mod pods;

use std::fmt::Write as _;

use evaluator::{Request, policies, refusal};
use injector::settings::{PodSecurity, Settings};
use pods::{Case, held, with};
use serde_json::{Value as Json, json};

fn settings(level: PodSecurity) -> Settings {
    Settings { pod_security: level, ..Settings::default() }
}

/// The policies at baseline and at restricted.
fn both() -> impl Fn(&Case) -> Vec<Json> {
    let (baseline, restricted) = (policies(&settings(PodSecurity::Baseline)), policies(&settings(PodSecurity::Restricted)));
    move |case| if level_of(case) == PodSecurity::Baseline { baseline.clone() } else { restricted.clone() }
}

/// The level at which a case counts: only the policy for restricted needs it.
fn level_of(case: &Case) -> PodSecurity {
    match case.refused_by {
        Some(("portreeve-restricted", _)) | None => PodSecurity::Restricted,
        Some(_) => PodSecurity::Baseline,
    }
}

#[test]
fn tells_good_pods_from_bad() {
    let policies = both();
    let mut told = String::new();
    let mut wrong = Vec::new();
    for case in cases::cases() {
        let refused = refusal(&policies(&case), &case.request);
        match (&refused, case.refused_by) {
            (None, None) => {}
            (Some((policy, message)), Some((by, word))) if policy == by && message.contains(word) => {}
            _ => wrong.push(format!("{}: {refused:?}, expected {:?}", case.name, case.refused_by)),
        }
        match refused {
            None => writeln!(told, "{}\n    admitted", case.name).unwrap(),
            Some((policy, message)) => writeln!(told, "{}\n    {policy}: {message}", case.name).unwrap(),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    insta::assert_snapshot!(told);
}

#[test]
fn no_validation_is_idle() {
    let cases = cases::cases();
    let mut taken_out = 0;
    let all = policies(&settings(PodSecurity::Restricted));
    for (index, policy) in all.iter().enumerate() {
        let name = policy["metadata"]["name"].as_str().unwrap();
        let validations = policy["spec"]["validations"].as_array().unwrap();
        for (validation, taken) in validations.iter().enumerate() {
            // It holds nothing without the setting; the next test but one goes by its sentence.
            if taken["expression"].as_str().unwrap().starts_with("variables.resolvers == ''") {
                continue;
            }
            let slips = cases.iter().filter(|case| case.refused_by.is_some_and(|(by, _)| by == name)).any(|case| {
                let mut weaker = all.clone();
                weaker[index]["spec"]["validations"].as_array_mut().unwrap().remove(validation);
                if level_of(case) == PodSecurity::Baseline {
                    weaker.retain(|policy| policy["metadata"]["name"] != "portreeve-restricted");
                }
                refusal(&weaker, &case.request).is_none()
            });
            assert!(slips, "{name}: no bad pod passes without {}", taken["expression"]);
            taken_out += 1;
        }
    }
    assert!(taken_out > 30, "only {taken_out} validations were taken out");
}

#[test]
fn opting_out_counts_where_the_settings_say() {
    let mut bare = with(held(), "metadata/labels/portreeve.dev~inject", json!("false"));
    bare["spec"]["initContainers"] = json!([]);
    let passes = |toml: &str| refusal(&policies(&Settings::parse(toml).unwrap()), &Request::create(bare.clone())).is_none();
    assert!(!passes(""));
    assert!(passes("opt-out = true"));
    assert!(!passes("opt-out = true\n[namespace.shop]\nopt-out = false"));
    assert!(passes("[namespace.shop]\nopt-out = true"));
    assert!(!passes("[namespace.bank]\nopt-out = true"));
    assert!(passes("opt-out = true\n[namespace.bank]\nopt-out = false"));
}

#[test]
fn the_sidecar_asks_the_resolvers_of_the_settings_and_no_others() {
    let said = |toml: &str, env: &[&str], nameservers: &[&str]| {
        let mut pod = with(held(), "spec/dnsConfig", json!({"nameservers": nameservers}));
        let known = pod["spec"]["initContainers"][0]["env"].as_array_mut().unwrap();
        known.extend(env.iter().map(|value| json!({"name": "PORTREEVE_UPSTREAM", "value": value})));
        refusal(&policies(&Settings::parse(toml).unwrap()), &Request::create(pod)).map(|(policy, message)| format!("{policy}: {message}"))
    };
    let set = "resolvers = [\"10.96.0.10\", \"10.96.0.11\"]";
    assert_eq!(said(set, &["10.96.0.10,10.96.0.11"], &[]), None);
    // Whom the pod names is then not asked.
    assert_eq!(said(set, &["10.96.0.10,10.96.0.11"], &["203.0.113.9"]), None);
    assert!(said(set, &[], &[]).unwrap().contains("env lacks PORTREEVE_UPSTREAM 10.96.0.10,10.96.0.11"));
    for env in [vec!["203.0.113.9"], vec!["10.96.0.10"], vec!["10.96.0.10,10.96.0.11", "203.0.113.9"], vec![""]] {
        assert!(said(set, &env, &[]).unwrap().contains("env PORTREEVE_UPSTREAM is not what"), "{env:?}");
    }
    assert!(said("", &[""], &[]).unwrap().contains("env PORTREEVE_UPSTREAM is not what"), "without the setting it may not be there");
    // Of the namespace, and of another one.
    let own = format!("{set}\n[namespace.shop]\nresolvers = [\"169.254.20.10\"]");
    assert_eq!(said(&own, &["169.254.20.10"], &[]), None);
    assert!(said(&own, &["10.96.0.10,10.96.0.11"], &[]).is_some());
    let other = format!("{set}\n[namespace.bank]\nresolvers = [\"169.254.20.10\"]");
    assert_eq!(said(&other, &["10.96.0.10,10.96.0.11"], &[]), None);
    assert!(said(&other, &["169.254.20.10"], &[]).is_some());
    let none = format!("{set}\n[namespace.shop]\nresolvers = []");
    assert_eq!(said(&none, &[], &[]), None);
    assert!(said(&none, &[], &["203.0.113.9"]).unwrap().starts_with("portreeve-pods: the pod: dnsConfig.nameservers 203.0.113.9"));
}

#[test]
fn an_api_server_has_nothing_to_add_and_a_connection_is_forbidden_not_invalid() {
    for policy in policies(&settings(PodSecurity::Restricted)) {
        let spec = &policy["spec"];
        // A default that is left out makes kubectl say "configured" at each apply.
        assert!(spec["matchConstraints"]["resourceRules"].as_array().unwrap().iter().all(|rule| rule["scope"] == "*"), "{policy}");
        if policy["metadata"]["name"] == "portreeve-exec" {
            assert!(spec["validations"].as_array().unwrap().iter().all(|validation| validation["reason"] == "Forbidden"), "{spec}");
        }
    }
}

#[test]
fn every_setting_has_the_same_objects() {
    let names = |toml: &str| -> Vec<String> {
        let objects = injector::fence::policies(&Settings::parse(toml).unwrap(), "portreeve-system").unwrap();
        objects.iter().map(|object| format!("{} {}", object["kind"], object["metadata"]["name"])).collect()
    };
    let all = names("");
    assert_eq!(all.len(), 7 + 9);
    for toml in ["pod-security = \"restricted\"", "unsafe-pods = \"warn\"", "[namespace.shop]\nunsafe-pods = \"warn\""] {
        assert_eq!(names(toml), all, "{toml}");
    }
}

#[test]
fn unsafe_pods_are_warned_about_where_the_settings_say() {
    let bindings = |toml: &str| -> Vec<String> {
        let objects = injector::fence::policies(&Settings::parse(toml).unwrap(), "portreeve-system").unwrap();
        let about_pods =
            objects.iter().filter(|it| it["kind"] == "ValidatingAdmissionPolicyBinding" && it["spec"]["policyName"] == "portreeve-pods");
        about_pods
            .map(|it| {
                let selector = &it["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"][0];
                format!("{} {} {}{}", it["metadata"]["name"], it["spec"]["validationActions"], selector["operator"], selector["values"])
            })
            .collect()
    };
    // Both are always there: `kubectl apply` would leave the other as it was.
    let nowhere = "\"DoesNotExist\"null";
    assert_eq!(bindings(""), [r#""portreeve-pods" ["Deny"] nullnull"#.into(), format!(r#""portreeve-pods-warn" ["Warn"] {nowhere}"#)]);
    assert_eq!(
        bindings("unsafe-pods = \"warn\""),
        [format!(r#""portreeve-pods" ["Deny"] {nowhere}"#), r#""portreeve-pods-warn" ["Warn"] nullnull"#.into()]
    );
    assert_eq!(
        bindings("[namespace.shop]\nunsafe-pods = \"warn\""),
        [r#""portreeve-pods" ["Deny"] "NotIn"["shop"]"#, r#""portreeve-pods-warn" ["Warn"] "In"["shop"]"#]
    );
    assert_eq!(
        bindings("unsafe-pods = \"warn\"\n[namespace.bank]\nunsafe-pods = \"refuse\""),
        [r#""portreeve-pods" ["Deny"] "In"["bank"]"#, r#""portreeve-pods-warn" ["Warn"] "NotIn"["bank"]"#]
    );
}

#[test]
fn the_namespaces_are_the_settings() {
    let selector = |toml: &str| injector::fence::namespace_selector(&Settings::parse(toml).unwrap(), "guards");
    let never = json!({"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", "guards", "infra"]});
    assert_eq!(
        selector("excluded-namespaces = [\"infra\"]"),
        json!({"matchExpressions": [{"key": "portreeve.dev/injection", "operator": "In", "values": ["enabled"]}, never]})
    );
    assert_eq!(
        selector("namespaces = \"all\"\nexcluded-namespaces = [\"infra\"]"),
        json!({"matchExpressions": [{"key": "portreeve.dev/injection", "operator": "NotIn", "values": ["disabled"]}, never]})
    );
}
