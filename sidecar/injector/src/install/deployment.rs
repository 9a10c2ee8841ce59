//! The injector's Deployment, its budget and its Service.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::platform::labels;
use super::{InstallError, Plan};

/// The webhook's port and the one of `/metrics`, `/readyz` and `/livez`.
const HTTPS: u16 = 8443;
const METRICS: u16 = 9465;
/// Nobody's: the injector needs no file of its own. OpenShift gives each namespace a range instead.
const UID: u32 = 65532;

pub(super) fn objects(plan: &Plan) -> Result<Vec<Value>, InstallError> {
    // Other settings make other pods: the admission policies have them at once, and a mounted ConfigMap comes up to two minutes later.
    let checksum: String = Sha256::digest(plan.settings_text()?).iter().map(|byte| format!("{byte:02x}")).collect();
    let annotations = json!({"checksum/settings": checksum});
    let selector = json!({"matchLabels": {"app.kubernetes.io/name": "portreeve-injector"}});
    let metadata = json!({"name": "portreeve-injector", "namespace": plan.namespace, "labels": labels()});
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": 2,
            "selector": selector,
            // Never fewer than two that answer: with none, no pod of a held namespace starts.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "template": {"metadata": {"labels": labels(), "annotations": annotations}, "spec": pod(plan, &selector)},
        },
    });
    let budget = json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata,
        // A pod that is not ready must not keep a node from being drained.
        "spec": {"minAvailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow", "selector": selector},
    });
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {
            "selector": {"app.kubernetes.io/name": "portreeve-injector"},
            "ports": [
                {"name": "https", "port": 443, "targetPort": "https", "protocol": "TCP"},
                {"name": "metrics", "port": METRICS, "targetPort": "metrics", "protocol": "TCP"},
            ],
        },
    });
    Ok(vec![deployment, budget, service])
}

fn pod(plan: &Plan, selector: &Value) -> Value {
    let mut security = json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
    if let (false, Some(security)) = (plan.openshift, security.as_object_mut()) {
        security.insert("runAsUser".to_owned(), json!(UID));
        security.insert("runAsGroup".to_owned(), json!(UID));
        // The mounted key belongs to root: the group may read it.
        security.insert("fsGroup".to_owned(), json!(UID));
    }
    let spread = |key: &str| json!({"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": selector});
    json!({
        "serviceAccountName": "portreeve-injector",
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "priorityClassName": "system-cluster-critical",
        "securityContext": security,
        "nodeSelector": {"kubernetes.io/os": "linux"},
        // A cluster of one node still gets both.
        "topologySpreadConstraints": [spread("kubernetes.io/hostname"), spread("topology.kubernetes.io/zone")],
        "containers": [container(plan)],
        "volumes": [
            // Only the certificate and its key: 0440, for the group above.
            {"name": "ca", "secret": {"secretName": "portreeve-ca", "defaultMode": 0o440}},
            {"name": "settings", "configMap": {"name": "portreeve-injector"}},
            {"name": "platform", "configMap": {"name": "portreeve-platform-policy", "optional": true}},
        ],
    })
}

fn container(plan: &Plan) -> Value {
    let probe =
        |path: &str, period: u8| json!({"httpGet": {"path": path, "port": "metrics"}, "periodSeconds": period, "timeoutSeconds": 2});
    json!({
        "name": "injector",
        "image": plan.injector_image,
        "imagePullPolicy": "IfNotPresent",
        "args": [
            "serve",
            format!("--port={HTTPS}"),
            format!("--metrics-port={METRICS}"),
            "--settings=/etc/portreeve/settings/settings.toml",
            "--platform-policy=/etc/portreeve/platform/platform.toml",
            "--ca=/etc/portreeve/ca",
            format!("--service=portreeve-injector.{}.svc", plan.namespace),
        ],
        "ports": [
            {"name": "https", "containerPort": HTTPS, "protocol": "TCP"},
            {"name": "metrics", "containerPort": METRICS, "protocol": "TCP"},
        ],
        "readinessProbe": probe("/readyz", 5),
        "livenessProbe": probe("/livez", 10),
        "resources": {"requests": {"cpu": "20m", "memory": "32Mi"}, "limits": {"cpu": "500m", "memory": "64Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "ca", "mountPath": "/etc/portreeve/ca", "readOnly": true},
            {"name": "settings", "mountPath": "/etc/portreeve/settings", "readOnly": true},
            {"name": "platform", "mountPath": "/etc/portreeve/platform", "readOnly": true},
        ],
    })
}
