//! The graph behind the map: flows of many pods' logs, gathered by workload, target, port and verdict.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::PathBuf;

use serde::Serialize;

use crate::exit::Failure;
use crate::policycmd::seen::Workload;
use crate::record::reader::{self, Passed};
use crate::record::{Direction, FlowEvent, FlowRecord, Record, Timestamp, Verdict};

/// The most edges; more would be read by nobody. What is beyond is counted.
const MOST: usize = 100_000;

/// The graph; its form in JSON is version 1, to which fields are only ever added.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Graph {
    /// 1.
    pub version: u32,
    /// Workloads, names and addresses, sorted.
    pub nodes: Vec<Node>,
    /// Who uses what.
    pub edges: Vec<Edge>,
    /// Flows that the logs say were lost, and those there was no room for.
    pub lost: u64,
    /// What was read.
    #[serde(skip)]
    pub passed: Passed,
}

/// An end of edges.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Node {
    /// What edges name it by.
    pub id: String,
    /// `workload`, `name` or `address`.
    pub kind: &'static str,
    /// For people.
    pub label: String,
    /// Of a workload.
    pub namespace: String,
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
    /// Bytes of those that have ended, from who began them.
    pub bytes_sent: u64,
    /// Bytes to them.
    pub bytes_received: u64,
    /// The rules that permit them.
    pub rules: BTreeSet<String>,
    /// Why they were refused.
    pub causes: BTreeSet<String>,
    /// The first.
    pub first: Option<Timestamp>,
    /// The last.
    pub last: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    workload: Workload,
    inbound: bool,
    /// The pod's own address, of inbound flows: an app has several pods.
    own: Option<IpAddr>,
    /// The other end: of outbound flows where they go, of inbound ones where they come from.
    names: Vec<String>,
    other: IpAddr,
    port: u16,
    transport: String,
    verdict: u8,
}

const VERDICTS: [&str; 3] = ["permitted", "refused", "would-deny"];

impl Graph {
    /// Reads the logs.
    pub fn read(paths: &[PathBuf]) -> Result<Self, Failure> {
        let mut gathered: BTreeMap<Key, Edge> = BTreeMap::new();
        let mut pods: HashMap<IpAddr, Workload> = HashMap::new();
        let mut graph = Graph { version: 1, ..Graph::default() };
        let passed = reader::each(paths, |line| match line.record {
            Record::Flow(flow) => {
                let workload = Workload { namespace: line.origin.namespace.unwrap_or_default(), app: line.origin.app.unwrap_or_default() };
                let own = if flow.direction == Direction::Inbound { flow.destination } else { flow.source };
                if pods.len() < MOST {
                    pods.insert(own, workload.clone());
                }
                graph.lost += gather(&mut gathered, workload, &flow);
            }
            Record::Lost(lost) => graph.lost += lost.count,
            Record::Dns(_) => {}
        });
        graph.passed = passed.map_err(Failure::usage)?;
        graph.join(gathered, &pods);
        Ok(graph)
    }

