//! The graph behind the map: workloads, what they use, and how much, whatever it was learnt from.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::target;
use crate::policycmd::seen::Workload;
use crate::record::{Timestamp, Verdict};

/// The most edges; more would be read by nobody. What is beyond is counted.
pub const MOST: usize = 100_000;

/// The graph; its form in JSON is version 1, to which fields are only ever added.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Graph {
    /// 1.
    pub version: u32,
    /// What it was made of.
    pub source: Source,
    /// Workloads, names and addresses, sorted.
    pub nodes: Vec<Node>,
    /// Who uses what.
    pub edges: Vec<Edge>,
    /// Flows that the sidecars say were lost, and those there was no room for.
    pub lost: u64,
}

/// What a graph was made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Source {
    /// Flow logs.
    Logs,
    /// What Prometheus scraped.
    Prometheus {
        /// How far back, in seconds.
        span_seconds: u64,
    },
}

/// An end of edges.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Node {
    /// What edges name it by.
    pub id: String,
    /// `workload`, `name`, `address`, or `other`: what the metrics had no room to name.
    pub kind: &'static str,
    /// For people, short.
    pub label: String,
    /// Of a workload.
    pub namespace: String,
    /// Of a name: all that share the address, one of which was meant.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Of a name: the registrable domain (public suffix list), or the namespace of a Service; absent where several names differ in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
}

impl Node {
    /// A workload.
    pub fn workload(workload: &Workload) -> Self {
        let (id, label) = (format!("w:{workload}"), workload.to_string());
        Node { id, kind: "workload", label, namespace: workload.namespace.clone(), names: Vec::new(), domain: None }
    }

    /// What is used: names that share an address stand together, since which was meant is not known.
    pub fn names(names: &[String]) -> Self {
        let (id, label) = (format!("t:{}", names.join(" or ")), target::label(names));
        Node { id, kind: "name", label, namespace: String::new(), names: names.to_vec(), domain: target::domain(names) }
    }

    /// Something that has no name.
    pub fn nameless(kind: &'static str, label: String) -> Self {
        Node { id: format!("t:{label}"), kind, label, namespace: String::new(), names: Vec::new(), domain: None }
    }
}

/// Flows that are alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Edge {
    /// The node that began them.
    pub from: String,
    /// The node that they went to.
    pub to: String,
    /// The port; 0 where there is none.
    pub port: u16,
    /// The protocol.
    pub transport: String,
    /// `permitted`, `refused` or `would-deny`.
    pub verdict: &'static str,
    /// How many began or were refused.
    pub flows: u64,
    /// Bytes of those that have ended, from who began them; absent where that is not known: none has ended, or all were refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_sent: Option<u64>,
    /// Bytes to them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_received: Option<u64>,
    /// The rules that permit them.
    pub rules: BTreeSet<String>,
    /// Why they were refused.
    pub causes: BTreeSet<String>,
    /// The first; known from logs alone.
    pub first: Option<Timestamp>,
    /// The last.
    pub last: Option<Timestamp>,
}

impl Edge {
    /// Adds bytes; nothing known stays nothing known.
    pub fn add_bytes(&mut self, sent: Option<u64>, received: Option<u64>) {
        add(&mut self.bytes_sent, sent);
        add(&mut self.bytes_received, received);
    }
}

/// Adds up what is known.
pub fn add(sum: &mut Option<u64>, more: Option<u64>) {
    *sum = sum.map_or(more, |sum| Some(sum.saturating_add(more.unwrap_or(0))));
}

/// A verdict as the map writes it.
pub const fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Permitted => "permitted",
        Verdict::Refused => "refused",
        Verdict::WouldDeny => "would-deny",
    }
}

/// Where an edge stands: its ends, port, protocol and verdict.
type Place = (String, String, u16, String, &'static str);

/// A graph that comes into being.
#[derive(Debug, Default)]
pub struct Draft {
    nodes: BTreeSet<Node>,
    edges: BTreeMap<Place, Edge>,
}

impl Draft {
    /// The edge between these, a new one if there is none; `None` when there is no room for one more.
    pub fn edge(&mut self, ends: (Node, Node), port: u16, transport: &str, verdict: &'static str) -> Option<&mut Edge> {
        let (from, to) = ends;
        let place = (from.id.clone(), to.id.clone(), port, transport.to_owned(), verdict);
        if self.edges.len() >= MOST && !self.edges.contains_key(&place) {
            return None;
        }
        let edge = self.edges.entry(place).or_insert_with(|| Edge {
            from: from.id.clone(),
            to: to.id.clone(),
            port,
            transport: transport.to_owned(),
            verdict,
            flows: 0,
            bytes_sent: None,
            bytes_received: None,
            rules: BTreeSet::new(),
            causes: BTreeSet::new(),
            first: None,
            last: None,
        });
        self.nodes.extend([from, to]);
        Some(edge)
    }

    /// Whether there is an edge.
    pub fn has(&self, from: &Node, to: &Node, port: u16, transport: &str, verdict: &'static str) -> bool {
        self.edges.contains_key(&(from.id.clone(), to.id.clone(), port, transport.to_owned(), verdict))
    }

    /// The graph.
    pub fn finish(self, source: Source, lost: u64) -> Graph {
        Graph { version: 1, source, nodes: self.nodes.into_iter().collect(), edges: self.edges.into_values().collect(), lost }
    }
}
