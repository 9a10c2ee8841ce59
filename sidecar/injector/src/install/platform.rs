//! The namespace, the injector's account without rights, and the settings it reads.

use serde_json::{Value, json};

use super::{InstallError, Plan};

/// The labels of everything of ours.
pub(super) fn labels() -> Value {
    json!({"app.kubernetes.io/name": "portreeve-injector", "app.kubernetes.io/part-of": "portreeve"})
}

/// The injector's namespace, as `ca` makes it and `install` goes on with it.
pub(crate) fn namespace(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {
            "app.kubernetes.io/part-of": "portreeve",
            "pod-security.kubernetes.io/enforce": "restricted",
        }},
    })
}

pub(super) fn objects(plan: &Plan) -> Result<Vec<Value>, InstallError> {
    let namespace = &plan.namespace;
    let settings = plan.settings_text()?;
    Ok(vec![
        self::namespace(namespace),
        json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "portreeve-injector", "namespace": namespace, "labels": labels()},
            "automountServiceAccountToken": false,
        }),
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "portreeve-injector", "namespace": namespace, "labels": labels()},
            "data": {"settings.toml": settings},
        }),
        // Some platforms admit system-critical pods outside kube-system only where a quota says how many.
        json!({
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "portreeve-injector", "namespace": namespace, "labels": labels()},
            "spec": {
                "hard": {"pods": "10"},
                "scopeSelector": {"matchExpressions": [
                    {"scopeName": "PriorityClass", "operator": "In", "values": ["system-cluster-critical"]},
                ]},
            },
        }),
    ])
}