    /// Two pods' logs tell of one flow: it becomes one edge, with both workloads at its ends.
    fn join(&mut self, gathered: BTreeMap<Key, Edge>, pods: &HashMap<IpAddr, Workload>) {
        let mut nodes: BTreeSet<Node> = BTreeSet::new();
        let mut edges: BTreeMap<(String, String, u16, String, &'static str), Edge> = BTreeMap::new();
        // What passed on the caller's side; what it was refused never came to the other.
        let passed = |key: &&Key| !key.inbound && VERDICTS.get(usize::from(key.verdict)) != Some(&"refused");
        let call = |key: &Key| (key.workload.clone(), key.other, key.port, key.transport.clone());
        let told: BTreeSet<(Workload, IpAddr, u16, String)> = gathered.keys().filter(passed).map(call).collect();
        for (key, edge) in gathered {
            let own = of_workload(&key.workload);
            let other = match pods.get(&key.other) {
                Some(workload) => of_workload(workload),
                None => of_target(&key.names, key.other),
            };
            // The caller's own log has it, with its rule.
            if let (Some(own), Some(caller)) = (key.own, pods.get(&key.other))
                && told.contains(&(caller.clone(), own, key.port, key.transport.clone()))
            {
                continue;
            }
            let (from, to) = if key.inbound { (other, own) } else { (own, other) };
            let place = (from.id.clone(), to.id.clone(), key.port, key.transport.clone(), edge.verdict);
            let entry = edges.entry(place).or_insert_with(|| Edge {
                from: from.id.clone(),
                to: to.id.clone(),
                flows: 0,
                bytes_sent: 0,
                bytes_received: 0,
                first: None,
                last: None,
                ..edge.clone()
            });
            entry.flows += edge.flows;
            entry.bytes_sent += edge.bytes_sent;
            entry.bytes_received += edge.bytes_received;
            entry.rules.extend(edge.rules);
            entry.causes.extend(edge.causes);
            entry.first = entry.first.into_iter().chain(edge.first).min();
            entry.last = entry.last.into_iter().chain(edge.last).max();
            nodes.extend([from, to]);
        }
        self.nodes = nodes.into_iter().collect();
        self.edges = edges.into_values().collect();
    }
}

/// Takes a record in; how many flows there was no room for.
fn gather(gathered: &mut BTreeMap<Key, Edge>, workload: Workload, flow: &FlowRecord) -> u64 {
    let inbound = flow.direction == Direction::Inbound;
    let verdict = match flow.verdict {
        Verdict::Permitted => 0,
        Verdict::Refused => 1,
        Verdict::WouldDeny => 2,
    };
    let key = Key {
        workload,
        inbound,
        own: inbound.then_some(flow.destination),
        names: flow.names.clone(),
        other: if inbound { flow.source } else { flow.destination },
        port: flow.destination_port.unwrap_or(0),
        transport: flow.transport.to_string(),
        verdict,
    };
    let full = gathered.len() >= MOST;
    let ended = flow.event == FlowEvent::Ended;
    if full && !gathered.contains_key(&key) {
        return if ended { 0 } else { flow.count };
    }
    let (port, transport) = (key.port, key.transport.clone());
    let edge = gathered.entry(key).or_insert_with(|| Edge {
        from: String::new(),
        to: String::new(),
        port,
        transport,
        verdict: VERDICTS.get(usize::from(verdict)).copied().unwrap_or_default(),
        flows: 0,
        bytes_sent: 0,
        bytes_received: 0,
        rules: BTreeSet::new(),
        causes: BTreeSet::new(),
        first: None,
        last: None,
    });
    // Volumes are seen from the pod; on the map they are seen from who began.
    let (out, back) = (flow.bytes_sent.unwrap_or_default(), flow.bytes_received.unwrap_or_default());
    let (out, back) = if inbound { (back, out) } else { (out, back) };
    edge.bytes_sent += out;
    edge.bytes_received += back;
    if !ended {
        edge.flows += flow.count;
        edge.first = edge.first.into_iter().chain([flow.first]).min();
        edge.last = edge.last.into_iter().chain([flow.last]).max();
    }
    if let (Some(policy), Some(rule)) = (&flow.policy, &flow.rule) {
        edge.rules.insert(format!("{policy}.{rule}"));
    }
    edge.causes.extend(flow.cause.as_ref().map(crate::ask::flows::because));
    0
}

fn of_workload(workload: &Workload) -> Node {
    Node { id: format!("w:{workload}"), kind: "workload", label: workload.to_string(), namespace: workload.namespace.clone() }
}

/// Names that share an address stand together: which was meant is not known.
fn of_target(names: &[String], address: IpAddr) -> Node {
    let (kind, label) = match names.is_empty() {
        true => ("address", address.to_string()),
        false => ("name", names.join(" or ")),
    };
    Node { id: format!("t:{label}"), kind, label, namespace: String::new() }
}
