//! From a pod to the pod that is held: pure, idempotent, and with every reason at once where it must not be.

mod asked;
pub(crate) mod container;
mod place;
mod rights;
mod same;
mod volumes;

use serde_json::{Map, Value};

use crate::names;
use crate::platform::Platform;
use crate::refusals::{self, Reason, Refusal};
use crate::settings::{Settings, UnsafePods};

pub(crate) use self::rights::drop_net_raw;

/// What is known beside the pod.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The namespace it is created in.
    pub namespace: &'a str,
    /// The Pod Security level that the namespace enforces, if it is known to be more than `privileged`.
    pub enforced: Option<&'a str>,
    /// The platform's own policy.
    pub platform: &'a Platform,
}

/// Why a pod is not touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftAlone {
    /// What the API server shows of a static pod; the kubelet runs another, which no webhook sees.
    Mirror,
    /// The settings exclude its namespace.
    Excluded,
    /// It asked for it, and the settings let it.
    OptedOut,
    /// It cannot be held (Windows, the host's network), and the settings say to warn.
    CannotBeHeld,
}

/// What becomes of a pod.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Nothing is done.
    LeftAlone {
        /// Why.
        why: LeftAlone,
        /// What kubectl should show.
        warnings: Vec<String>,
    },
    /// This is the pod that is held; the same as the one that came, if there was nothing to do.
    Held {
        /// The whole pod.
        pod: Value,
        /// What kubectl should show.
        warnings: Vec<String>,
    },
    /// It is refused, for all of these.
    Refused(Vec<Refusal>),
}

/// Decides on one pod: a whole one, or the template of a workload.
pub fn inject(settings: &Settings, context: &Context<'_>, pod: &Value) -> Decision {
    if let Err(refusal) = refusals::shape(pod) {
        return Decision::Refused(vec![refusal]);
    }
    let namespace = context.namespace;
    if pod.pointer("/metadata/annotations/kubernetes.io~1config.mirror").is_some() {
        return Decision::LeftAlone { why: LeftAlone::Mirror, warnings: Vec::new() };
    }
    if namespace == "kube-system" || settings.excluded_namespaces.iter().any(|excluded| excluded == namespace) {
        return Decision::LeftAlone { why: LeftAlone::Excluded, warnings: Vec::new() };
    }
    let mut warnings = Vec::new();
    let (asked, mut refused) = asked::read(pod);
    if asked.left_alone {
        if settings.opt_out_in(namespace) {
            return Decision::LeftAlone { why: LeftAlone::OptedOut, warnings };
        }
        warnings.push(format!(
            "label {}: \"false\" has no effect: the platform's settings do not let pods of {namespace} opt out",
            names::INJECT_LABEL
        ));
    }
    refused.extend(refusals::of_pod(settings, context, pod));
    let cannot_be_held = refused.iter().any(|refusal| matches!(refusal.reason(), Reason::Windows | Reason::HostNetwork));
    if !refused.is_empty() {
        match settings.unsafe_pods_in(namespace) {
            UnsafePods::Refuse => return Decision::Refused(refused),
            UnsafePods::Warn => warnings.extend(refused.iter().map(Refusal::to_string)),
        }
    }
    if cannot_be_held {
        return Decision::LeftAlone { why: LeftAlone::CannotBeHeld, warnings };
    }
    warnings.extend(asked.warnings);
    let asked_instead = settings.resolvers_in(namespace);
    let named = refusals::fence::named_resolvers(pod);
    if !asked_instead.is_empty() && !named.is_empty() {
        let (named, instead) = (named.join(", "), asked_instead.join(", "));
        warnings.push(format!(
            "spec.dnsConfig.nameservers {named}: has no effect: the platform's settings have every sidecar of {namespace} ask {instead}"
        ));
    }
    Decision::Held { pod: held(settings, context, pod, &asked.policies), warnings }
}

/// The pod with everything of ours in its place.
fn held(settings: &Settings, context: &Context<'_>, pod: &Value, policies: &[String]) -> Value {
    let mut pod = pod.clone();
    if let Some(metadata) = object_at(&mut pod, "metadata") {
        place::annotate(metadata, policies);
    }
    if let Some(spec) = object_at(&mut pod, "spec") {
        rights::without_net_raw(spec);
        place::container_first(spec, container::container(settings, context, policies));
        place::volumes(spec, volumes::volumes(policies));
    }
    pod
}

/// The object under a key, made where it is missing.
fn object_at<'a>(value: &'a mut Value, key: &str) -> Option<&'a mut Map<String, Value>> {
    value.as_object_mut()?.entry(key).or_insert_with(|| Value::Object(Map::new())).as_object_mut()
}
