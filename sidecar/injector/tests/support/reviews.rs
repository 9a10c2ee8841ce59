//! Reviews that are no pods: ConfigMaps with policies, containers that join a running pod, and what is none of ours.

use injector::platform::Platform;
use injector::review::{Reviewer, Verdict};
use injector::settings::{PodSecurity, Settings, UnsafePods};
use policies::Date;
use serde_json::{Value, json};

use super::cluster::{Answer, ask, request};

fn reviewer() -> Reviewer {
    let (settings, platform) = (Settings::default().into(), Platform::default().into());
    Reviewer { settings, platform, today: Date::new(2026, 11, 26).unwrap(), enforced: None }
}

fn with_platform(text: &str) -> Reviewer {
    Reviewer { platform: Platform::parse(text).unwrap().into(), ..reviewer() }
}

fn apply(reviewer: &Reviewer, data: Value) -> Answer {
    let config_map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "portreeve-alerts"}, "data": data});
    ask(reviewer, &request("configmaps", "", "UPDATE", "shop", &config_map, &Value::Null))
}

const ALERTS: &str = "version = 1\nname = \"alerts\"\n[[allow]]\nname = \"pagerduty\"\nhosts = [\"events.pagerduty.com\", \"*.pagerduty.com\"]\nports = [\"443\"]\n";

#[test]
fn a_right_policy_is_admitted_in_silence() {
    let answer = apply(&reviewer(), json!({"alerts.toml": ALERTS}));
    assert_eq!((answer.verdict, answer.reason, answer.warnings()), (Verdict::Admitted, "checked", vec![]));
}

#[test]
fn a_broken_policy_is_refused_with_the_problem_under_its_line() {
    let answer = apply(
        &reviewer(),
        json!({"alerts.toml": ALERTS.replace("ports", "prots"), "b.toml": "version = 1\nname = \"b\"\nmode = \"adit\"\n"}),
    );
    assert_eq!((answer.verdict, answer.reason), (Verdict::Refused, "policy"));
    insta::assert_snapshot!(answer.message());
}

#[test]
fn what_only_shows_together_is_refused_too() {
    let answer = apply(&reviewer(), json!({"a.toml": ALERTS, "b.toml": ALERTS}));
    assert_eq!(answer.verdict, Verdict::Refused);
    assert!(answer.message().contains("alerts"), "{}", answer.message());
    let platform = with_platform(&ALERTS.replace("version = 1", "version = 1\nplatform = true"));
    assert_eq!(apply(&platform, json!({"a.toml": ALERTS})).verdict, Verdict::Refused, "the platform's policy has that name");
}

#[test]
fn a_grant_outside_the_platforms_limits_is_told_and_only_a_platform_file_may_limit() {
    let limit = "version = 1\nname = \"platform\"\nplatform = true\n[[limit]]\nhosts = [\"*.pagerduty.com\"]\nports = [\"443\"]\n";
    let policy = ALERTS.replace("[\"443\"]", "[\"443\", \"22\"]").replace("\"*.pagerduty.com\"", "\"*.github.com\"");
    let answer = apply(&with_platform(limit), json!({"alerts.toml": policy}));
    assert_eq!(answer.verdict, Verdict::Admitted);
    let warnings = answer.warnings().join("\n");
    assert!(warnings.contains("has no effect for *.github.com on 22, 443"), "{warnings}");
    assert!(warnings.contains("has no effect for events.pagerduty.com on 22:"), "{warnings}");
    assert_eq!(apply(&with_platform(limit), json!({"alerts.toml": ALERTS})).warnings(), Vec::<&str>::new());
    let own = format!("{ALERTS}[[limit]]\nports = [\"443\"]\n");
    let answer = apply(&reviewer(), json!({"alerts.toml": own}));
    assert!(answer.message().contains("only a platform file can limit"), "{}", answer.message());
}

