//! Whatever comes, an answer goes: no panic, no endless work, and what is admitted is what would be made.

use injector::inject::{Context, Decision, inject};
use injector::platform::Platform;
use injector::review::{Reviewer, Verdict, review};
use injector::settings::{Settings, UnsafePods};
use policies::Date;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::cluster::request;

fn reviewer(unsafe_pods: UnsafePods) -> Reviewer {
    let settings = Settings { unsafe_pods, opt_out: true, ..Settings::default() };
    Reviewer { settings: settings.into(), platform: Platform::default().into(), today: Date::new(2026, 11, 26).unwrap(), enforced: None }
}

fn denied(body: &[u8]) -> Value {
    let reviewed = review(&reviewer(UnsafePods::Refuse), body);
    assert_eq!((reviewed.verdict, reviewed.reason), (Verdict::Malformed, "malformed"));
    let answer: Value = serde_json::from_slice(&reviewed.body).unwrap();
    assert_eq!((&answer["response"]["allowed"], &answer["response"]["status"]["code"]), (&json!(false), &json!(400)));
    answer
}

#[test]
fn malformed_reviews_are_denied_with_a_sentence() {
    for body in [
        &b""[..],
        b"{",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{\"request\": 1}",
        b"{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\"}",
    ] {
        let answer = denied(body);
        assert!(answer["response"]["status"]["message"].as_str().unwrap().contains("no admission review"));
    }
    let mut of_beta = request("pods", "", "CREATE", "shop", &json!({}), &Value::Null);
    of_beta["apiVersion"] = json!("admission.k8s.io/v1beta1");
    let answer = denied(of_beta.to_string().as_bytes());
    assert_eq!(answer["response"]["uid"], of_beta["request"]["uid"]);
    denied(request("pods", "", "CREATE", "", &json!({}), &Value::Null).to_string().as_bytes());
    denied(request("pods", "", "CREATE", "shop", &json!([]), &Value::Null).to_string().as_bytes());
}

#[test]
fn a_deep_object_is_denied_with_its_uid_and_the_stack_stays() {
    let deep = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
    let body = request("pods", "", "CREATE", "shop", &json!("HERE"), &Value::Null).to_string().replace("\"HERE\"", &deep);
    let answer = denied(body.as_bytes());
    assert_eq!(answer["response"]["uid"], "705ab4f5-6393-11e8-b7cc-42010a800002");
    let allowed = injector::review::MOST_DEPTH;
    let nest = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    let of_depth = |depth: usize| {
        let pod = json!({"spec": {"containers": [{"name": "a"}], "x": "HERE"}});
        let body = request("pods", "", "CREATE", "shop", &pod, &Value::Null).to_string().replace("\"HERE\"", &nest(depth));
        review(&reviewer(UnsafePods::Refuse), body.as_bytes()).verdict
    };
    // Around the list stand the review, the request, the object and the spec.
    assert_eq!(of_depth(allowed - 4), Verdict::Patched);
    assert_eq!(of_depth(allowed - 3), Verdict::Malformed);
}

#[test]
fn what_is_no_pod_is_refused_with_a_sentence() {
    for pod in [
        json!({}),
        json!({"spec": []}),
        json!({"spec": {}}),
        json!({"spec": {"containers": "x"}}),
        json!({"spec": {"containers": [1]}}),
        json!({"spec": {"containers": [{"name": "a"}], "initContainers": {"name": "portreeve"}}}),
        json!({"spec": {"containers": [{"name": "a"}], "volumes": 1}}),
        json!({"metadata": [], "spec": {"containers": [{"name": "a"}]}}),
        json!({"spec": {"containers": vec![json!({"name": "a"}); 257]}}),
        json!({"spec": {"containers": [{"name": "a"}], "ephemeralContainers": vec![json!({"name": "a"}); 257]}}),
        json!({"metadata": {"annotations": "x"}, "spec": {"containers": [{"name": "a"}]}}),
    ] {
        let platform = Platform::default();
        let context = Context { namespace: "shop", enforced: None, platform: &platform };
        let Decision::Refused(refused) = inject(&Settings::default(), &context, &pod) else { panic!("{pod}") };
        assert!(refused[0].to_string().starts_with("this is no pod: "), "{pod}");
    }
}

/// Keys that mean something, so that random trees reach the places that are looked at.
const KEYS: &[&str] = &[
    "metadata",
    "spec",
    "containers",
    "initContainers",
    "ephemeralContainers",
    "volumes",
    "name",
    "image",
    "labels",
    "annotations",
    "securityContext",
    "capabilities",
    "add",
    "drop",
    "ports",
    "containerPort",
    "hostPort",
    "volumeMounts",
    "app",
    "portreeve.dev/policies",
    "portreeve.dev/inject",
    "portreeve.dev/status",
    "hostNetwork",
    "privileged",
    "runAsUser",
    "seccompProfile",
    "type",
    "resources",
    "limits",
    "cpu",
    "env",
    "os",
    "hostPath",
    "livenessProbe",
    "httpGet",
    "host",
    "seLinuxOptions",
    "sysctls",
    "data",
    "a.toml",
    "binaryData",
    "",
];
const WORDS: &[&str] = &[
    "portreeve",
    "portreeve-run",
    "app",
    "ALL",
    "net_raw",
    "NET_ADMIN",
    "false",
    "true",
    "windows",
    "version = 1",
    "name = \"a\"",
    "/",
    "~",
    "$",
    "\u{0}",
    "é",
];

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        Just(json!(5453)),
        proptest::sample::select(WORDS).prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 96, 6, |inner| {
        let object = proptest::collection::vec((proptest::sample::select(KEYS), inner.clone()), 0..6)
            .prop_map(|entries| Value::Object(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>()));
        prop_oneof![3 => object, 1 => proptest::collection::vec(inner, 0..4).prop_map(Value::Array)]
    })
}

