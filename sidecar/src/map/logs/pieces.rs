//! Alike flows of a stretch of time, gathered while logs are read; the stretches grow where logs are long, so that memory does not.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::map::graph::{add, verdict};
use crate::policycmd::seen::Workload;
use crate::record::{Direction, FlowEvent, FlowRecord, Timestamp};

/// The most pieces.
const MOST: usize = 300_000;
/// How long a stretch is at first, in milliseconds: longer than flows are folded for, shorter than an address takes to be another pod's.
const STRETCH: u64 = 10_000;
/// The longest, about a year: beyond it, what has no room is counted as lost.
const LONGEST: u64 = 1 << 35;

/// What alike flows have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) workload: Workload,
    pub(super) inbound: bool,
    /// The pod's own address, of inbound flows: an app has several pods.
    pub(super) own: Option<IpAddr>,
    /// The other end: of outbound flows where they go, of inbound ones where they come from.
    pub(super) names: Vec<String>,
    pub(super) other: IpAddr,
    pub(super) port: u16,
    pub(super) transport: String,
    pub(super) verdict: &'static str,
}

/// Alike flows of one stretch.
#[derive(Debug, Default)]
pub(super) struct Piece {
    /// When the first of the records was.
    pub(super) at: Timestamp,
    pub(super) flows: u64,
    pub(super) bytes_sent: Option<u64>,
    pub(super) bytes_received: Option<u64>,
    pub(super) rules: BTreeSet<String>,
    pub(super) causes: BTreeSet<String>,
    pub(super) first: Option<Timestamp>,
    pub(super) last: Option<Timestamp>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Pieces {
    all: BTreeMap<(Key, u64), Piece>,
    stretch: u64,
    most: usize,
}

impl Default for Pieces {
    fn default() -> Self {
        Pieces { all: BTreeMap::new(), stretch: STRETCH, most: MOST }
    }
}

impl Pieces {
    /// Takes a record in; how many flows there was no room for.
    pub(super) fn gather(&mut self, workload: Workload, flow: &FlowRecord) -> u64 {
        let inbound = flow.direction == Direction::Inbound;
        let ended = flow.event == FlowEvent::Ended;
        let key = Key {
            workload,
            inbound,
            own: inbound.then_some(flow.destination),
            names: flow.names.clone(),
            other: if inbound { flow.source } else { flow.destination },
            port: flow.destination_port.unwrap_or(0),
            transport: flow.transport.to_string(),
            verdict: verdict(flow.verdict),
        };
        // Volumes are seen from the pod; on the map they are seen from who began.
        let (out, back) = if inbound { (flow.bytes_received, flow.bytes_sent) } else { (flow.bytes_sent, flow.bytes_received) };
        // An end is told late, and the address may be another pod's by then: whose it was when the flow began counts.
        let lasted = flow.duration_ms.filter(|_| ended).map_or(0, |sum| sum / flow.count.max(1));
        let at = Timestamp::from_millis(flow.first.millis().saturating_sub(lasted));
        let mut piece = Piece { at, bytes_sent: out, bytes_received: back, ..Piece::default() };
        if !ended {
            (piece.flows, piece.first, piece.last) = (flow.count, Some(flow.first), Some(flow.last));
        }
        if let (Some(policy), Some(rule)) = (&flow.policy, &flow.rule) {
            piece.rules.insert(format!("{policy}.{rule}"));
        }
        piece.causes.extend(flow.cause.as_ref().map(crate::ask::flows::because));
        while self.all.len() >= self.most && !self.all.contains_key(&(key.clone(), at.millis() / self.stretch)) {
            if self.stretch >= LONGEST {
                return piece.flows;
            }
            self.stretch *= 2;
            for ((key, number), piece) in std::mem::take(&mut self.all) {
                self.put(key, number / 2, piece);
            }
        }
        self.put(key, at.millis() / self.stretch, piece);
        0
    }

    fn put(&mut self, key: Key, number: u64, piece: Piece) {
        let into = self.all.entry((key, number)).or_insert_with(|| Piece { at: piece.at, ..Piece::default() });
        into.at = into.at.min(piece.at);
        into.flows += piece.flows;
        add(&mut into.bytes_sent, piece.bytes_sent);
        add(&mut into.bytes_received, piece.bytes_received);
        into.rules.extend(piece.rules);
        into.causes.extend(piece.causes);
        into.first = into.first.into_iter().chain(piece.first).min();
        into.last = into.last.into_iter().chain(piece.last).max();
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &Piece)> {
        self.all.iter().map(|((key, _), piece)| (key, piece))
    }

    pub(super) fn into_iter(self) -> impl Iterator<Item = (Key, Piece)> {
        self.all.into_iter().map(|((key, _), piece)| (key, piece))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_logs_take_longer_stretches_and_lose_nothing() {
        let mut pieces = Pieces { most: 50, ..Pieces::default() };
        let line = |at: u64, port: u16| -> FlowRecord {
            serde_json::from_value(serde_json::json!({
                "flow.event": "began", "flow.verdict": "permitted", "flow.mode": "enforce", "flow.direction": "outbound", "flow.count": 2,
                "flow.first": Timestamp::from_millis(at), "flow.last": Timestamp::from_millis(at), "flow.names": ["api.example.com"],
                "network.transport": "tcp", "network.type": "ipv4", "source.address": "10.0.0.2", "destination.address": "198.51.100.7",
                "destination.port": port,
            }))
            .unwrap()
        };
        let lost: u64 = (0..2_000).map(|n| pieces.gather(Workload::default(), &line(n * 30_000, 443))).sum();
        assert_eq!((lost, pieces.iter().map(|(_, piece)| piece.flows).sum::<u64>()), (0, 4_000));
        assert!(pieces.all.len() <= 50 && pieces.all.len() > 20, "{}", pieces.all.len());
        // As many kinds as there is room for: one more is counted as lost.
        let lost: u64 = (1..=60).map(|port| pieces.gather(Workload::default(), &line(0, port))).sum();
        assert_eq!((lost, pieces.all.len()), (2 * 11, 50));
    }
}
