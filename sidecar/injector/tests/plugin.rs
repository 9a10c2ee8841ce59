//! The kubectl plugin asks what it should and tells what it was told.
//!
//! # Limitations
//! No cluster is here: kubectl is a fake that answers out of files and writes each call down. What a real one does is not shown.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

const NEW: &str = "registry.example/portreeve:2";
const OLD: &str = "registry.example/portreeve:1";

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

struct Fake {
    dir: TempDir,
}

struct Told {
    code: i32,
    out: String,
    err: String,
}

impl Fake {
    fn with(pods: &[Value]) -> Fake {
        let fake = Fake { dir: tempfile::tempdir().unwrap() };
        let python = root().join("target/tools/python/bin/python");
        assert!(python.exists(), "{} is missing: see tests/manifests.rs for the command that makes it", python.display());
        let kubectl = fake.path().join("kubectl");
        let script = root().join("sidecar/injector/tests/plugin/kubectl.py");
        fs::write(&kubectl, format!("#!/bin/sh\nexec '{}' '{}' \"$@\"\n", python.display(), script.display())).unwrap();
        fs::set_permissions(&kubectl, fs::Permissions::from_mode(0o755)).unwrap();
        fake.file("pods.json", &json!({"items": pods}).to_string());
        fake.file(
            "settings.json",
            &json!({"data": {"settings.toml": format!("image = \"{NEW}\"\nnamespaces = \"labelled\"\n\n[resources]\nimage = \"no\"\n")}})
                .to_string(),
        );
        fake.file(
            "namespace-shop.json",
            &json!({"metadata": {"name": "shop", "labels": {"portreeve.dev/injection": "enabled"}}}).to_string(),
        );
        fake.file("namespace-lab.json", &json!({"metadata": {"name": "lab"}}).to_string());
        fake.file("deploy-web.json", &json!({"spec": {"selector": {"matchLabels": {"app": "web", "tier": "front"}}}}).to_string());
        fake
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn file(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    fn run(&self, args: &[&str]) -> Told {
        let path = format!("{}:{}", self.path().display(), std::env::var("PATH").unwrap());
        let plugin = root().join("images/kubectl-portreeve");
        let output = Command::new("sh").arg(plugin).args(args).env("PATH", path).env("FAKE", self.path()).output().unwrap();
        Told {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn calls(&self) -> Vec<String> {
        fs::read_to_string(self.path().join("calls")).unwrap_or_default().lines().map(str::to_owned).collect()
    }
}

fn pod(namespace: &str, name: &str, image: Option<&str>) -> Value {
    let mut pod = json!({
        "metadata": {"namespace": namespace, "name": name, "labels": {"app": "web", "tier": "front"}},
        "spec": {"volumes": [{"name": "portreeve-run", "emptyDir": {}}, {"name": "portreeve-policies-0", "configMap": {"name": "portreeve-web"}}]},
        "status": {"phase": "Running"},
    });
    if let Some(image) = image {
        pod["spec"]["initContainers"] = json!([{"name": "portreeve", "image": image}, {"name": "migrate", "image": "x"}]);
    }
    pod
}

fn with(mut pod: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    pod.pointer_mut(parent).unwrap()[key.replace('~', "/")] = value;
    pod
}

#[test]
fn questions_go_to_every_pod_of_the_target() {
    let fake = Fake::with(&[pod("shop", "web-1", Some(NEW)), pod("shop", "web-2", Some(NEW)), pod("lab", "web-3", Some(NEW))]);
    let told = fake.run(&["explain", "-n", "shop", "deploy/web", "github.com:443", "--json", "--context", "test"]);
    assert_eq!((told.code, told.err.as_str()), (0, "== web-1\n== web-2\n"));
    assert_eq!(told.out, "web-1 portreeve explain github.com:443 --json\nweb-2 portreeve explain github.com:443 --json\n");
    let calls = fake.calls();
    assert_eq!(calls[0], "--context=test get deploy/web --namespace=shop -o TEMPLATE");
    assert_eq!(calls[1], "--context=test get pods --namespace=shop --selector=app=web,tier=front -o TEMPLATE");
    assert_eq!(calls[2], "--context=test exec web-1 --namespace=shop -c portreeve -- portreeve explain github.com:443 --json");
    // An argument with blanks or a star stays one; one pod needs no heading; the sidecar's answer is the plugin's.
    fake.file("exit-web-1", "1");
    let told = fake.run(&["flows", "pod/web-1", "--name", "*.example.com", "--follow", "--namespace=shop"]);
    assert_eq!((told.code, told.out.as_str(), told.err.as_str()), (1, "web-1 portreeve flows --name *.example.com --follow\n", ""));
}

#[test]
fn pods_that_have_ended_are_not_asked() {
    let ended = |name: &str, phase: &str| with(pod("shop", name, Some(NEW)), "/status/phase", json!(phase));
    let fake = Fake::with(&[ended("web-1", "Succeeded"), ended("web-2", "Failed"), pod("shop", "web-3", Some(NEW))]);
    let told = fake.run(&["status", "deploy/web", "-n", "shop"]);
    assert_eq!((told.code, told.out.as_str(), told.err.as_str()), (0, "web-3 portreeve status\n", ""));
    let told = fake.run(&["flows", "pod/web-1", "-n", "shop"]);
    assert!(told.code == 1 && told.err.contains("kubectl logs pod/web-1 -n shop -c portreeve"), "{} {}", told.code, told.err);
}

#[test]
fn questions_that_cannot_be_asked_are_refused() {
    let fake = Fake::with(&[pod("shop", "web-1", Some(NEW)), pod("shop", "web-2", Some(NEW)), pod("shop", "bare", None)]);
    let refused = |args: &[&str], code: i32, word: &str| {
        let told = fake.run(args);
        assert!(told.code == code && told.err.contains(word), "{args:?}: {} {}", told.code, told.err);
    };
    refused(&[], 2, "Usage");
    refused(&["exec", "pod/x"], 2, "there is no exec");
    refused(&["status"], 2, "wants a target");
    refused(&["status", "web-1"], 2, "pod/NAME");
    refused(&["status", "pod/x", "-n"], 2, "-n wants a value");
    refused(&["status", "pod/none", "-n", "shop"], 1, "has no pods");
    refused(&["flows", "deploy/web", "-n", "shop", "--follow"], 2, "only one pod");
    refused(&["status", "pod/bare", "-n", "shop"], 1, "is not held");
    refused(&["coverage", "--al"], 2, "not understood");
    refused(&["policy", "learn"], 2, "apply");
    assert!(!fake.calls().iter().any(|call| call.contains("exec")));
}

#[test]
fn a_policy_is_applied_and_waited_for() {
    let done = with(pod("shop", "web-4", Some(NEW)), "/status/phase", json!("Succeeded"));
    let other = with(pod("shop", "web-5", Some(NEW)), "/spec/volumes", json!([{"name": "x", "configMap": {"name": "portreeve-other"}}]));
    let fake = Fake::with(&[pod("shop", "web-1", Some(NEW)), pod("shop", "web-2", Some(NEW)), pod("shop", "bare", None), done, other]);
    fake.file("web.toml", "version = 1\n");
    let file = fake.path().join("web.toml");
    let file = file.to_str().unwrap();
    let sum = Command::new("sha256sum").arg(file).output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap()[..64].to_owned();
    let has = |sum: &str, ready: bool| json!({"ready": ready, "policies": [{"path": "web.toml", "sha256": sum}]}).to_string();
    fake.file("status-web-1", &has(&sum, true));
    // As `--json` may also be written.
    fake.file("status-web-2", &serde_json::to_string_pretty(&json!({"ready": true, "policies": [{"sha256": sum}]})).unwrap());
    let told = fake.run(&["policy", "apply", "-f", file, "-n", "shop"]);
    assert_eq!((told.code, told.err.as_str()), (0, ""));
    assert_eq!(told.out, "configmap applied\nweb-1 has it\nweb-2 has it\n");
    let calls = fake.calls();
    assert_eq!(calls[0], format!("create configmap portreeve-web --namespace=shop --from-file=web.toml={file} --dry-run=client -o yaml"));
    assert_eq!(calls[1], "apply --namespace=shop -f -");
    let touched: Vec<&String> = calls.iter().filter(|call| call.starts_with("annotate")).collect();
    assert_eq!(touched.len(), 2, "{touched:?}");
    assert_eq!(touched[0], &format!("annotate pod web-1 --namespace=shop --overwrite portreeve.dev/policy-applied={sum}"));
    assert!(fs::read_to_string(fake.path().join("applied.json")).unwrap().contains("version = 1"));

    // A sidecar that has another text, or is not ready, is waited for, and named; one that goes away is not.
    fake.file("status-web-1", &has(&sum, false));
    fake.file("status-web-2", &has("0a", true));
    let told = fake.run(&["policy", "apply", "-f", file, "-n", "shop", "--timeout", "1"]);
    assert_eq!(told.code, 1);
    assert!(told.err.contains("web-1 does not have it") && told.err.contains("web-2 does not have it"), "{}", told.err);
    fake.file("gone-web-1", "");
    fake.file("gone-web-2", "");
    let told = fake.run(&["policy", "apply", "-f", file, "-n", "shop", "--timeout=1"]);
    assert_eq!((told.code, told.out.as_str()), (0, "configmap applied\nweb-1 is gone\nweb-2 is gone\n"));
}

#[test]
fn what_is_refused_at_apply_changes_nothing() {
    let fake = Fake::with(&[pod("shop", "web-1", Some(NEW))]);
    fake.file("web.toml", "verison = 1\n");
    fake.file("refuse", "web.toml:1: unknown key `verison`");
    let path = |name: &str| fake.path().join(name).to_str().unwrap().to_owned();
    let told = fake.run(&["policy", "apply", "-f", &path("web.toml"), "-n", "shop"]);
    assert!(told.code == 1 && told.err.contains("unknown key `verison`"), "{}", told.err);
    assert!(!fake.calls().iter().any(|call| call.starts_with("annotate")));
    fs::remove_file(fake.path().join("refuse")).unwrap();
    // Beyond what an annotation holds it is applied by the server.
    fake.file("large.toml", &"# a comment\n".repeat(20_000));
    let told = fake.run(&["policy", "apply", "-f", &path("large.toml"), "-n", "shop", "--name", "portreeve-policies"]);
    assert_eq!(
        (told.code, told.out.as_str()),
        (0, "configmap applied\napplied; no running pod mounts ConfigMap portreeve-policies\n"),
        "{}",
        told.err
    );
    assert!(
        fake.calls().contains(&"apply --namespace=shop --server-side --field-manager=kubectl-portreeve --force-conflicts -f -".to_owned())
    );
    let refused = |args: &[&str], word: &str| {
        let told = fake.run(args);
        assert!(told.code == 2 && told.err.contains(word), "{args:?}: {} {}", told.code, told.err);
    };
    fake.file("web.yaml", "x");
    fake.file("huge.toml", &"#".repeat(1_000_001));
    refused(&["policy", "apply"], "-f FILE");
    refused(&["policy", "apply", "-f", &path("none.toml")], "cannot read");
    refused(&["policy", "apply", "-f", &path("web.yaml")], "ends in .toml");
    refused(&["policy", "apply", "-f", &path("huge.toml")], "1 MiB");
    refused(&["policy", "apply", "-f", &path("web.toml"), "--name", "web"], "begins with portreeve-");
    refused(&["policy", "apply", "-f", &path("web.toml"), "--timeout", "soon"], "number of seconds");
}

#[test]
fn coverage_tells_each_gap_and_why() {
    // As a sidecar says it in one line.
    let ready = |mode: &str| format!("ready; 2 of 2 policy files select this pod, 3 rules, 1 addresses open; {mode}");
    let fake = Fake::with(&[
        pod("shop", "held", Some(NEW)),
        pod("shop", "older", Some(OLD)),
        pod("shop", "audited", Some(NEW)),
        pod("shop", "starting", Some(NEW)),
        pod("shop", "silent", Some(NEW)),
        // Its sidecar ends last, and is silent then; one that is not held is a gap to its end.
        with(pod("shop", "ending", Some(NEW)), "/metadata/deletionTimestamp", json!("2026-11-26T21:00:00Z")),
        with(pod("shop", "ending-before", None), "/metadata/deletionTimestamp", json!("2026-11-26T21:00:00Z")),
        pod("shop", "before", None),
        with(pod("shop", "opted", None), "/metadata/labels/portreeve.dev~inject", json!("false")),
        with(pod("shop", "host", None), "/spec/hostNetwork", json!(true)),
        with(pod("shop", "static", Some(NEW)), "/metadata/annotations", json!({"kubernetes.io/config.mirror": "0a"})),
        with(pod("shop", "done", None), "/status/phase", json!("Succeeded")),
        pod("lab", "free", None),
    ]);
    for (name, text) in [
        // Whose policies they are may have words of theirs in it.
        ("held", ready("enforce; last error: web.toml:1: unknown key `; audit {`")),
        ("older", ready("enforce")),
        ("audited", ready("audit; last error: web.toml:1: unknown key `; enforce }`")),
        ("starting", "not ready: web.toml:1: unknown key `; audit`".to_owned()),
    ] {
        fake.file(&format!("ready-{name}"), &text);
    }
    for name in ["silent", "ending"] {
        fake.file(&format!("silent-{name}"), "");
    }
    let told = fake.run(&["coverage", "-A"]);
    assert_eq!((told.code, told.err.as_str()), (1, ""));
    insta::assert_snapshot!(told.out);
    // Where the namespace is meant, what is not held there is a gap too.
    let told = fake.run(&["coverage", "-n", "lab"]);
    assert!(told.code == 1 && told.out.contains("its namespace is not held"), "{}", told.out);

    let covered = Fake::with(&[pod("shop", "held", Some(NEW)), pod("lab", "free", None)]);
    covered.file("ready-held", &ready("enforce"));
    let told = covered.run(&["coverage", "-A"]);
    assert_eq!(told.code, 0, "{}", told.out);
    assert!(told.out.ends_with("1 pods are in namespaces that are not held\n"), "{}", told.out);
    // In the mode in which every namespace is on, the other one is a gap.
    covered.file("settings.json", &json!({"data": {"settings.toml": format!("image = \"{NEW}\"\nnamespaces = \"all\"\n")}}).to_string());
    assert_eq!(covered.run(&["coverage", "-A", "--quick"]).code, 1);
    // Who may not exec is told that, and not that the sidecar keeps silent.
    covered.file("silent-held", "");
    covered.file("no-exec-shop", "");
    let told = covered.run(&["coverage", "-n", "shop"]);
    assert!(told.code == 1 && told.out.contains("you may not exec into it; --quick asks no sidecar"), "{}", told.out);
    // Without the settings it says what it does not compare.
    fs::remove_file(covered.path().join("settings.json")).unwrap();
    let told = covered.run(&["coverage", "-A", "--quick"]);
    assert!(told.code == 0 && told.err.contains("versions are not compared"), "{} {}", told.code, told.err);
}

#[test]
fn an_upgrade_changes_the_sidecars_image_alone() {
    let fake = Fake::with(&[pod("shop", "web-1", Some(OLD)), pod("shop", "web-2", Some(NEW)), pod("shop", "bare", None)]);
    let told = fake.run(&["upgrade", "deploy/web", "-n", "shop"]);
    assert_eq!((told.code, told.err.as_str()), (0, ""));
    assert_eq!(told.out, format!("pod/web-1 image updated\nweb-1 now has {NEW}\nweb-2 has {NEW}\n"));
    let changes: Vec<String> = fake.calls().into_iter().filter(|call| call.starts_with("set")).collect();
    assert_eq!(changes, [format!("set image pod/web-1 portreeve={NEW} --namespace=shop")]);
    // What the fence policy refuses stops it, with the policy's sentence.
    let fake = Fake::with(&[pod("shop", "web-1", Some(NEW)), pod("shop", "web-2", Some(NEW))]);
    fake.file("refuse", "image registry.example/portreeve:3 is not admitted");
    let told = fake.run(&["upgrade", "--all", "-n", "shop", "--image", "registry.example/portreeve:3"]);
    assert!(told.code == 1 && told.err.contains("is not admitted"), "{} {}", told.code, told.err);
    assert_eq!(fake.calls().iter().filter(|call| call.starts_with("set")).count(), 1);
    assert_eq!(fake.run(&["upgrade"]).code, 2);
}

#[test]
fn it_is_plain_posix() {
    let plugin = root().join("images/kubectl-portreeve");
    assert!(fs::metadata(&plugin).unwrap().permissions().mode() & 0o111 != 0, "kubectl finds only what can be executed");
    let dash = Command::new("dash").arg("-n").arg(&plugin).output().expect("dash is missing: apt-get install dash");
    assert!(dash.status.success(), "{}", String::from_utf8_lossy(&dash.stderr));
    let check =
        Command::new("shellcheck").args(["--shell=sh"]).arg(&plugin).output().expect("shellcheck is missing: apt-get install shellcheck");
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
}
