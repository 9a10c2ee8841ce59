//! Pods, and what can be wrong with them: each case is a good pod with one change.

use serde_json::{Value, json};

use crate::evaluator::Request;

/// A change of the good pod, and who must refuse it.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) request: Request,
    /// The policy that must refuse, and a word of its sentence.
    pub(crate) refused_by: Option<(&'static str, &'static str)>,
}

/// A pod as it is after the injection, at the level restricted. Fields that the API server adds are there.
pub(crate) fn held() -> Value {
    let app = json!({
        "image": "registry.example/shop:7",
        "securityContext": {
            "allowPrivilegeEscalation": false, "runAsNonRoot": true, "runAsUser": 1000,
            "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [{"name": "kube-api-access-x", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true}],
    });
    let named = |name: &str| {
        let mut container = app.clone();
        container["name"] = json!(name);
        container
    };
    let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}});
    json!({
        "metadata": {"name": "web-1", "namespace": "shop", "labels": {"app": "web"}},
        "spec": {
            "initContainers": [{
                "name": "portreeve",
                "image": injector::settings::Settings::default().image,
                "restartPolicy": "Always",
                "env": [
                    {"name": "PORTREEVE_POLICIES", "value": "/etc/portreeve/policies/app,/etc/portreeve/policies/namespace"},
                    {"name": "PORTREEVE_LABELS", "value": "/etc/portreeve/pod/labels"},
                    {"name": "PORTREEVE_LISTEN", "value": "127.0.0.1:5453"},
                    {"name": "PORTREEVE_UID", "value": "5453"},
                    {"name": "PORTREEVE_KEPT_RESOLV_CONF", "value": "/run/portreeve/resolv.conf"},
                    {"name": "PORTREEVE_METRICS", "value": "0.0.0.0:9464"},
                    {"name": "PORTREEVE_FLOW_LOG", "value": "stdout"},
                    {"name": "PORTREEVE_RAW_GUARD", "value": "prefer"},
                    {"name": "PORTREEVE_PLATFORM_POLICY", "value": "version = 1\nname = \"platform\"\n"},
                    field("PORTREEVE_NAMESPACE", "metadata.namespace"), field("PORTREEVE_POD", "metadata.name"),
                    field("PORTREEVE_NODE", "spec.nodeName"), field("PORTREEVE_SERVICE_ACCOUNT", "spec.serviceAccountName"),
                    field("PORTREEVE_HOST_IPS", "status.hostIPs"),
                ],
                "ports": [{"name": "portreeve", "containerPort": 9464, "protocol": "TCP"}],
                "startupProbe": {"exec": {"command": ["portreeve", "status", "--ready"]}, "periodSeconds": 1, "failureThreshold": 120},
                "securityContext": {
                    "runAsUser": 0, "runAsNonRoot": false, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                    "seccompProfile": {"type": "RuntimeDefault"},
                    "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN", "SETUID", "SETGID", "SETPCAP", "NET_RAW"]},
                },
                "volumeMounts": [
                    {"name": "portreeve-run", "mountPath": "/run/portreeve"},
                    {"name": "portreeve-no-token", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true},
                    {"name": "portreeve-app", "mountPath": "/etc/portreeve/policies/app", "readOnly": true},
                    {"name": "portreeve-pod", "mountPath": "/etc/portreeve/pod", "readOnly": true},
                ],
            }, named("migrate")],
            "containers": [named("web"), named("log")],
            "volumes": [
                {"name": "portreeve-run", "emptyDir": {}}, {"name": "portreeve-no-token", "emptyDir": {}},
                {"name": "portreeve-app", "configMap": {"name": "portreeve-web", "optional": true}},
                {"name": "portreeve-pod", "downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
                {"name": "kube-api-access-x", "projected": {"sources": []}},
            ],
            "securityContext": {},
        },
    })
}

/// The pod with one field set; a `null` takes it away.
pub(crate) fn with(mut pod: Value, path: &str, value: Value) -> Value {
    let mut at = &mut pod;
    for step in path.split('/') {
        at = match step.parse::<usize>() {
            Ok(index) => &mut at[index],
            Err(_) if step == "+" => {
                let list = at.as_array_mut().unwrap();
                list.push(Value::Null);
                list.last_mut().unwrap()
            }
            // A key may hold a slash, written as `~`.
            Err(_) => &mut at[step.replace('~', "/")],
        };
    }
    *at = value;
    without_nulls(&mut pod);
    pod
}

fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

/// The pod with a debug container more.
pub(crate) fn debugged(pod: &Value, change: &[(&str, Value)]) -> Request {
    let mut debug = json!({"name": "debugger", "image": "registry.example/shell:1", "targetContainerName": "web", "securityContext": {}});
    for (path, value) in change {
        debug = with(debug, path, value.clone());
    }
    let mut new = pod.clone();
    new["spec"]["ephemeralContainers"] = json!([debug]);
    Request::update("pods/ephemeralcontainers", pod.clone(), new)
}
