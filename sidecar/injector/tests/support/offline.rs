//! `inject -f` as people run it: any documents, wrong input, refusals, ConfigMaps.

use std::io::Write;
use std::process::{Command, Output, Stdio};

fn inject(args: &[&str], stdin: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_portreeve-injector"))
        .arg("inject")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that takes no stdin ends before it is written.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {app: a}}\nspec:\n  containers: [{name: app, image: i}]\n";

#[test]
fn other_objects_and_lists_pass_and_values_stay_what_they_are() {
    let others = "apiVersion: v1\nkind: Service\nmetadata: {name: s, annotations: {a: \"yes\", b: \"0644\", c: \"1e3\", d: \"null\", e: \"on\", f: \"~\"}}\nspec: {ports: [{port: 0o17}]}\n";
    let list = format!("apiVersion: v1\nkind: List\nitems:\n- {}", POD.trim_end().replace('\n', "\n  "));
    let mode = "apiVersion: v1\nkind: Secret\nmetadata: {name: m}\nmode: 0444\n";
    let output = inject(&["-f", "-"], &format!("{others}---\n{list}\n---\n{mode}---\n"));
    assert!(output.status.success(), "{}", text(&output.stderr));
    let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(text(&output.stdout)).unwrap();
    assert_eq!(documents.len(), 3);
    let before: serde_json::Value = serde_saphyr::from_str(others).unwrap();
    assert_eq!(documents[0], before);
    assert_eq!(documents[1]["items"][0]["spec"]["initContainers"][0]["name"], "portreeve");
    assert_eq!(documents[2]["mode"], 0o444, "octal, as kubectl reads it");
    let again = inject(&["-f", "-"], text(&output.stdout));
    assert_eq!(text(&again.stdout), text(&output.stdout), "idempotent");
}

#[test]
fn the_namespace_counts_its_own_or_the_one_given() {
    let dir = tempfile::tempdir().unwrap();
    let settings = dir.path().join("settings.toml");
    std::fs::write(&settings, "[namespace.shop.resources]\ncpu-request = \"77m\"\n").unwrap();
    let settings = settings.to_str().unwrap();
    for (args, pod, wanted) in [
        (vec!["-f", "-", "--settings", settings], POD.to_owned(), "10m"),
        (vec!["-f", "-", "--settings", settings, "-n", "shop"], POD.to_owned(), "77m"),
        (vec!["-f", "-", "--settings", settings], POD.replace("{name: a,", "{name: a, namespace: shop,"), "77m"),
    ] {
        let output = inject(&args, &pod);
        let pod: serde_json::Value = serde_saphyr::from_str(text(&output.stdout)).unwrap();
        assert_eq!(pod["spec"]["initContainers"][0]["resources"]["requests"]["cpu"], wanted);
    }
}

#[test]
fn one_refused_pod_writes_nothing_and_every_reason_is_told() {
    let bad = POD.replace("containers", "hostNetwork: true\n  hostPID: true\n  containers").replace("name: a,", "name: bad,");
    let output = inject(&["-f", "-"], &format!("{POD}---\n{bad}"));
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""));
    assert_eq!(text(&output.stderr).lines().filter(|line| line.starts_with("refused: pod bad: ")).count(), 2);
}

#[test]
fn a_policy_is_checked_along() {
    let map = |data: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: portreeve-a}}\ndata:\n  a.toml: |\n    {data}\n");
    let output = inject(&["-f", "-"], &map("verison = 1"));
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("portreeve-a/a.toml:1"), "{}", text(&output.stderr));
    assert!(inject(&["-f", "-"], &map("version = 1")).status.success());
}

#[test]
fn wrong_input_is_told_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (settings, platform, pod) = (file("s.toml", b"imgae = \"x\""), file("p.toml", b"version = 2"), file("pod.yaml", POD.as_bytes()));
    for (args, stdin, wanted) in [
        (vec!["-f", "/nowhere"], "", "cannot read /nowhere"),
        (vec!["-f", &file("latin1", b"\xff\xfe")], "", "not UTF-8"),
        (vec!["-f", "-"], "", "no document"),
        (vec!["-f", "-"], "a: [", "line 1"),
        (vec!["-f", "-"], "a: 1\na: 2\n", "a"),
        (vec!["-f", "-"], "kind: Pod\n", "document 1 has no apiVersion and kind"),
        (vec!["-f", &pod, "--settings", &settings], "", "imgae"),
        (vec!["-f", &pod, "--platform-policy", &platform], "", "platform policy:1"),
    ] {
        let output = inject(&args, stdin);
        let told = text(&output.stderr);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), ""), "{args:?}: {told}");
        assert!(told.starts_with("portreeve-injector: ") && told.contains(wanted), "{args:?}: {told}");
    }
    assert_eq!(inject(&["-f", "-"], "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n").status.code(), Some(1), "a pod without a spec");
}

#[test]
fn what_an_alias_could_blow_up_ends() {
    let mut bomb = String::from("apiVersion: v1\nkind: Pod\na0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..30 {
        let alias = format!("*a{}", level - 1);
        bomb.push_str(&format!("a{level}: &a{level} [{}]\n", vec![alias; 9].join(", ")));
    }
    let output = inject(&["-f", "-"], &bomb);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
}
