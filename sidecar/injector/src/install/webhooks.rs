//! The two webhook configurations: pods are changed, policies are checked when they are applied.

use serde_json::{Value, json};

use super::Plan;
use super::platform::labels;
use crate::fence::namespace_selector;

pub(super) fn objects(plan: &Plan, ca_bundle: &str) -> Vec<Value> {
    let selector = namespace_selector(&plan.settings, &plan.namespace);
    let client = |path: &str| {
        json!({
            "service": {"name": "portreeve-injector", "namespace": plan.namespace, "path": path, "port": 443},
            "caBundle": ca_bundle,
        })
    };
    let rule = |operations: &[&str], resource: &str| json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": operations, "resources": [resource], "scope": "Namespaced"});
    // A namespace whose own Pod Security would refuse the sidecar is told so by the webhook, before it can: which one asks is seen by the path.
    let pods_where = |name: &str, path: &str, operator: &str| {
        let mut selector = selector.clone();
        if let Some(expressions) = selector.get_mut("matchExpressions").and_then(Value::as_array_mut) {
            expressions
                .push(json!({"key": "pod-security.kubernetes.io/enforce", "operator": operator, "values": ["baseline", "restricted"]}));
        }
        json!({
            "name": name,
            "admissionReviewVersions": ["v1"],
            "clientConfig": client(path),
            "rules": [rule(&["CREATE"], "pods"), rule(&["UPDATE"], "pods/ephemeralcontainers")],
            "namespaceSelector": selector,
            "failurePolicy": "Fail",
            "matchPolicy": "Equivalent",
            "reinvocationPolicy": "IfNeeded",
            "sideEffects": "None",
            "timeoutSeconds": 5,
        })
    };
    let pods = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        // Webhooks are called in the order of their configurations' names: ours sees what the others made of a pod.
        "metadata": {"name": "zz-portreeve", "labels": labels()},
        "webhooks": [
            pods_where("pods.portreeve.dev", "/pods", "NotIn"),
            pods_where("pods-under-pod-security.portreeve.dev", "/pods-under-pod-security", "In"),
        ],
    });
    let config_maps = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "portreeve", "labels": labels()},
        "webhooks": [{
            "name": "configmaps.portreeve.dev",
            "admissionReviewVersions": ["v1"],
            "clientConfig": client("/configmaps"),
            "rules": [rule(&["CREATE", "UPDATE"], "configmaps")],
            // Other ConfigMaps do not wait for us.
            "matchConditions": [{"name": "policies", "expression": "has(object.metadata.name) && object.metadata.name.startsWith('portreeve-')"}],
            "namespaceSelector": selector,
            "failurePolicy": "Fail",
            "matchPolicy": "Equivalent",
            "sideEffects": "None",
            "timeoutSeconds": 5,
        }],
    });
    vec![pods, config_maps]
}