/// A pod in shape, with anything in it.
fn pod() -> impl Strategy<Value = Value> {
    let named = || (proptest::sample::select(WORDS), value()).prop_map(|(name, rest)| with(rest, "name", json!(name)));
    let list = move || proptest::collection::vec(named(), 0..4).prop_map(Value::Array);
    (list(), list(), list(), value(), value()).prop_map(|(containers, init, volumes, metadata, security)| {
        let mut containers = containers;
        containers.as_array_mut().unwrap().push(json!({"name": "app"}));
        let spec = json!({"containers": containers, "initContainers": init, "volumes": volumes, "securityContext": security});
        json!({"metadata": with(metadata, "annotations", json!({})), "spec": spec})
    })
}

fn with(value: Value, key: &str, field: Value) -> Value {
    let mut object = value.as_object().cloned().unwrap_or_default();
    object.insert(key.to_owned(), field);
    Value::Object(object)
}

proptest! {
    #[test]
    fn bytes_are_answered(body in proptest::collection::vec(any::<u8>(), 0..512)) {
        denied(&body);
    }

    #[test]
    fn any_object_is_answered(object in value(), old in value(), which in 0..3usize, warn in any::<bool>()) {
        let (resource, sub, operation) = [("pods", "", "CREATE"), ("pods", "ephemeralcontainers", "UPDATE"), ("configmaps", "", "CREATE")][which];
        let body = request(resource, sub, operation, "shop", &object, &old).to_string();
        let reviewed = review(&reviewer(if warn { UnsafePods::Warn } else { UnsafePods::Refuse }), body.as_bytes());
        let answer: Value = serde_json::from_slice(&reviewed.body).unwrap();
        prop_assert_eq!(&answer["response"]["uid"], "705ab4f5-6393-11e8-b7cc-42010a800002");
    }

    #[test]
    fn a_held_pod_has_one_sidecar_first_and_is_not_patched_again(pod in pod()) {
        let settings = Settings { unsafe_pods: UnsafePods::Warn, ..Settings::default() };
        let platform = Platform::default();
        let context = Context { namespace: "shop", enforced: None, platform: &platform };
        if let Decision::Held { pod: held, .. } = inject(&settings, &context, &pod) {
            let ours: Vec<usize> = held["spec"]["initContainers"].as_array().unwrap().iter().enumerate()
                .filter(|(_, container)| container["name"] == "portreeve").map(|(index, _)| index).collect();
            prop_assert_eq!(ours, vec![0]);
            let Decision::Held { pod: again, .. } = inject(&settings, &context, &held) else { panic!("held once, not twice") };
            prop_assert_eq!(again, held);
        }
    }
}
