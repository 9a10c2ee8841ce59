//! Capabilities: what Pod Security baseline permits, as a list of what may be, since runtimes take any spelling; and meshes' init containers.

use serde_json::Value;

use super::{App, Reason, Refusal};
use crate::names;

/// What baseline lets a container add.
const PERMITTED: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// A mesh that redirects by an init container: how that is called, what its image is called, and what to use instead.
struct Mesh {
    name: &'static str,
    container: &'static str,
    image: &'static str,
    remedy: &'static str,
}

const MESHES: &[Mesh] = &[
    Mesh {
        name: "Istio",
        container: "istio-init",
        image: "/proxyv2",
        remedy: "use the CNI plugin of Istio (install it with components.cni.enabled=true)",
    },
    Mesh {
        name: "Linkerd",
        container: "linkerd-init",
        image: "/proxy-init",
        remedy: "use the CNI plugin of Linkerd (linkerd install-cni, then cniEnabled: true)",
    },
    Mesh { name: "Kuma", container: "kuma-init", image: "/kuma-init", remedy: "use the CNI plugin of Kuma (cni.enabled: true)" },
];

/// Of one container.
pub(super) fn of_container(app: App<'_>, refused: &mut Vec<Refusal>) {
    let beyond: Vec<&str> = added(app.container).filter(|added| !is_permitted(added)).collect();
    if beyond.is_empty() {
        return;
    }
    if let Some(mesh) = mesh_of(app.container) {
        let why = format!("is how {} redirects from inside of the pod, which undoes the fence: {}", mesh.name, mesh.remedy);
        refused.push(app.refusal(Reason::Mesh, format!("securityContext.capabilities.add {}", beyond.join(", ")), why));
        return;
    }
    let is_net_raw = |capability: &&str| bare(capability).eq_ignore_ascii_case("NET_RAW");
    if beyond.iter().any(is_net_raw) {
        let why =
            "lets it write packets that no socket would, past the names; take it out (for ping, set the sysctl net.ipv4.ping_group_range)";
        refused.push(app.refusal(Reason::NetRaw, "securityContext.capabilities.add NET_RAW", why));
    }
    let others: Vec<&str> = beyond.into_iter().filter(|capability| !is_net_raw(capability)).collect();
    if !others.is_empty() {
        let why = format!("is more than Pod Security baseline permits; take it out, or choose from {}", PERMITTED.join(", "));
        refused.push(app.refusal(Reason::Baseline, format!("securityContext.capabilities.add {}", others.join(", ")), why));
    }
}

/// Those it adds that baseline permits: what is judged beyond baseline.
pub(super) fn permitted_of(container: &Value) -> impl Iterator<Item = &str> {
    added(container).filter(|added| is_permitted(added))
}

fn added(container: &Value) -> impl Iterator<Item = &str> {
    names::list(container, "/securityContext/capabilities/add").iter().filter_map(Value::as_str)
}

fn is_permitted(capability: &str) -> bool {
    PERMITTED.iter().any(|permitted| permitted.eq_ignore_ascii_case(capability))
}

fn bare(capability: &str) -> &str {
    match capability.get(..4) {
        Some(prefix) if prefix.eq_ignore_ascii_case("CAP_") => capability.get(4..).unwrap_or(capability),
        _ => capability,
    }
}

fn mesh_of(container: &Value) -> Option<&'static Mesh> {
    let image = names::text(container, "/image").unwrap_or("");
    MESHES.iter().find(|mesh| names::name_of(container) == mesh.container || image.contains(mesh.image))
}
