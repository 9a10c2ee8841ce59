//! Where the pod is in a workload.

use serde_json::Value;

/// The pod, or the template that pods are made from; `None` for what makes no pods.
pub(super) fn pod_of(object: &mut Value) -> Option<&mut Value> {
    let (group, kind) = {
        let version = object.get("apiVersion")?.as_str()?;
        let group = version.split_once('/').map_or("", |(group, _)| group);
        (group.to_owned(), object.get("kind")?.as_str()?.to_owned())
    };
    let template = match (group.as_str(), kind.as_str()) {
        ("", "Pod") => "",
        ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet") | ("batch", "Job") | ("", "ReplicationController") => {
            "/spec/template"
        }
        ("", "PodTemplate") => "/template",
        ("batch", "CronJob") => "/spec/jobTemplate/spec/template",
        _ => return None,
    };
    object.pointer_mut(template)
}
