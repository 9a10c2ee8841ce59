//! The cases that every policy must tell apart.

use serde_json::{Value, json};

use crate::evaluator::Request;
use crate::pods::{Case, debugged, held, with};

const SIDE: &str = "spec/initContainers/0";
const APP: &str = "spec/containers/0";
const SHAPE: &str = "portreeve-sidecar";
const PODS: &str = "portreeve-pods";
const LEVEL: &str = "portreeve-restricted";
const CHANGES: &str = "portreeve-changes";

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    admitted(&mut cases);
    sidecar(&mut cases);
    pods(&mut cases);
    restricted(&mut cases);
    changes(&mut cases);
    asked(&mut cases);
    written(&mut cases);
    cases
}

fn admitted(cases: &mut Vec<Case>) {
    let mut good = |name, request| cases.push(Case { name, request, refused_by: None });
    good("a held pod", Request::create(held()));
    good(
        "no other init containers",
        Request::create(with(
            held(),
            "spec/initContainers/1",
            json!({"name": "x", "securityContext": held()["spec"]["containers"][0]["securityContext"]}),
        )),
    );
    good(
        "only NET_BIND_SERVICE added",
        Request::create(with(held(), &format!("{APP}/securityContext/capabilities/add"), json!(["NET_BIND_SERVICE"]))),
    );
    good(
        "a search list and options of its own",
        Request::create(with(held(), "spec/dnsConfig", json!({"searches": ["example.com"], "options": [{"name": "ndots", "value": "1"}]}))),
    );
    good(
        "a volume out of an image",
        Request::create(with(held(), "spec/volumes/+", json!({"name": "tools", "image": {"reference": "registry.example/t:1"}}))),
    );
    good("the mirror of a static pod", Request::create(with(bare(), "metadata/annotations/kubernetes.io~config.mirror", json!("0a1b"))));
    good("a Windows pod", Request::create(with(bare(), "spec/os", json!({"name": "windows"}))));
    good("a pod for a Windows node", Request::create(with(bare(), "spec/nodeSelector/kubernetes.io~os", json!("windows"))));
    good(
        "a finalizer goes",
        Request::update("pods", with(held(), "metadata/finalizers", json!(["batch.kubernetes.io/job-tracking"])), held()),
    );
    good("a label changes", Request::update("pods", held(), with(held(), "metadata/labels/app", json!("other"))));
    let old_image = with(held(), &format!("{SIDE}/image"), json!("registry.example/portreeve:0.0.9"));
    good(
        "the app's image changes beside an older sidecar",
        Request::update("pods", old_image.clone(), with(old_image.clone(), &format!("{APP}/image"), json!("registry.example/shop:8"))),
    );
    good("an older sidecar gets today's image", Request::update("pods", old_image, held()));
    good(
        "a pod of before the label, changed",
        Request::update("pods", bare(), with(bare(), &format!("{APP}/image"), json!("registry.example/shop:8"))),
    );
    good("a pod of before the label, debugged with all rights", debugged(&bare(), &[("securityContext/privileged", json!(true))]));
    good("debugged in the app", debugged(&held(), &[("securityContext", held()["spec"]["containers"][0]["securityContext"].clone())]));
    let mut again = debugged(&held(), &[("securityContext", held()["spec"]["containers"][0]["securityContext"].clone())]);
    again.old = with(again.old, "spec/ephemeralContainers", json!([{"name": "before", "securityContext": {"privileged": true}}]));
    let first = again.old["spec"]["ephemeralContainers"][0].clone();
    again.object["spec"]["ephemeralContainers"].as_array_mut().unwrap().insert(0, first);
    good("debugged beside a debug container of before the policy", again);
}

/// A pod without a sidecar.
fn bare() -> Value {
    let mut pod = held();
    pod["spec"]["initContainers"].as_array_mut().unwrap().remove(0);
    pod
}

