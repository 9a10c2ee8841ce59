//! What else Pod Security baseline refuses (as of Kubernetes 1.34), with the field and the remedy.

use serde_json::Value;

use super::profiles;
use super::{App, Reason, Refusal};
use crate::names;

/// The sysctls that belong to the pod alone.
const SYSCTLS: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

/// Of the pod as a whole; hostNetwork is told elsewhere.
pub(super) fn of_pod(pod: &Value, refused: &mut Vec<Refusal>) {
    for (field, what) in [("hostPID", "processes"), ("hostIPC", "shared memory")] {
        if pod.pointer(&format!("/spec/{field}")).and_then(Value::as_bool) == Some(true) {
            let why = format!("gives the pod the node's {what}; take it out");
            refused.push(Refusal::pod(Reason::Baseline, format!("spec.{field}: true"), why));
        }
    }
    for volume in names::list(pod, "/spec/volumes") {
        // One of our name is replaced by ours.
        if volume.get("hostPath").is_some_and(|path| !path.is_null()) && !names::is_our_volume(names::name_of(volume)) {
            let why = "a directory of the node leads to its network; use emptyDir, a ConfigMap, a Secret or a claim";
            refused.push(Refusal::pod(Reason::Baseline, format!("spec.volumes {}: hostPath", names::name_of(volume)), why));
        }
    }
    for sysctl in names::list(pod, "/spec/securityContext/sysctls").iter().map(names::name_of) {
        if !SYSCTLS.contains(&sysctl) {
            let why = format!("{sysctl} is none that belongs to the pod alone; take it out");
            refused.push(Refusal::pod(Reason::Baseline, "spec.securityContext.sysctls", why));
        }
    }
    for (field, why) in profiles::wrong(pod.pointer("/spec/securityContext")) {
        refused.push(Refusal::pod(Reason::Baseline, format!("spec.securityContext.{field}"), why));
    }
    for (key, profile) in names::entries(pod, "/metadata/annotations") {
        let of = key.strip_prefix("container.apparmor.security.beta.kubernetes.io/");
        let permitted = profile.is_empty() || profile == "runtime/default" || profile.starts_with("localhost/");
        // For the sidecar it is taken out.
        if let Some(of) = of.filter(|of| !permitted && *of != names::CONTAINER) {
            let why = format!("container {of} would run without AppArmor's default profile ({profile}); use runtime/default");
            refused.push(Refusal::pod(Reason::Baseline, format!("annotation {key}"), why));
        }
    }
}

/// Of one container.
pub(super) fn of_container(app: App<'_>, refused: &mut Vec<Refusal>) {
    let container = app.container;
    let security = container.pointer("/securityContext");
    if security.and_then(|security| security.get("privileged")?.as_bool()) == Some(true) {
        refused.push(app.refusal(Reason::Baseline, "securityContext.privileged: true", "gives it the whole node; take it out"));
    }
    if let Some(mount) = security.and_then(|security| security.get("procMount")?.as_str()).filter(|mount| *mount != "Default") {
        refused.push(app.refusal(Reason::Baseline, format!("securityContext.procMount: {mount}"), "uncovers /proc; take it out"));
    }
    for (field, why) in profiles::wrong(security) {
        refused.push(app.refusal(Reason::Baseline, format!("securityContext.{field}"), why));
    }
    for port in names::list(container, "/ports") {
        if let Some(port) = port.get("hostPort").and_then(Value::as_u64).filter(|port| *port != 0) {
            refused.push(app.refusal(Reason::Baseline, format!("ports hostPort: {port}"), "takes a port of the node; use a Service"));
        }
    }
    for handler in ["livenessProbe", "readinessProbe", "startupProbe", "lifecycle/postStart", "lifecycle/preStop"] {
        for kind in ["httpGet", "tcpSocket"] {
            let host = names::text(container, &format!("/{handler}/{kind}/host")).filter(|host| !host.is_empty());
            if let Some(host) = host {
                let field = format!("{}.{kind}.host: {host}", handler.replace('/', "."));
                let why = "makes the kubelet call another host than the pod; take it out";
                refused.push(app.refusal(Reason::Baseline, field, why));
            }
        }
    }
}