#[test]
fn a_range_outside_the_platforms_limits_is_told() {
    let with = |rules: &str| with_platform(&format!("version = 1\nname = \"platform\"\nplatform = true\n{rules}"));
    let ranges = |cidrs: &str| json!({"a.toml": format!("version = 1\nname = \"a\"\n[[allow]]\nname = \"r\"\ncidrs = [{cidrs}]\nports = [\"443\", \"8443\"]\n")});
    let limit = with("[[limit]]\ncidrs = [\"10.1.0.0/16\", \"10.2.0.0/16\", \"10.3.0.0/16\"]\nports = [\"443\"]\n");
    for (cidrs, wanted) in [
        ("\"192.0.2.0/24\"", "rule r has no effect for 192.0.2.0/24 on 443, 8443"),
        ("\"10.1.2.0/24\"", "rule r has no effect for 10.1.2.0/24 on 8443:"),
        ("\"10.0.0.0/15\"", "rule r has an effect for a part only of 10.0.0.0/15 on 443, 8443:"),
    ] {
        let answer = apply(&limit, ranges(cidrs));
        assert_eq!((answer.verdict, answer.warnings().len()), (Verdict::Admitted, 1), "{cidrs}: {:?}", answer.warnings());
        assert!(answer.warnings()[0].contains(wanted), "{cidrs}: {:?}", answer.warnings());
        assert!(answer.warnings()[0].starts_with("portreeve-alerts/a.toml:3: "), "{:?}", answer.warnings());
    }
    let inside = with("[[limit]]\ncidrs = [\"10.2.0.0/16\", \"10.3.0.0/16\", \"2001:db8::/32\"]\n");
    for cidrs in ["\"10.2.0.0/15\"", "\"10.3.7.0/24\", \"2001:db8:1::/48\""] {
        assert_eq!(apply(&inside, ranges(cidrs)).warnings(), Vec::<&str>::new(), "{cidrs}");
    }
    let denied = with("[[deny]]\ncidrs = [\"10.1.0.0/16\"]\nports = [\"443\"]\n");
    let warnings = apply(&denied, ranges("\"10.1.2.0/24\"")).warnings().join("");
    assert!(warnings.contains("10.1.2.0/24 on 443:"), "{warnings}");
}

#[test]
fn what_has_no_effect_is_told() {
    let audit = ALERTS.replace("version = 1", "version = 1\nmode = \"audit\"");
    let platform = with_platform("version = 1\nname = \"platform\"\n");
    assert!(apply(&platform, json!({"a.toml": audit})).warnings().join("").contains("has no effect: the platform's policy holds the pod"));
    assert_eq!(apply(&reviewer(), json!({"a.toml": audit})).warnings(), Vec::<&str>::new());
    let warnings = apply(&reviewer(), json!({"alerts": ALERTS, ".a.toml": ALERTS})).warnings().join("\n");
    for wanted in ["portreeve-alerts: alerts is not read", "portreeve-alerts: .a.toml is not read", "portreeve-alerts holds no policy"] {
        assert!(warnings.contains(wanted), "{warnings}");
    }
    let elsewhere = format!("{ALERTS}[select]\nnamespaces = [\"bank\"]\n");
    assert!(apply(&reviewer(), json!({"a.toml": elsewhere})).warnings().join("").contains("selects pods of bank"));
    let expect = format!("{ALERTS}[[expect]]\nallow = \"github.com:22\"\n");
    assert!(apply(&reviewer(), json!({"a.toml": expect})).warnings().join("").contains("not as expected"));
    let expired = ALERTS.replace("ports =", "expires = 2026-11-30\nports =");
    assert!(apply(&reviewer(), json!({"a.toml": expired})).warnings().join("").contains("expires in 4 days"));
}

