//! The graph out of many pods' flow logs: what two pods tell of one flow becomes one edge.

mod pieces;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;

use super::graph::{Draft, Graph, Node, Source};
use super::owners::Owners;
use crate::exit::Failure;
use crate::policycmd::seen::Workload;
use crate::record::reader::{self, Passed};
use crate::record::{Direction, Line, Record};
use pieces::Pieces;

/// Reads the logs: the graph, and what else was read.
pub fn read(paths: &[PathBuf]) -> Result<(Graph, Passed), Failure> {
    let (mut pieces, mut owners, mut lost) = (Pieces::default(), Owners::default(), 0);
    let passed = reader::each(paths, |line| {
        let Line { origin, record, .. } = line;
        match record {
            Record::Flow(flow) => {
                let workload =
                    Workload { namespace: origin.namespace.unwrap_or_default(), app: origin.app.unwrap_or_default(), label: String::new() };
                let own = if flow.direction == Direction::Inbound { flow.destination } else { flow.source };
                owners.note(own, &workload, origin.pod.as_deref(), flow.first, flow.last);
                lost += pieces.gather(workload, &flow);
            }
            Record::Lost(told) => lost += told.count,
            Record::Dns(_) => {}
        }
    });
    let passed = passed.map_err(Failure::usage)?;
    let (draft, beyond) = join(pieces, &owners);
    Ok((draft.finish(Source::Logs, lost + beyond), passed))
}

/// A call, however often: who called whom, at which of his addresses.
type Call = (Workload, Option<Workload>, IpAddr, u16, String);

/// The edges, and the flows that there was no room for.
fn join(pieces: Pieces, owners: &Owners) -> (Draft, u64) {
    // What passed on the caller's side; what it was refused never came to the other.
    let told: BTreeSet<Call> = pieces
        .iter()
        .filter(|(key, _)| !key.inbound && key.verdict != "refused")
        .map(|(key, piece)| {
            let called = owners.at(key.other, piece.at).cloned();
            (key.workload.clone(), called, key.other, key.port, key.transport.clone())
        })
        .collect();
    let (mut draft, mut beyond) = (Draft::default(), 0);
    for (key, piece) in pieces.into_iter() {
        let own = Node::workload(&key.workload);
        let other = owners.at(key.other, piece.at);
        // The caller's own log has it, with its rule.
        if let (Some(address), Some(caller)) = (key.own, other)
            && told.contains(&(caller.clone(), Some(key.workload.clone()), address, key.port, key.transport.clone()))
        {
            continue;
        }
        let other = match other {
            Some(workload) => Node::workload(workload),
            None if key.names.is_empty() => Node::nameless("address", key.other.to_string()),
            None => Node::names(&key.names),
        };
        let ends = if key.inbound { (other, own) } else { (own, other) };
        let Some(edge) = draft.edge(ends, key.port, &key.transport, key.verdict) else {
            beyond += piece.flows;
            continue;
        };
        edge.flows += piece.flows;
        edge.add_bytes(piece.bytes_sent, piece.bytes_received);
        edge.rules.extend(piece.rules);
        edge.causes.extend(piece.causes);
        edge.first = edge.first.into_iter().chain(piece.first).min();
        edge.last = edge.last.into_iter().chain(piece.last).max();
    }
    (draft, beyond)
}
