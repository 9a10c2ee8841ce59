//! The command line of `install`: what is printed, and what is refused with a way out.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::fs;
use std::process::{Command, Output};

use clap::Parser as _;

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

fn install(ca: &str, more: &[&str]) -> (Option<i32>, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ca.crt");
    fs::write(&file, ca).unwrap();
    told(Command::new(env!("CARGO_BIN_EXE_portreeve-injector")).arg("install").arg("--ca-cert").arg(&file).args(more).output().unwrap())
}

fn told(output: Output) -> (Option<i32>, String, String) {
    (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn options_reach_the_objects() {
    let more = [
        "--image=r.example/p:2",
        "--injector-image=r.example/i:2",
        "--namespace=guards",
        "--set=excluded-namespaces=[\"infra\"]",
        "--pod-security=restricted",
    ];
    let (code, printed, complaint) = install(CERTIFICATE, &more);
    assert_eq!((code, complaint.as_str()), (Some(0), ""));
    let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(&printed).unwrap();
    let find = |kind: &str, name: &str| {
        documents.iter().find(|it| it["kind"] == kind && it["metadata"]["name"] == name).unwrap_or_else(|| panic!("no {kind} {name}"))
    };
    let pod = &find("Deployment", "portreeve-injector")["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["image"], "r.example/i:2");
    assert!(pod["containers"][0]["args"].as_array().unwrap().contains(&"--service=portreeve-injector.guards.svc".into()));
    let webhook = &find("MutatingWebhookConfiguration", "zz-portreeve")["webhooks"][0];
    assert_eq!(webhook["clientConfig"]["service"]["namespace"], "guards");
    assert_eq!(webhook["namespaceSelector"]["matchExpressions"][1]["values"], serde_json::json!(["kube-system", "guards", "infra"]));
    // Whether a namespace enforces a level is told by the path: no namespace is behind both entries, and none behind neither.
    let webhooks = find("MutatingWebhookConfiguration", "zz-portreeve")["webhooks"].as_array().unwrap();
    let entries: Vec<_> = webhooks
        .iter()
        .map(|entry| {
            let expression = &entry["namespaceSelector"]["matchExpressions"][2];
            assert_eq!(expression["key"], "pod-security.kubernetes.io/enforce");
            assert_eq!(expression["values"], serde_json::json!(["baseline", "restricted"]));
            (entry["clientConfig"]["service"]["path"].as_str().unwrap(), expression["operator"].as_str().unwrap())
        })
        .collect();
    assert_eq!(entries, [("/pods", "NotIn"), ("/pods-under-pod-security", "In")]);
    assert_eq!(webhook["clientConfig"]["caBundle"], "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1JSUIKLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo=");
    assert!(find("ConfigMap", "portreeve-injector")["data"]["settings.toml"].as_str().unwrap().contains("image = \"r.example/p:2\""));
    find("ValidatingAdmissionPolicy", "portreeve-restricted");
    assert!(!printed.contains("SecurityContextConstraints"));
    assert!(install(CERTIFICATE, &["--openshift"]).1.contains("SecurityContextConstraints"));
}

#[test]
fn the_first_ca_brings_the_namespace_as_install_has_it_and_the_next_one_does_not() {
    let printed = |args: &[&str]| -> Vec<serde_json::Value> {
        let (code, printed, complaint) = told(Command::new(env!("CARGO_BIN_EXE_portreeve-injector")).args(args).output().unwrap());
        assert_eq!((code, complaint.as_str()), (Some(0), ""));
        serde_saphyr::from_multiple(&printed).unwrap()
    };
    let mut first = printed(&["ca", "--namespace=guards"]);
    let kinds: Vec<_> = first.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["Namespace", "Secret"], "create makes them in this order");
    let installed: Vec<serde_json::Value> = serde_saphyr::from_multiple(&install(CERTIFICATE, &["--namespace=guards"]).1).unwrap();
    let annotations = first[0]["metadata"].as_object_mut().unwrap().remove("annotations").unwrap();
    assert_eq!(first[0], installed[0], "apply has nothing to change");
    let applied = annotations["kubectl.kubernetes.io/last-applied-configuration"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(applied).unwrap(), installed[0], "and nothing to warn of");
    let secret = &first[1];
    assert_eq!((&secret["metadata"]["namespace"], &secret["metadata"]["name"]), (&"guards".into(), &"portreeve-ca".into()));
    assert!(secret["data"]["tls.crt"].is_string() && secret["data"]["tls.key"].is_string());
    let next = printed(&["ca", "--next"]);
    assert_eq!((next.len(), &next[0]["kind"], next[0]["data"]["next.key"].is_string()), (1, &"Secret".into(), true));
}

#[test]
fn the_deployment_and_the_webhooks_speak_to_the_server_as_it_is() {
    let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(&install(CERTIFICATE, &[]).1).unwrap();
    let find = |kind: &str| documents.iter().find(|it| it["kind"] == kind).unwrap();
    let container = &find("Deployment")["spec"]["template"]["spec"]["containers"][0];
    let args = container["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap());
    let cli = injector::cli::Cli::try_parse_from(std::iter::once("portreeve-injector").chain(args)).unwrap();
    assert!(matches!(cli.command, injector::cli::Command::Serve(_)));
    // A namespace that enforces more is asked about under its own path, by one of the two entries and not by both.
    let webhooks = &find("MutatingWebhookConfiguration")["webhooks"];
    let entry = |index: usize| {
        let security = &webhooks[index]["namespaceSelector"]["matchExpressions"][2];
        (webhooks[index]["clientConfig"]["service"]["path"].clone(), security["operator"].clone(), security["values"].clone())
    };
    let levels = serde_json::json!(["baseline", "restricted"]);
    assert_eq!(entry(0), ("/pods".into(), "NotIn".into(), levels.clone()));
    assert_eq!(entry(1), ("/pods-under-pod-security".into(), "In".into(), levels));
}

#[test]
fn what_cannot_be_is_refused_with_a_way_out() {
    let refused = |ca: &str, more: &[&str], words: &[&str]| {
        let (code, printed, complaint) = install(ca, more);
        assert_eq!((code, printed.as_str()), (Some(2), ""), "{complaint}");
        for word in words {
            assert!(complaint.contains(word), "no `{word}` in: {complaint}");
        }
    };
    refused("", &[], &["holds no certificate", "hint: kubectl get secret portreeve-ca"]);
    refused("-----BEGIN EC PRIVATE KEY-----\nx\n-----END EC PRIVATE KEY-----\n", &[], &["private key"]);
    refused(&format!("{CERTIFICATE}-----BEGIN PRIVATE KEY-----\n"), &[], &["private key"]);
    refused(CERTIFICATE, &["--set=opt-uot=true"], &["there is no setting `opt-uot`", "did you mean `opt-out`?"]);
    refused(CERTIFICATE, &["--set=port=99999"], &["a setting has a value"]);
    refused(CERTIFICATE, &["--settings=/nonexistent.toml"], &["cannot read the settings in /nonexistent.toml"]);
    refused(CERTIFICATE, &["--pod-security=none"], &["baseline, restricted"]);
}