fn sidecar(cases: &mut Vec<Case>) {
    let mut bad = |name, pod, word| cases.push(Case { name, request: Request::create(pod), refused_by: Some((SHAPE, word)) });
    let side = |path: &str, value| with(held(), &format!("{SIDE}/{path}"), value);
    bad("no sidecar", bare(), "first init container");
    bad(
        "a sidecar among the containers",
        with(bare(), "spec/containers/+", held()["spec"]["initContainers"][0].clone()),
        "first init container",
    );
    let mut late = held();
    late["spec"]["initContainers"].as_array_mut().unwrap().swap(0, 1);
    bad("the sidecar second", late, "first init container");
    bad("another image", side("image", json!("registry.example/evil:1")), "registry.example/evil:1 is not admitted");
    bad("an ordinary init container", side("restartPolicy", Value::Null), "restartPolicy");
    bad("a command", side("command", json!(["sleep", "1d"])), "command and args");
    bad("an argument", side("args", json!(["run", "--upstream=203.0.113.9"])), "command and args");
    bad("an own resolver", side("env/+", json!({"name": "PORTREEVE_UPSTREAM", "value": "203.0.113.9"})), "PORTREEVE_UPSTREAM");
    bad("a preloaded library", side("env/+", json!({"name": "LD_PRELOAD", "value": "/etc/portreeve/x.so"})), "LD_PRELOAD");
    bad("a fixed value changed", side("env/3", json!({"name": "PORTREEVE_UID", "value": "0"})), "PORTREEVE_UID");
    bad(
        "policies from elsewhere",
        side("env/0", json!({"name": "PORTREEVE_POLICIES", "value": "/etc/portreeve/policies/app,/tmp"})),
        "PORTREEVE_POLICIES",
    );
    bad(
        "the platform's text from a ConfigMap",
        side("env/8", json!({"name": "PORTREEVE_PLATFORM_POLICY", "valueFrom": {"configMapKeyRef": {"name": "x", "key": "y"}}})),
        "PORTREEVE_PLATFORM_POLICY",
    );
    bad("a namespace that it is not in", side("env/9", json!({"name": "PORTREEVE_NAMESPACE", "value": "bank"})), "PORTREEVE_NAMESPACE");
    bad(
        "a resolv.conf that apps may write",
        side("env/4", json!({"name": "PORTREEVE_LOG", "value": "info"})),
        "lacks PORTREEVE_KEPT_RESOLV_CONF",
    );
    bad(
        "a resolv.conf kept elsewhere",
        side("env/4", json!({"name": "PORTREEVE_KEPT_RESOLV_CONF", "value": "/etc/portreeve/policies/x"})),
        "PORTREEVE_KEPT_RESOLV_CONF",
    );
    bad("not uid 0", side("securityContext/runAsUser", json!(1000)), "securityContext must be");
    bad("a privileged sidecar", side("securityContext/privileged", json!(true)), "securityContext must be");
    bad("a writable root", side("securityContext/readOnlyRootFilesystem", json!(false)), "securityContext must be");
    bad("no NET_ADMIN", side("securityContext/capabilities/add", json!(["SETUID"])), "capabilities must drop ALL");
    bad("SYS_ADMIN as well", side("securityContext/capabilities/add/+", json!("SYS_ADMIN")), "capabilities must drop ALL");
    bad("ALL not dropped", side("securityContext/capabilities/drop", Value::Null), "capabilities must drop ALL");
    bad("no startup probe", side("startupProbe", Value::Null), "startupProbe");
    bad("a startup probe that always passes", side("startupProbe/exec/command", json!(["true"])), "startupProbe");
    bad("a lifecycle hook", side("lifecycle", json!({"postStart": {"exec": {"command": ["portreeve", "run"]}}})), "lifecycle");
    bad("a liveness probe", side("livenessProbe", json!({"exec": {"command": ["true"]}})), "lifecycle");
    bad("variables of a ConfigMap", side("envFrom", json!([{"configMapRef": {"name": "x"}}])), "envFrom");
    bad(
        "a volume of the app in the sidecar",
        side("volumeMounts/+", json!({"name": "data", "mountPath": "/etc/portreeve/policies/x", "readOnly": true})),
        "/etc/portreeve/policies/x",
    );
    bad(
        "a mount over the binary",
        side("volumeMounts/+", json!({"name": "portreeve-app", "mountPath": "/portreeve", "readOnly": true})),
        "/portreeve",
    );
    bad(
        "a mount that climbs",
        side("volumeMounts/+", json!({"name": "portreeve-app", "mountPath": "/etc/portreeve/../../lib", "readOnly": true})),
        "..",
    );
    bad(
        "the token",
        side("volumeMounts/1", json!({"name": "portreeve-pod", "mountPath": "/etc/portreeve/other", "readOnly": true})),
        "token",
    );
    bad(
        "a secret under a name of ours",
        with(held(), "spec/volumes/+", json!({"name": "portreeve-x", "secret": {"secretName": "x"}})),
        "portreeve-x",
    );
}

