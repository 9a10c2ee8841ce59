//! What comes out is valid against the schemas of the Kubernetes API: pods as patched, workloads as `inject -f` writes them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::cluster::{Case, cases, dir};

/// The latest version that the package has schemas of.
const KUBERNETES: &str = "1.33";

#[test]
fn patched_pods_are_valid_against_the_api() {
    let pods: Vec<String> = cases()
        .iter()
        .filter(|case| case.name.starts_with("held-"))
        .map(|case| case.review(&case.pod).apply(&case.pod).to_string())
        .collect();
    assert_valid(&pods.join("\n---\n"), pods.len());
}

#[test]
fn workloads_written_offline_are_valid_and_hold_the_pod_that_the_webhook_makes() {
    let mut all = Vec::new();
    for case in cases().iter().filter(|case| case.name.starts_with("held-") && case.object["kind"] != "Pod") {
        let text = offline(case);
        let object: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
        let pointer = if object["kind"] == "CronJob" { "/spec/jobTemplate/spec/template" } else { "/spec/template" };
        let mut template = object.pointer(pointer).unwrap().clone();
        let wanted = case.review(&case.pod).apply(&case.pod);
        template["metadata"]["generateName"] = wanted["metadata"]["generateName"].clone();
        assert_eq!((&template["metadata"], &template["spec"]), (&wanted["metadata"], &wanted["spec"]), "{}", case.name);
        all.push(text);
    }
    assert!(all.len() >= 7, "one of each kind, not {}", all.len());
    assert_valid(&all.join("\n---\n"), all.len());
}

#[test]
#[should_panic(expected = "1 is not of type 'string'")]
fn a_wrong_field_is_noticed() {
    let pod = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"containers":[{"name":"a","imagePullPolicy":1}]}}"#;
    assert_valid(pod, 1);
}

fn offline(case: &Case) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_portreeve-injector"))
        .args(["inject", "--namespace", "shop", "-f"])
        .arg(dir().join(format!("{}.yaml", case.name)))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}: {}", case.name, String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn assert_valid(manifests: &str, count: usize) {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/python/bin/python3");
    let python = if venv.exists() { venv } else { PathBuf::from("python3") };
    let script = dir().join("../support/validate.py");
    let mut child = Command::new(&python)
        .arg(&script)
        .arg(KUBERNETES)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{} cannot be run ({error}): install python3", python.display()));
    // A validator that ends early says why on stderr.
    let _ = child.stdin.take().unwrap().write_all(manifests.as_bytes());
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        !told.contains("No module named"),
        "the API's schemas are missing; type: python3 -m venv target/tools/python && target/tools/python/bin/pip install kubernetes-validate==1.34.0"
    );
    assert!(output.status.success(), "kubernetes-validate refused: {told}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), count.to_string(), "as many documents as were sent");
}