#[test]
fn policies_in_binary_data_are_refused_and_other_config_maps_pass() {
    let binary = json!({"metadata": {"name": "portreeve-alerts"}, "binaryData": {"a.toml": "/w=="}});
    let answer = ask(&reviewer(), &request("configmaps", "", "CREATE", "shop", &binary, &Value::Null));
    assert!(answer.message().contains("belongs into data"), "{}", answer.message());
    let other = json!({"metadata": {"name": "settings"}, "data": {"a.toml": "no = policy"}});
    let answer = ask(&reviewer(), &request("configmaps", "", "CREATE", "shop", &other, &Value::Null));
    assert_eq!((answer.verdict, answer.reason), (Verdict::Admitted, "not-ours"));
}

#[test]
fn messages_and_warnings_stay_within_what_kubectl_shows() {
    let many: String = (0..5000).map(|line| format!("key-{line} = 1\n")).collect();
    let answer = apply(&reviewer(), json!({"a.toml": many}));
    assert!(answer.message().len() < 6_200, "{}", answer.message().len());
    assert!(answer.message().ends_with("more lines"), "{}", answer.message());
    let keys: serde_json::Map<String, Value> = (0..500).map(|key| (format!("{key}-{}", "x".repeat(200)), json!(""))).collect();
    let answer = apply(&reviewer(), Value::Object(keys));
    let warnings = answer.warnings();
    assert_eq!(warnings.len(), 16);
    assert!(warnings.iter().all(|warning| warning.chars().count() <= 256));
    assert_eq!(warnings.last(), Some(&"and 486 more"));
}

fn debug(reviewer: &Reviewer, containers: Value, old: Value) -> (Value, Answer) {
    let pod = |ephemeral| {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "alerts"}, "spec": {
            "initContainers": [{"name": "portreeve"}], "containers": [{"name": "app"}], "ephemeralContainers": ephemeral}})
    };
    let now = pod(containers);
    let answer = ask(reviewer, &request("pods", "ephemeralcontainers", "UPDATE", "shop", &now, &pod(old)));
    (now, answer)
}

#[test]
fn a_container_that_joins_a_held_pod_is_judged_and_loses_net_raw() {
    let netadmin =
        json!([{"name": "debugger-1", "image": "busybox", "securityContext": {"capabilities": {"add": ["NET_ADMIN", "NET_RAW"]}}}]);
    let (_, answer) = debug(&reviewer(), netadmin.clone(), json!([]));
    assert_eq!((answer.verdict, answer.reason), (Verdict::Refused, "net-raw"));
    for wanted in ["ephemeral container debugger-1", "NET_ADMIN", "--profile=baseline"] {
        assert!(answer.message().contains(wanted), "{}", answer.message());
    }
    let (now, answer) = debug(&reviewer(), json!([{"name": "debugger-1", "image": "busybox"}]), json!([]));
    assert_eq!(answer.verdict, Verdict::Patched);
    let patched = answer.apply(&now);
    assert_eq!(patched["spec"]["ephemeralContainers"][0]["securityContext"]["capabilities"]["drop"], json!(["NET_RAW"]));
    assert_eq!(patched["spec"]["containers"], now["spec"]["containers"], "nothing else is touched");
    let target = json!([{"name": "debugger-1", "image": "busybox", "targetContainerName": "portreeve"}]);
    let (_, answer) = debug(&reviewer(), target, json!([]));
    assert_eq!((answer.verdict, answer.reason), (Verdict::Refused, "name"));
    // What was there before is not judged again: it could not be changed.
    let (_, answer) = debug(&reviewer(), netadmin.clone(), netadmin.clone());
    assert_eq!(answer.verdict, Verdict::Admitted);
    let mut lenient = reviewer();
    lenient.settings = Settings { unsafe_pods: UnsafePods::Warn, ..Settings::default() }.into();
    let (_, answer) = debug(&lenient, netadmin, json!([]));
    assert!(answer.allowed && answer.warnings().len() == 2);
}