fn pods(cases: &mut Vec<Case>) {
    let mut bad = |name, pod, word| cases.push(Case { name, request: Request::create(pod), refused_by: Some((PODS, word)) });
    let app = |path: &str, value| with(held(), &format!("{APP}/{path}"), value);
    let pod = |path: &str, value| with(held(), &format!("spec/{path}"), value);
    for (name, key) in [
        ("the host's network", "hostNetwork"),
        ("the host's processes", "hostPID"),
        ("the host's IPC", "hostIPC"),
        ("shared processes", "shareProcessNamespace"),
    ] {
        bad(name, pod(key, json!(true)), key);
    }
    bad("privileged", app("securityContext/privileged", json!(true)), "container web: securityContext.privileged");
    bad("a privileged init container", with(held(), "spec/initContainers/1/securityContext/privileged", json!(true)), "container migrate");
    bad("a host process", app("securityContext/windowsOptions", json!({"hostProcess": true})), "container web");
    bad("NET_ADMIN", app("securityContext/capabilities/add", json!(["NET_ADMIN"])), "container web: securityContext.capabilities.add");
    bad("net_admin in lower case", app("securityContext/capabilities/add", json!(["net_admin"])), "capabilities.add");
    bad("NET_RAW by name", app("securityContext/capabilities/add", json!(["NET_RAW"])), "capabilities.add");
    bad("everything", app("securityContext/capabilities/add", json!(["ALL"])), "capabilities.add");
    bad(
        "NET_RAW kept",
        app("securityContext/capabilities", json!({"drop": ["CHOWN"]})),
        "container web: securityContext.capabilities.drop lacks NET_RAW",
    );
    bad("no security context", app("securityContext", Value::Null), "lacks NET_RAW");
    bad("an unmasked /proc", app("securityContext/procMount", json!("Unmasked")), "procMount");
    bad(
        "seccomp unconfined",
        app("securityContext/seccompProfile/type", json!("Unconfined")),
        "container web: securityContext.seccompProfile",
    );
    bad(
        "seccomp unconfined for the pod",
        pod("securityContext/seccompProfile", json!({"type": "Unconfined"})),
        "the pod: securityContext.seccompProfile",
    );
    bad("AppArmor unconfined", app("securityContext/appArmorProfile", json!({"type": "Unconfined"})), "container web: AppArmor");
    bad(
        "AppArmor unconfined by annotation",
        with(held(), "metadata/annotations/container.apparmor.security.beta.kubernetes.io~web", json!("unconfined")),
        "the pod: AppArmor",
    );
    bad(
        "an SELinux type",
        app("securityContext/seLinuxOptions", json!({"type": "spc_t"})),
        "container web: securityContext.seLinuxOptions",
    );
    bad(
        "an SELinux user for the pod",
        pod("securityContext/seLinuxOptions", json!({"user": "system_u"})),
        "the pod: securityContext.seLinuxOptions",
    );
    bad("the sidecar's uid", app("securityContext/runAsUser", json!(5453)), "container web: securityContext.runAsUser 5453");
    bad("the sidecar's uid for the pod", pod("securityContext/runAsUser", json!(5453)), "the pod: securityContext.runAsUser 5453");
    bad("the sidecar's volume", app("volumeMounts/+", json!({"name": "portreeve-run", "mountPath": "/x"})), "container web: volumes");
    bad("a port of the host", app("ports", json!([{"containerPort": 80, "hostPort": 80}])), "hostPort");
    bad("a probe of another host", app("livenessProbe", json!({"httpGet": {"host": "203.0.113.9", "port": 80}})), "`host`");
    bad(
        "a hook that calls another host",
        app("lifecycle", json!({"preStop": {"tcpSocket": {"host": "203.0.113.9", "port": 80}}})),
        "`host`",
    );
    bad("a path of the host", pod("volumes/+", json!({"name": "root", "hostPath": {"path": "/"}})), "volume root");
    bad("a name server of its own", pod("dnsConfig", json!({"nameservers": ["203.0.113.9"]})), "dnsConfig.nameservers 203.0.113.9");
    bad("a sysctl", pod("securityContext/sysctls", json!([{"name": "net.ipv4.ip_forward", "value": "1"}])), "net.ipv4.ip_forward");
    let mut debug = |name, change: &[(&str, Value)], word| {
        cases.push(Case { name, request: debugged(&held(), change), refused_by: Some((PODS, word)) })
    };
    let dropped = || ("securityContext/capabilities", json!({"drop": ["NET_RAW"]}));
    debug(
        "debugged with NET_ADMIN",
        &[("securityContext/capabilities", json!({"add": ["NET_ADMIN"], "drop": ["NET_RAW"]}))],
        "container debugger",
    );
    debug(
        "debugged with NET_RAW kept",
        &[("securityContext/runAsUser", json!(1000))],
        "container debugger: securityContext.capabilities.drop",
    );
    debug(
        "debugged as the sidecar's uid",
        &[dropped(), ("securityContext/runAsUser", json!(5453))],
        "container debugger: securityContext.runAsUser",
    );
    debug(
        "debugged with the sidecar's socket",
        &[dropped(), ("volumeMounts", json!([{"name": "portreeve-run", "mountPath": "/run/portreeve"}]))],
        "container debugger: volumes",
    );
}

