//! What `install` prints is valid for the API, reads as it was meant, and is what the chart renders from the same settings.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use injector::install::{Plan, UninstallArgs, default_injector_image, removed, yaml};
use injector::settings::Settings;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const CA: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
const NAMESPACE: &str = "guards";
/// The oldest that has the policies, and the one that was tried.
const VERSIONS: [&str; 3] = ["1.30", "1.34", "1.37"];

/// Settings that reach every branch of the templates.
const SETTINGS: [&str; 4] = [
    "",
    "namespaces = \"all\"\nexcluded-namespaces = [\"infra\", \"on\"]\nopt-out = true\npod-security = \"restricted\"\nmetrics-port = 0\n\
     image-pull-policy = \"Always\"\nimage = \"registry.example:5000/p@sha256:0a\"\nmore-images = [\"registry.example/p:1\"]\n\
     resolvers = [\"10.96.0.10\", \"[2001:db8::53]:53\"]",
    "resolvers = [\"10.96.0.10\"]\nunsafe-pods = \"warn\"\nraw-guard = \"require\"\nflow-log = \"off\"\nport = 5300\nuid = 70000\n\
     [namespace.shop]\nopt-out = true\nunsafe-pods = \"refuse\"\nresolvers = [\"169.254.20.10\", \"10.1.1.1\"]\n[namespace.123]\nunsafe-pods = \"refuse\"\nresolvers = []",
    "opt-out = true\n[resources]\ncpu-request = \"5m\"\ncpu-limit = \"2\"\nmemory-request = \"16Mi\"\nmemory-limit = \"1e9\"\n\
     [namespace.bank]\nopt-out = false\nunsafe-pods = \"warn\"\n\
     [namespace.bank.resources]\ncpu-request = \"1\"\ncpu-limit = \"1\"\nmemory-request = \"32Mi\"\nmemory-limit = \"32Mi\"",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn plan(toml: &str, openshift: bool) -> Plan {
    Plan {
        settings: Settings::parse(toml).unwrap(),
        ca: CA.to_owned(),
        namespace: NAMESPACE.to_owned(),
        injector_image: default_injector_image(),
        openshift,
    }
}

/// Asks Helm and the API's schemas, which are Python packages.
fn ask(question: &Value) -> Value {
    let python = root().join("target/tools/python/bin/python");
    let script = root().join("sidecar/injector/tests/manifests.py");
    let how = format!(
        "the tests of the manifests need Helm's renderer and the API's schemas: python3 -m venv {0}/target/tools/python && \
         {0}/target/tools/python/bin/pip install -r {0}/sidecar/injector/tests/requirements.txt",
        root().display()
    );
    let mut child =
        Command::new(&python).arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect(&how);
    child.stdin.take().unwrap().write_all(question.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}\n{how}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn question(values: &[Value], wrong: &[Value], yaml: &[String]) -> Value {
    json!({
        "chart": root().join("images/chart"), "namespace": NAMESPACE, "values": values, "wrong": wrong, "yaml": yaml, "versions": VERSIONS,
    })
}

/// The objects by kind and name, the settings as what they say: the two write TOML in their own ways, and so have their own checksums of it.
fn normalised(objects: &[Value]) -> BTreeMap<String, Value> {
    let mut normal = BTreeMap::new();
    let settings = objects.iter().find_map(|object| object.pointer("/data/settings.toml")?.as_str()).unwrap();
    let sum: String = Sha256::digest(settings).iter().map(|byte| format!("{byte:02x}")).collect();
    for object in objects {
        let mut object = object.clone();
        if let Some(checksum) = object.pointer_mut("/spec/template/metadata/annotations/checksum~1settings") {
            *checksum = json!(if *checksum == sum { "of the settings" } else { "of something else" });
        }
        if let Some(text) = object.pointer("/data/settings.toml").and_then(Value::as_str) {
            object["data"]["settings.toml"] = serde_json::to_value(Settings::parse(text).unwrap()).unwrap();
        }
        let name = format!("{} {}", object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap());
        assert!(normal.insert(name.clone(), object).is_none(), "{name} twice");
    }
    normal
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().unwrap().clone()
}

#[test]
fn the_chart_says_what_install_prints() {
    let pairs: Vec<(&str, bool)> = SETTINGS.iter().flat_map(|toml| [(*toml, false), (*toml, true)]).collect();
    let objects: Vec<Vec<Value>> = pairs.iter().map(|(toml, openshift)| plan(toml, *openshift).objects().unwrap()).collect();
    let mut printed: Vec<String> = objects.iter().map(|objects| yaml(objects).unwrap()).collect();
    let first = injector::ca::CaArgs { namespace: NAMESPACE.to_owned(), next: false };
    printed.push(injector::ca::manifest(&injector::ca::make(std::time::SystemTime::now()).unwrap(), &first).unwrap());
    let values: Vec<Value> = pairs
        .iter()
        .map(|(toml, openshift)| {
            let settings: Value = serde_json::to_value(toml::from_str::<toml::Table>(toml).unwrap()).unwrap();
            json!({"caCert": CA, "openshift": openshift, "settings": settings})
        })
        .collect();
    let told = ask(&question(&values, &[], &printed));
    assert_eq!(told["lint"], json!([]));
    assert_eq!(told["invalid"], json!([]));
    assert_eq!(told["mistyped"], json!([]));
    assert!(told["typed"].as_u64().unwrap() > 1000, "{}", told["typed"]);
    for (index, objects) in objects.iter().enumerate() {
        let meant = normalised(objects);
        assert!(meant.len() > 20, "only {} objects", meant.len());
        // The printed YAML is read by a reader of YAML 1.1, as the API's own: "on" and 1e9 stay text.
        let read = normalised(&list(&told["read"][index]));
        let rendered = normalised(&list(&told["rendered"][index]));
        assert_eq!(read, meant, "{}", pairs[index].0);
        for (name, object) in &meant {
            // Helm makes the namespace of a release itself, or is given one.
            if !name.starts_with("Namespace ") {
                assert_eq!(rendered.get(name), Some(object), "{name} with {}", pairs[index].0);
            }
        }
        let more: Vec<&String> = rendered.keys().filter(|name| !meant.contains_key(*name)).collect();
        assert!(more.is_empty(), "only the chart has {more:?}");
    }
}

#[test]
fn other_settings_make_new_pods_of_the_injector() {
    let pods = |toml: &str| -> Vec<Value> {
        let objects = plan(toml, false).objects().unwrap();
        assert_eq!(
            normalised(&objects)["Deployment portreeve-injector"]["spec"]["template"]["metadata"]["annotations"]["checksum/settings"],
            "of the settings"
        );
        objects.iter().filter(|object| object["kind"] == "Deployment").map(|object| object["spec"]["template"].clone()).collect()
    };
    assert_eq!(pods(""), pods("port = 5453"));
    assert_ne!(pods(""), pods("port = 5300"));
}

#[test]
fn wrong_values_and_wrong_manifests_are_seen() {
    let wrong = [
        json!({}),
        json!({"caCert": CA, "settings": {"opt-uot": true}}),
        json!({"caCert": CA, "settings": {"unsafe-pods": "maybe"}}),
        json!({"caCert": CA, "settings": {"namespace": {"shop": {"image": "x"}}}}),
    ];
    let bad = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: bad}\nspec: {replica: 2, selector: {}, template: {}}\n".to_owned();
    let mistyped = "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata: {name: bad}\n\
                    spec: {validations: [{expression: \"object.spec\"}, {expression: \"size(1)\"}]}\n"
        .to_owned();
    let told = ask(&question(&[], &wrong, &[bad, mistyped]));
    let refused = list(&told["refused"]);
    for (index, word) in ["caCert must be given", "opt-uot", "unsafe-pods", "image"].iter().enumerate() {
        assert!(refused[index].as_str().unwrap_or_default().contains(word), "{refused:?}");
    }
    let invalid = told["invalid"].to_string();
    assert!(invalid.contains("replica"), "{invalid}");
    assert_eq!(list(&told["mistyped"]).len(), 2, "{}", told["mistyped"]);
}

#[test]
fn uninstall_names_all_that_install_makes_and_the_webhooks_first() {
    let args = UninstallArgs { namespace: NAMESPACE.to_owned(), openshift: true, all: true };
    let gone = removed(&args).unwrap();
    let names: Vec<String> = gone.iter().map(|object| format!("{} {}", object["kind"], object["metadata"]["name"])).collect();
    for toml in SETTINGS {
        for object in plan(toml, true).objects().unwrap() {
            let name = format!("{} {}", object["kind"], object["metadata"]["name"]);
            assert!(names.contains(&name), "{name} stays");
        }
    }
    assert_eq!(names[..2], [r#""ValidatingWebhookConfiguration" "portreeve""#, r#""MutatingWebhookConfiguration" "zz-portreeve""#]);
    assert_eq!(names.last().unwrap(), r#""Namespace" "guards""#);
    // The namespace holds the CA: it goes only when asked for.
    let without = removed(&UninstallArgs { all: false, ..args }).unwrap();
    assert_eq!(without.len(), gone.len() - 1);
    assert!(without.iter().all(|object| object["kind"] != "Namespace" && object["kind"] != "Secret"));
}
