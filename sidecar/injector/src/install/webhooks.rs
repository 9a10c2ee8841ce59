//! The two webhook configurations: pods are changed, policies are checked when they are applied.

use serde_json::{Value, json};

use super::Plan;
use super::platform::labels;
use crate::fence::namespace_selector;

/// The label by which a namespace enforces a Pod Security level.
const ENFORCED: &str = "pod-security.kubernetes.io/enforce";

pub(super) fn objects(plan: &Plan, ca_bundle: &str) -> Vec<Value> {
    let selector = namespace_selector(&plan.settings, &plan.namespace);
    let client = |path: &str| {
        json!({
            "service": {"name": "portreeve-injector", "namespace": plan.namespace, "path": path, "port": 443},
            "caBundle": ca_bundle,
        })
    };
    let rule = |operations: &[&str], resource: &str| json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": operations, "resources": [resource], "scope": "Namespaced"});
    // A namespace that enforces a level refuses the sidecar after us: a review does not tell of it, so an entry of its own does, and
    // the answer says it in our own words.
    let entry = |name: &str, path: &str, operator: &str| {
        let mut selector = selector.clone();
        if let Some(expressions) = selector["matchExpressions"].as_array_mut() {
            expressions.push(json!({"key": ENFORCED, "operator": operator, "values": ["baseline", "restricted"]}));
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
        "webhooks": [entry("pods.portreeve.dev", "/pods", "NotIn"), entry("pods-under-pod-security.portreeve.dev", "/pods-under-pod-security", "In")],
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