fn restricted(cases: &mut Vec<Case>) {
    let mut bad = |name, pod, word| cases.push(Case { name, request: Request::create(pod), refused_by: Some((LEVEL, word)) });
    let app = |path: &str, value| with(held(), &format!("{APP}/securityContext/{path}"), value);
    bad(
        "escalation not ruled out",
        app("allowPrivilegeEscalation", Value::Null),
        "container web: securityContext.allowPrivilegeEscalation",
    );
    bad("root not ruled out", app("runAsNonRoot", Value::Null), "container web: securityContext.runAsNonRoot");
    bad("uid 0", app("runAsUser", json!(0)), "container web: securityContext.runAsUser");
    bad("uid 0 for the pod", with(held(), "spec/securityContext/runAsUser", json!(0)), "the pod: securityContext.runAsUser");
    bad("no seccomp profile", app("seccompProfile", Value::Null), "container web: securityContext.seccompProfile");
    bad("only NET_RAW dropped", app("capabilities/drop", json!(["NET_RAW"])), "container web: securityContext.capabilities");
    bad("a kind of volume", with(held(), "spec/volumes/+", json!({"name": "disk", "nfs": {"server": "x", "path": "/"}})), "volume disk");
    cases.push(Case {
        name: "debugged below restricted",
        request: debugged(&held(), &[("securityContext/capabilities", json!({"drop": ["NET_RAW"]}))]),
        refused_by: Some((LEVEL, "container debugger")),
    });
}

