//! What Pod Security restricted asks beyond baseline (as of Kubernetes 1.34), where the settings hold that level.

use serde_json::Value;

use super::{App, Reason, Refusal, capabilities};
use crate::names;

/// The kinds of volumes that are the pod's or the cluster's, and of no node.
const VOLUMES: &[&str] =
    &["configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim", "projected", "secret"];

/// Of the pod as a whole.
pub(super) fn of_pod(pod: &Value, refused: &mut Vec<Refusal>) {
    if is_root(pod.pointer("/spec/securityContext")) {
        refused.push(Refusal::pod(Reason::Restricted, "spec.securityContext.runAsUser: 0", "is root; take another uid, or take it out"));
    }
    for volume in names::list(pod, "/spec/volumes") {
        let name = names::name_of(volume);
        let kinds = volume.as_object().into_iter().flatten().filter(|(key, kind)| *key != "name" && !kind.is_null());
        // A directory of the node is baseline's to tell, and a volume of our name is replaced by ours.
        let kind = kinds.map(|(key, _)| key.as_str()).find(|kind| *kind != "hostPath" && !VOLUMES.contains(kind));
        if let Some(kind) = kind.filter(|_| !names::is_our_volume(name)) {
            let why = format!("no kind that Pod Security restricted permits; use one of {}", VOLUMES.join(", "));
            refused.push(Refusal::pod(Reason::Restricted, format!("spec.volumes {name}: {kind}"), why));
        }
    }
}

/// Of one container; what it does not say itself the pod may say for it.
pub(super) fn of_container(pod: &Value, app: App<'_>, refused: &mut Vec<Refusal>) {
    let mut refuse = |field: String, why: &str| refused.push(app.refusal(Reason::Restricted, field, why));
    let own = app.container.pointer("/securityContext");
    let said = |field: &str| own.and_then(|own| own.get(field)).filter(|value| !value.is_null());
    let inherited = |field: &str| said(field).or_else(|| pod.pointer("/spec/securityContext")?.get(field));
    if said("allowPrivilegeEscalation").and_then(Value::as_bool) != Some(false) {
        refuse("securityContext.allowPrivilegeEscalation".to_owned(), "must be false (Pod Security restricted); set it");
    }
    if inherited("runAsNonRoot").and_then(Value::as_bool) != Some(true) {
        refuse("securityContext.runAsNonRoot".to_owned(), "must be true, here or for the pod (Pod Security restricted); set it");
    }
    if is_root(own) {
        refuse("securityContext.runAsUser: 0".to_owned(), "is root; take another uid, or take it out");
    }
    // A profile that switches the default off is baseline's to tell.
    if inherited("seccompProfile").is_none_or(Value::is_null) {
        refuse("securityContext.seccompProfile".to_owned(), "is missing, here and for the pod; set type RuntimeDefault");
    }
    if !names::list(app.container, "/securityContext/capabilities/drop").iter().any(|dropped| dropped == "ALL") {
        refuse("securityContext.capabilities.drop".to_owned(), "lacks ALL (Pod Security restricted); add it");
    }
    let beyond: Vec<&str> = capabilities::permitted_of(app.container).filter(|added| *added != "NET_BIND_SERVICE").collect();
    if !beyond.is_empty() {
        let field = format!("securityContext.capabilities.add {}", beyond.join(", "));
        refuse(field, "is more than Pod Security restricted permits, which is NET_BIND_SERVICE; take it out");
    }
}

fn is_root(security: Option<&Value>) -> bool {
    security.and_then(|security| security.get("runAsUser")?.as_u64()) == Some(0)
}
