//! OpenShift's own gate before ours: what the sidecar's rights need there, and who may use it.

use serde_json::{Value, json};

/// The constraints count for a whole pod: what they admit for the apps, the fence policy takes back.
pub(super) fn objects() -> Vec<Value> {
    let constraints = json!({
        "apiVersion": "security.openshift.io/v1",
        "kind": "SecurityContextConstraints",
        "metadata": {"name": "portreeve-sidecar"},
        "allowHostDirVolumePlugin": false,
        "allowHostIPC": false,
        "allowHostNetwork": false,
        "allowHostPID": false,
        "allowHostPorts": false,
        "allowPrivilegeEscalation": false,
        "allowPrivilegedContainer": false,
        "allowedCapabilities": ["NET_ADMIN", "NET_BIND_SERVICE", "NET_RAW", "SETGID", "SETPCAP", "SETUID"],
        "defaultAddCapabilities": [],
        "requiredDropCapabilities": [],
        "readOnlyRootFilesystem": false,
        "runAsUser": {"type": "RunAsAny"},
        "fsGroup": {"type": "MustRunAs"},
        "supplementalGroups": {"type": "RunAsAny"},
        "seLinuxContext": {"type": "MustRunAs"},
        "seccompProfiles": ["runtime/default"],
        "volumes": ["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"],
        "users": [],
        "groups": [],
    });
    let may_use = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "portreeve-sidecar-scc"},
        "rules": [{
            "apiGroups": ["security.openshift.io"],
            "resources": ["securitycontextconstraints"],
            "resourceNames": ["portreeve-sidecar"],
            "verbs": ["use"],
        }],
    });
    vec![constraints, may_use]
}