fn changes(cases: &mut Vec<Case>) {
    let mut bad = |name, request, word| cases.push(Case { name, request, refused_by: Some((CHANGES, word)) });
    bad(
        "the sidecar's image exchanged",
        Request::update("pods", held(), with(held(), &format!("{SIDE}/image"), json!("registry.example/evil:1"))),
        "registry.example/evil:1",
    );
    let mut opted = with(held(), &format!("{SIDE}/image"), json!("registry.example/evil:1"));
    opted["metadata"]["labels"]["portreeve.dev/inject"] = json!("false");
    bad("the image exchanged along with the label that opts out", Request::update("pods", held(), opted), "registry.example/evil:1");
    let change =
        [("targetContainerName", json!("portreeve")), ("securityContext", held()["spec"]["containers"][0]["securityContext"].clone())];
    bad("debugged in the sidecar", debugged(&held(), &change), "ephemeral container debugger");
}

fn asked(cases: &mut Vec<Case>) {
    let run = |resource, options| Request { operation: "CONNECT", resource, object: options, ..Request::nothing() };
    let mut case = |name, resource, options, refused_by| cases.push(Case { name, request: run(resource, options), refused_by });
    let refused = Some(("portreeve-exec", "only its own questions"));
    case("exec into the app", "pods/exec", json!({"container": "web", "command": ["sh"]}), None);
    case("exec with one container", "pods/exec", json!({"command": ["sh"]}), None);
    case("attach to the app", "pods/attach", json!({"container": "web"}), None);
    case("a question to the sidecar", "pods/exec", json!({"container": "portreeve", "command": ["portreeve", "status", "--json"]}), None);
    case("a shell in the sidecar", "pods/exec", json!({"container": "portreeve", "command": ["sh"]}), refused);
    case("another command in the sidecar", "pods/exec", json!({"container": "portreeve", "command": ["nft", "flush", "ruleset"]}), refused);
    case("a second sidecar in the sidecar", "pods/exec", json!({"container": "portreeve", "command": ["portreeve", "run"]}), refused);
    case("no command in the sidecar", "pods/exec", json!({"container": "portreeve"}), refused);
    case("attach to the sidecar", "pods/attach", json!({"container": "portreeve", "stdin": true}), Some(("portreeve-exec", "attach")));
}

fn written(cases: &mut Vec<Case>) {
    let map = |name: &str| json!({"metadata": {"name": name, "namespace": "shop"}});
    let write = |operation, name| {
        let (object, old) = if operation == "DELETE" { (Value::Null, map(name)) } else { (map(name), Value::Null) };
        Request { operation, resource: "configmaps", object, old, ..Request::nothing() }
    };
    let mut case = |name, request, refused_by| cases.push(Case { name, request, refused_by });
    let refused = Some(("portreeve-platform", "update the namespace"));
    let permitted = "group= resource=namespaces namespace=shop name=shop check=update";
    case("the app's ConfigMap", write("CREATE", "portreeve-web"), None);
    let unnamed = json!({"metadata": {"generateName": "x-", "namespace": "shop"}});
    case("a ConfigMap that gets its name later", Request { object: unnamed, ..write("CREATE", "x") }, None);
    case("the platform's ConfigMap, by who may not", write("CREATE", "portreeve-platform"), refused);
    case("the platform's ConfigMap changed, by who may not", write("UPDATE", "portreeve-platform"), refused);
    case("the platform's ConfigMap deleted, by who may not", write("DELETE", "portreeve-platform"), refused);
    case("the platform's ConfigMap, by who may", Request { permitted, ..write("UPDATE", "portreeve-platform") }, None);
    let ends = json!({"metadata": {"name": "shop", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
    case(
        "the platform's ConfigMap deleted with its namespace",
        Request { namespace_object: ends, ..write("DELETE", "portreeve-platform") },
        None,
    );
    let namespace = |level: &str| Request {
        operation: "UPDATE",
        resource: "namespaces",
        object: json!({"metadata": {"name": "shop", "labels": {"pod-security.kubernetes.io/enforce": level}}}),
        ..Request::nothing()
    };
    case("a namespace that takes the sidecar", namespace("privileged"), None);
    case("a namespace that refuses the sidecar", namespace("restricted"), Some(("portreeve-namespaces", "label it privileged")));
}
