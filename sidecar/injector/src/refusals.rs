//! What undoes the fence, told all at once: each reason names the container, the field and the remedy.

mod baseline;
mod capabilities;
pub(crate) mod fence;
mod profiles;
mod restricted;

use std::fmt;

use serde_json::Value;

use crate::inject::Context;
use crate::names::{self, CONTAINER};
use crate::settings::{PodSecurity, Settings};

/// The most containers of a kind. Each gets its rights written out, so that without a bound a short text would make a long one.
const MOST_CONTAINERS: usize = 256;

/// What kind of reason it is: a bounded label for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// What came is no pod.
    NotAPod,
    /// A label or annotation under `portreeve.dev/` that does not exist, or with a value that does not.
    UnknownKey,
    /// The annotation names ConfigMaps that cannot be.
    Policies,
    /// The namespace enforces a Pod Security level that refuses the sidecar.
    NamespaceLevel,
    /// The pod has the node's network: the rules would be the node's.
    HostNetwork,
    /// There is no such fence on Windows.
    Windows,
    /// The pod's containers see each other's processes.
    SharedProcesses,
    /// Pod Security baseline refuses it.
    Baseline,
    /// Pod Security restricted refuses it, which the settings hold.
    Restricted,
    /// NET_RAW is asked for by name.
    NetRaw,
    /// A mesh fences by init container.
    Mesh,
    /// A container runs as the sidecar's uid.
    Uid,
    /// A container mounts a volume of the sidecar.
    Volume,
    /// A container has the sidecar's name, or joins it.
    Name,
    /// A container listens on a port of the sidecar.
    Port,
    /// The pod names whom the sidecar would ask and believe.
    Resolver,
}

impl Reason {
    /// Its label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotAPod => "not-a-pod",
            Self::UnknownKey => "unknown-key",
            Self::Policies => "policies",
            Self::NamespaceLevel => "namespace-level",
            Self::HostNetwork => "host-network",
            Self::Windows => "windows",
            Self::SharedProcesses => "shared-processes",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
            Self::NetRaw => "net-raw",
            Self::Mesh => "mesh",
            Self::Uid => "uid",
            Self::Volume => "volume",
            Self::Name => "name",
            Self::Port => "port",
            Self::Resolver => "resolver",
        }
    }
}

/// One reason, as a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    reason: Reason,
    text: String,
}

impl Refusal {
    pub(crate) fn new(reason: Reason, text: String) -> Self {
        // Names and values are the author's, of any length.
        Self { reason, text: crate::review::cut(&text, 600) }
    }

    /// About a field of the pod.
    pub(crate) fn pod(reason: Reason, field: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::new(reason, format!("{field}: {why}"))
    }

    /// Its kind.
    pub fn reason(&self) -> Reason {
        self.reason
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A container that is not ours, and where it stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct App<'a> {
    kind: &'static str,
    container: &'a Value,
}

impl<'a> App<'a> {
    /// An ephemeral container.
    pub(crate) fn ephemeral(container: &'a Value) -> Self {
        Self { kind: "ephemeral container", container }
    }

    fn refusal(&self, reason: Reason, field: impl fmt::Display, why: impl fmt::Display) -> Refusal {
        Refusal::new(reason, format!("{} {}: {field} {why}", self.kind, names::name_of(self.container)))
    }
}

/// Whether it has the shape that everything else relies on.
pub(crate) fn shape(pod: &Value) -> Result<(), Refusal> {
    let wrong = |why: &str| Err(Refusal::new(Reason::NotAPod, format!("this is no pod: {why}")));
    if pod.pointer("/metadata").is_some_and(|metadata| !metadata.is_object()) {
        return wrong("metadata is no object");
    }
    if pod.pointer("/metadata/annotations").is_some_and(|annotations| !annotations.is_object() && !annotations.is_null()) {
        return wrong("metadata.annotations is no object");
    }
    if !pod.pointer("/spec").is_some_and(Value::is_object) {
        return wrong("it has no spec");
    }
    for key in ["containers", "initContainers", "volumes"] {
        let list = pod.pointer(&format!("/spec/{key}")).filter(|list| !list.is_null());
        if list.is_some_and(|list| !list.as_array().is_some_and(|list| list.iter().all(Value::is_object))) {
            return wrong(&format!("spec.{key} is no list of objects"));
        }
    }
    if names::list(pod, "/spec/containers").is_empty() {
        return wrong("it has no containers");
    }
    for key in ["containers", "initContainers", "ephemeralContainers"] {
        let count = names::list(pod, &format!("/spec/{key}")).len();
        if count > MOST_CONTAINERS {
            return wrong(&format!("spec.{key} has {count} entries, of at most {MOST_CONTAINERS} that are looked at"));
        }
    }
    Ok(())
}

/// Everything that speaks against holding the pod.
pub(crate) fn of_pod(settings: &Settings, context: &Context<'_>, pod: &Value) -> Vec<Refusal> {
    let mut refused = Vec::new();
    fence::of_namespace(context, &mut refused);
    fence::of_pod(settings, context.namespace, pod, &mut refused);
    baseline::of_pod(pod, &mut refused);
    if settings.pod_security == PodSecurity::Restricted {
        restricted::of_pod(pod, &mut refused);
    }
    let kinds = [("containers", "container"), ("initContainers", "init container"), ("ephemeralContainers", "ephemeral container")];
    for (key, kind) in kinds {
        for container in names::list(pod, &format!("/spec/{key}")) {
            // An init container of this name is replaced by ours.
            if key == "initContainers" && names::name_of(container) == CONTAINER {
                continue;
            }
            of_container(settings, pod, App { kind, container }, &mut refused);
        }
    }
    refused
}

/// Everything that speaks against one container of the pod.
pub(crate) fn of_container(settings: &Settings, pod: &Value, app: App<'_>, refused: &mut Vec<Refusal>) {
    fence::of_container(settings, app, refused);
    capabilities::of_container(app, refused);
    baseline::of_container(app, refused);
    if settings.pod_security == PodSecurity::Restricted {
        restricted::of_container(pod, app, refused);
    }
}