#[test]
fn a_container_that_joins_is_judged_at_the_settings_level() {
    let mut restricted = reviewer();
    restricted.settings = Settings { pod_security: PodSecurity::Restricted, ..Settings::default() }.into();
    let (_, answer) = debug(&restricted, json!([{"name": "debugger-1", "image": "busybox"}]), json!([]));
    assert_eq!((answer.verdict, answer.reason), (Verdict::Refused, "restricted"));
    for wanted in ["ephemeral container debugger-1: securityContext.runAsNonRoot", "--profile=restricted"] {
        assert!(answer.message().contains(wanted), "{}", answer.message());
    }
    // As `kubectl debug --profile=restricted` makes it.
    let security = json!({"allowPrivilegeEscalation": false, "runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}, "capabilities": {"drop": ["ALL"]}});
    let (_, answer) = debug(&restricted, json!([{"name": "debugger-1", "image": "busybox", "securityContext": security}]), json!([]));
    assert_eq!(answer.verdict, Verdict::Admitted, "{:?}", answer.warnings());
}

#[test]
fn a_pod_that_is_not_held_is_debugged_at_will() {
    let pod =
        json!({"spec": {"containers": [{"name": "app"}], "ephemeralContainers": [{"name": "d", "securityContext": {"privileged": true}}]}});
    let answer = ask(&reviewer(), &request("pods", "ephemeralcontainers", "UPDATE", "shop", &pod, &Value::Null));
    assert_eq!((answer.verdict, answer.reason), (Verdict::Admitted, "not-held"));
}

#[test]
fn what_is_none_of_ours_passes() {
    for (resource, sub, operation) in
        [("pods", "", "DELETE"), ("pods", "status", "UPDATE"), ("pods", "", "UPDATE"), ("configmaps", "", "DELETE")]
    {
        let answer = ask(&reviewer(), &request(resource, sub, operation, "shop", &Value::Null, &Value::Null));
        assert_eq!((answer.verdict, answer.reason), (Verdict::Admitted, "not-asked"), "{resource} {sub} {operation}");
    }
    let answer = ask(&reviewer(), &request("secrets", "", "CREATE", "shop", &json!({}), &Value::Null));
    assert_eq!(answer.verdict, Verdict::Malformed);
    assert!(answer.message().contains("/secrets"), "{}", answer.message());
}

#[test]
fn a_config_map_that_is_made_to_take_long_does_not() {
    let many: serde_json::Map<String, Value> =
        (0..257).map(|file| (format!("f{file}.toml"), json!(format!("version = 1\nname = \"f{file}\"\n")))).collect();
    let answer = apply(&reviewer(), Value::Object(many));
    assert!(answer.message().contains("257 policies, of at most 256"), "{}", answer.message());
    // One large file that every pod reads, and many small ones that each select another pod: united for each it would be minutes.
    let hosts: Vec<String> = (0..20_000).map(|host| format!("\"h{host}.example.com\"")).collect();
    let large = format!("version = 1\nname = \"large\"\n[[allow]]\nname = \"a\"\nports = [\"443\"]\nhosts = [{}]\n", hosts.join(", "));
    let mut data = serde_json::Map::from_iter([("large.toml".to_owned(), json!(large))]);
    for file in 0..255 {
        let small =
            format!("version = 1\nname = \"f{file}\"\n[select]\nlabels = {{ app = \"a{file}\" }}\n[[expect]]\ndeny = \"a.com:1\"\n");
        data.insert(format!("f{file}.toml"), json!(small));
    }
    let begun = std::time::Instant::now();
    let answer = apply(&with_platform("version = 1\nname = \"platform\"\n"), Value::Object(data));
    assert!(begun.elapsed() < std::time::Duration::from_secs(30), "{:?}", begun.elapsed());
    assert!(answer.allowed, "{}", answer.message());
    let warnings = answer.warnings().join("\n");
    assert!(warnings.contains("checked by itself alone"), "{warnings}");
}
