//! The sidecar's volumes and where they are mounted: policies, labels, its socket, and a lid on the service account's token.

use serde_json::{Value, json};

/// Below it each ConfigMap has a directory of its own: two may hold files of one name.
const POLICIES: &str = "/etc/portreeve/policies";
/// Where the downward API writes the pod's labels.
pub(super) const LABELS_FILE: &str = "/etc/portreeve/pod/labels";
/// Where the API server would mount the token. What is mounted there already it leaves alone.
const TOKEN_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Where a ConfigMap's files are.
pub(super) fn policy_dir(config_map: &str) -> String {
    format!("{POLICIES}/{config_map}")
}

/// A ConfigMap's name may be longer than a volume's: they are counted.
fn policy_volume(index: usize) -> String {
    format!("portreeve-policies-{index}")
}

/// All of them. The empty ones are in memory: the cluster autoscaler does not move pods that have a directory of the node.
pub(super) fn volumes(policies: &[String]) -> Vec<Value> {
    let small = json!({"medium": "Memory", "sizeLimit": "1Mi"});
    let labels = json!([{"path": "labels", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.labels"}}]);
    let mut volumes = vec![
        json!({"name": "portreeve-run", "emptyDir": small}),
        json!({"name": "portreeve-no-token", "emptyDir": small}),
        json!({"name": "portreeve-pod", "downwardAPI": {"defaultMode": 420, "items": labels}}),
    ];
    for (index, name) in policies.iter().enumerate() {
        volumes.push(json!({"name": policy_volume(index), "configMap": {"name": name, "optional": true, "defaultMode": 420}}));
    }
    volumes
}

/// Their mounts in the sidecar.
pub(super) fn mounts(policies: &[String]) -> Vec<Value> {
    let mut mounts = vec![
        json!({"name": "portreeve-run", "mountPath": "/run/portreeve"}),
        json!({"name": "portreeve-no-token", "mountPath": TOKEN_PATH, "readOnly": true}),
        json!({"name": "portreeve-pod", "mountPath": "/etc/portreeve/pod", "readOnly": true}),
    ];
    for (index, name) in policies.iter().enumerate() {
        mounts.push(json!({"name": policy_volume(index), "mountPath": policy_dir(name), "readOnly": true}));
    }
    mounts
}
