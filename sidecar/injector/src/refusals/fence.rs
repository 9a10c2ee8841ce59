//! What undoes this fence in particular: the node's network, the sidecar's uid, name, volumes and ports, its processes.

use serde_json::Value;

use super::{App, Reason, Refusal};
use crate::inject::Context;
use crate::names::{self, CONTAINER, is_our_volume};
use crate::settings::Settings;

/// The namespace may enforce more than any sidecar with NET_ADMIN can have.
pub(super) fn of_namespace(context: &Context<'_>, refused: &mut Vec<Refusal>) {
    let Some(level) = context.enforced else { return };
    refused.push(Refusal::new(
        Reason::NamespaceLevel,
        format!(
            "namespace {} enforces Pod Security {level}, which refuses the sidecar's NET_ADMIN: label the namespace \
             pod-security.kubernetes.io/enforce=privileged; Portreeve's fence policy goes on to hold the level for every other container",
            context.namespace
        ),
    ));
}

/// Of the pod as a whole.
pub(super) fn of_pod(settings: &Settings, namespace: &str, pod: &Value, refused: &mut Vec<Refusal>) {
    let is_set = |field: &str| pod.pointer(&format!("/spec/{field}")).and_then(Value::as_bool) == Some(true);
    if is_set("hostNetwork") {
        let why = "the pod has the node's network, where its rules would be the node's; take it out, or run the pod in a namespace that is not held";
        refused.push(Refusal::pod(Reason::HostNetwork, "spec.hostNetwork: true", why));
    }
    if is_set("shareProcessNamespace") {
        let why = "every container could end the sidecar and read its memory; take it out";
        refused.push(Refusal::pod(Reason::SharedProcesses, "spec.shareProcessNamespace: true", why));
    }
    let windows = |pointer: &str| names::text(pod, pointer).is_some_and(|os| os.eq_ignore_ascii_case("windows"));
    for (pointer, field) in [
        ("/spec/os/name", "spec.os.name: windows"),
        ("/spec/nodeSelector/kubernetes.io~1os", "spec.nodeSelector kubernetes.io/os: windows"),
        ("/spec/nodeSelector/beta.kubernetes.io~1os", "spec.nodeSelector beta.kubernetes.io/os: windows"),
    ] {
        if windows(pointer) {
            let why = "Windows has no such fence; run the pod in a namespace that is not held";
            refused.push(Refusal::pod(Reason::Windows, field, why));
            break;
        }
    }
    if is_our_uid(settings, pod.pointer("/spec/securityContext/runAsUser")) {
        refused.push(Refusal::pod(Reason::Uid, format!("spec.securityContext.runAsUser: {}", settings.uid), uid_remedy()));
    }
    let resolvers = named_resolvers(pod);
    if !resolvers.is_empty() && settings.resolvers_in(namespace).is_empty() {
        let why = "the sidecar would take its word for the address of every permitted name; take it out, or the platform sets whom all ask, `resolvers`";
        refused.push(Refusal::pod(Reason::Resolver, format!("spec.dnsConfig.nameservers {}", resolvers.join(", ")), why));
    }
}

/// Whom the pod names itself.
pub(crate) fn named_resolvers(pod: &Value) -> Vec<&str> {
    names::list(pod, "/spec/dnsConfig/nameservers").iter().filter_map(Value::as_str).collect()
}

/// Of one container.
pub(super) fn of_container(settings: &Settings, app: App<'_>, refused: &mut Vec<Refusal>) {
    let container = app.container;
    if names::name_of(container) == CONTAINER {
        refused.push(app.refusal(Reason::Name, format!("name: {CONTAINER}"), "is the sidecar's; call the container something else"));
    }
    if names::text(container, "/targetContainerName") == Some(CONTAINER) {
        let why = "could end the sidecar and read its memory; target a container of the app (kubectl debug --target=APP)";
        refused.push(app.refusal(Reason::Name, format!("targetContainerName: {CONTAINER}"), why));
    }
    if is_our_uid(settings, container.pointer("/securityContext/runAsUser")) {
        refused.push(app.refusal(Reason::Uid, format!("securityContext.runAsUser: {}", settings.uid), uid_remedy()));
    }
    let mounted = |list: &str| names::list(container, list).iter().map(names::name_of).find(|name| is_our_volume(name)).map(str::to_owned);
    if let Some(volume) = mounted("/volumeMounts").or_else(|| mounted("/volumeDevices")) {
        let why = "is the sidecar's alone; take the mount out, or give a volume of your own a name that does not begin with portreeve-";
        refused.push(app.refusal(Reason::Volume, format!("volumeMounts: {volume}"), why));
    }
    for port in names::list(container, "/ports").iter().filter_map(|port| port.get("containerPort")?.as_u64()) {
        let of = match u16::try_from(port) {
            Ok(port) if port == settings.port => "the resolver of the sidecar; use another port, or the platform sets another `port`",
            Ok(port) if Some(port) == settings.metrics_port => {
                "the metrics of the sidecar; use another port, or the platform sets another `metrics-port`"
            }
            _ => continue,
        };
        refused.push(app.refusal(Reason::Port, format!("ports: {port}"), format!("belongs to {of}")));
    }
}

fn is_our_uid(settings: &Settings, uid: Option<&Value>) -> bool {
    uid.and_then(Value::as_u64) == Some(u64::from(settings.uid))
}

fn uid_remedy() -> &'static str {
    "is the sidecar's uid, whose packets are taken for its questions; use another one"
}
