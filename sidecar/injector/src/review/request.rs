//! A review that was understood: which object, what is done to it, and where.

use serde::Deserialize;
use serde_json::Value;

/// What is reviewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A pod that is created.
    Pod,
    /// A container that is added to a running pod (`kubectl debug`).
    EphemeralContainers,
    /// A ConfigMap with policies, created or changed.
    ConfigMap,
    /// Something that is none of ours, such as an end: it passes.
    Other,
}

/// A request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) uid: String,
    pub(super) kind: Kind,
    pub(super) namespace: String,
    pub(super) object: Value,
    pub(super) old: Value,
}

/// Why a body is no review that can be answered otherwise.
#[derive(Debug, thiserror::Error)]
#[error("the webhook was sent no admission review of version v1 that it could read: {why}")]
pub(super) struct ReadReviewError {
    /// The request's uid where it could be read all the same, else nothing.
    pub(super) uid: String,
    why: String,
}

#[derive(Deserialize)]
struct Wire {
    #[serde(rename = "apiVersion", default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    request: WireRequest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireRequest {
    uid: String,
    resource: Resource,
    #[serde(default)]
    sub_resource: String,
    operation: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    object: Value,
    #[serde(default)]
    old_object: Value,
}

#[derive(Deserialize)]
struct Resource {
    #[serde(default)]
    group: String,
    resource: String,
}

/// The uid alone: what surrounds it is skipped without recursion, so that it is found however deep the object is nested.
#[derive(Deserialize)]
struct Uid {
    request: UidRequest,
}

#[derive(Deserialize)]
struct UidRequest {
    uid: String,
}

/// Whose answer is due, where the body is JSON. Takes no memory for the rest.
pub(super) fn uid(body: &[u8]) -> Option<String> {
    serde_json::from_slice::<Uid>(body).ok().map(|found| found.request.uid)
}

impl Request {
    pub(super) fn read(body: &[u8]) -> Result<Self, ReadReviewError> {
        let wire: Wire =
            serde_json::from_slice(body).map_err(|error| ReadReviewError { uid: uid(body).unwrap_or_default(), why: error.to_string() })?;
        let request = wire.request;
        let wrong = |why: String| Err(ReadReviewError { uid: request.uid.clone(), why });
        if wire.api_version != "admission.k8s.io/v1" || wire.kind != "AdmissionReview" {
            return wrong(format!("it is of {:?} {:?}", super::cut(&wire.api_version, 80), super::cut(&wire.kind, 80)));
        }
        let kind = match (request.resource.group.as_str(), request.resource.resource.as_str(), request.sub_resource.as_str()) {
            ("", "pods", "") if request.operation == "CREATE" => Kind::Pod,
            ("", "pods", "ephemeralcontainers") if request.operation == "UPDATE" => Kind::EphemeralContainers,
            ("", "configmaps", "") if matches!(request.operation.as_str(), "CREATE" | "UPDATE") => Kind::ConfigMap,
            ("", "pods" | "configmaps", _) => Kind::Other,
            (group, resource, _) => {
                let asked = super::cut(&format!("{group}/{resource}"), 80);
                return wrong(format!(
                    "it asks about {asked}, not about pods or configmaps; correct the rules of the webhook configuration"
                ));
            }
        };
        if kind != Kind::Other && !request.object.is_object() {
            return wrong("its object is none".to_owned());
        }
        if kind != Kind::Other && request.namespace.is_empty() {
            return wrong("it has no namespace".to_owned());
        }
        Ok(Self { uid: request.uid, kind, namespace: request.namespace, object: request.object, old: request.old_object })
    }
}
