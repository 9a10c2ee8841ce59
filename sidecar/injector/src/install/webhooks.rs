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
    let pods = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        // Webhooks are called in the order of their configurations' names: ours sees what the others made of a pod.
        "metadata": {"name": "zz-portreeve", "labels": labels()},
        "webhooks": [{
            "name": "pods.portreeve.dev",
            "admissionReviewVersions": ["v1"],
            "clientConfig": client("/pods"),
            "rules": [rule(&["CREATE"], "pods"), rule(&["UPDATE"], "pods/ephemeralcontainers")],
            "namespaceSelector": selector,
            "failurePolicy": "Fail",
            "matchPolicy": "Equivalent",
            "reinvocationPolicy": "IfNeeded",
            "sideEffects": "None",
            "timeoutSeconds": 5,
        }],
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
