//! What flow logs show, gathered: one entry for each workload, names, address and port, however long the logs are.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::exit::Failure;
use crate::record::reader::{self, Passed};
use crate::record::{Cause, Direction, FlowEvent, FlowRecord, Record, Timestamp, Transport, Verdict};

/// The most entries: a log of an app that dials ever new addresses must not fill the memory of who reads it.
const MOST: usize = 200_000;

/// Whose flows they are.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Workload {
    /// The namespace; empty where it was not told.
    pub namespace: String,
    /// The app; empty where it was not told.
    pub app: String,
    /// The label that its name is from; empty where it was not told.
    pub label: String,
}

impl std::fmt::Display for Workload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let or = |text: &'_ str, other: &'static str| if text.is_empty() { other.to_owned() } else { text.to_owned() };
        write!(f, "{}/{}", or(&self.namespace, "(no namespace)"), or(&self.app, "(no app)"))
    }
}

/// What outbound flows have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Whose.
    pub workload: Workload,
    /// The names that leased the address; of a refused name, that one.
    pub names: Vec<String>,
    /// Where they went.
    pub address: IpAddr,
    /// The protocol, as the log writes it.
    pub transport: String,
    /// The port; 0 where there is none.
    pub port: u16,
    /// Whether they passed.
    pub passed: bool,
}

/// How often, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// How often.
    pub count: u64,
    /// The first.
    pub first: Timestamp,
    /// The last.
    pub last: Timestamp,
}

/// All that was seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// The flows.
    pub flows: BTreeMap<Target, Times>,
    /// Flows of whose entries there was no room.
    pub beyond: u64,
    /// What the log itself says it lost.
    pub lost: u64,
    /// What was read.
    pub passed: Passed,
}

impl Target {
    /// The protocol as a policy knows it.
    pub fn protocol(&self) -> Option<policies::Protocol> {
        Transport::from(self.transport.clone()).protocol()
    }
}

impl Seen {
    /// Reads the logs.
    pub fn read(paths: &[PathBuf]) -> Result<Self, Failure> {
        let mut seen = Seen::default();
        let passed = reader::each(paths, |line| match line.record {
            Record::Flow(flow) => {
                let workload = Workload {
                    namespace: line.origin.namespace.unwrap_or_default(),
                    app: line.origin.app.unwrap_or_default(),
                    label: line.origin.app_label.unwrap_or_default(),
                };
                seen.flow(workload, flow);
            }
            Record::Lost(lost) => seen.lost += lost.count,
            Record::Dns(_) => {}
        });
        seen.passed = passed.map_err(Failure::usage)?;
        Ok(seen)
    }

    fn flow(&mut self, workload: Workload, flow: FlowRecord) {
        // An end tells of the same flow as its beginning.
        if flow.direction == Direction::Inbound || flow.event == FlowEvent::Ended {
            return;
        }
        let mut names = flow.names;
        if let (true, Some(Cause::RefusedName { name, .. })) = (names.is_empty(), flow.cause) {
            names.push(name);
        }
        let target = Target {
            workload,
            names,
            address: flow.destination,
            transport: flow.transport.to_string(),
            port: flow.destination_port.unwrap_or(0),
            passed: flow.verdict != Verdict::Refused,
        };
        let room = self.flows.len() < MOST;
        match self.flows.get_mut(&target) {
            Some(times) => {
                times.count += flow.count;
                times.first = times.first.min(flow.first);
                times.last = times.last.max(flow.last);
            }
            None if room => {
                self.flows.insert(target, Times { count: flow.count, first: flow.first, last: flow.last });
            }
            None => self.beyond += flow.count,
        }
    }
}
