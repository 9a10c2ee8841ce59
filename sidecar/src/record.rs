//! What is told of flows and questions: one JSON object a line, with a schema and a version, read back by `learn`, `replay` and `map`.
//!
//! Field names are flat and dotted, those of the OpenTelemetry semantic conventions where they have one (`k8s.*`, `service.name`, `source.*`,
//! `destination.*`, `network.*`, `dns.*`). Within a version fields are only ever added; a reader passes over what it does not know.

pub mod cause;
pub mod dns;
pub mod flow;
pub mod lost;
pub mod reader;
#[cfg(test)]
mod tests;
pub mod timestamp;

use serde::{Deserialize, Serialize};

pub use self::cause::Cause;
pub use self::dns::{DnsRecord, DnsVerdict};
pub use self::flow::{Direction, FlowEvent, FlowRecord, Transport, Verdict};
pub use self::lost::{LostRecord, LostWhat, LostWhy};
pub use self::timestamp::Timestamp;

/// The version of the schema that is written.
pub const SCHEMA_VERSION: u32 = 1;

/// One line of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// When it was written.
    pub time: Timestamp,
    /// [`SCHEMA_VERSION`] of the writer.
    #[serde(rename = "schema.version")]
    pub schema_version: u32,
    /// Whose log it is.
    #[serde(flatten)]
    pub origin: Origin,
    /// What is told.
    #[serde(flatten)]
    pub record: Record,
}

/// What a line is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event.name")]
pub enum Record {
    /// Packets, permitted or not.
    #[serde(rename = "portreeve.flow")]
    Flow(FlowRecord),
    /// A question and its answer.
    #[serde(rename = "portreeve.dns")]
    Dns(DnsRecord),
    /// What could not be told.
    #[serde(rename = "portreeve.lost")]
    Lost(LostRecord),
}

/// The pod whose log it is, as far as it was told who it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Its Kubernetes namespace.
    #[serde(rename = "k8s.namespace.name", default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    #[serde(rename = "k8s.pod.name", default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The node it runs on.
    #[serde(rename = "k8s.node.name", default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Its service account.
    #[serde(rename = "k8s.serviceaccount.name", default, skip_serializing_if = "Option::is_none")]
    pub service_account: Option<String>,
    /// The app: the label app.kubernetes.io/name, else app.
    #[serde(rename = "service.name", default, skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// The label that the app's name is from.
    #[serde(rename = "service.name.label", default, skip_serializing_if = "Option::is_none")]
    pub app_label: Option<String>,
}
