//! What is counted for Prometheus: every label has a bound, and none names the pod, the node or a user, so that thousands of pods stay affordable.

pub mod http;
pub mod labels;
mod places;
mod standing;

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{Encoder, Histogram, HistogramOpts, IntCounterVec, Opts, Registry, TextEncoder};

use self::labels::{Bounded, OTHER};
use self::standing::Standing;
use crate::record::{Direction, DnsRecord, DnsVerdict, FlowEvent, FlowRecord, LostRecord, LostWhat, LostWhy, Record, Verdict};
use crate::status::Status;

/// Different names a pod has a label for; the others are counted as `other`.
pub const MOST_NAMES: usize = 50;
/// Different ports, the same way; rules come from the policy, which has fewer than that by itself or is cut here.
const MOST_PORTS: usize = 20;
const MOST_RULES: usize = 50;
/// Names of what was refused, and addresses without a name: an app chooses those, and they leave room for what the policy permits.
const MOST_STRANGERS: usize = 20;
/// Ports, rows of flows and rows of bytes of the same, and of flows that came in: who scans chooses those.
const MOST_STRANGE_PORTS: usize = 8;
const MOST_STRANGE_FLOWS: usize = 75;
const MOST_STRANGE_VOLUMES: usize = 20;
/// Names that were asked for and refused, with reason and verdict: an app chooses those too.
const MOST_REFUSED: usize = 20;
/// Sets of names that share an address: those of content networks come and go with every answer, and leave room for single names.
const MOST_SHARED: usize = 15;
/// Different rows of flows, and of bytes (two series each): each label has its bound, their product would be thousands.
const MOST_FLOWS: usize = 150;
const MOST_VOLUMES: usize = 50;

/// What can be lost, and where.
const LOSSES: [(LostWhat, LostWhy); 12] = [
    (LostWhat::ForgedPackets, LostWhy::NeverTold),
    (LostWhat::RawFrames, LostWhy::NeverTold),
    (LostWhat::RefusedPackets, LostWhy::OverLimit),
    (LostWhat::RefusedPackets, LostWhy::NotReadInTime),
    (LostWhat::RefusedPackets, LostWhy::QueueFull),
    (LostWhat::FirstPackets, LostWhy::OverLimit),
    (LostWhat::FirstPackets, LostWhy::NotReadInTime),
    (LostWhat::FirstPackets, LostWhy::QueueFull),
    (LostWhat::EndedFlows, LostWhy::NotReadInTime),
    (LostWhat::EndedFlows, LostWhy::QueueFull),
    (LostWhat::Questions, LostWhy::QueueFull),
    (LostWhat::Records, LostWhy::NotWritten),
];

/// Cheap to clone; all clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    registry: Registry,
    names: Bounded,
    strangers: Bounded,
    strange_ports: Bounded,
    strange_flows: Bounded,
    strange_volumes: Bounded,
    shared: Bounded,
    flow_rows: Bounded,
    byte_rows: Bounded,
    ports: Bounded,
    rules: Bounded,
    flows: IntCounterVec,
    bytes: IntCounterVec,
    questions: IntCounterVec,
    answered: Histogram,
    lost: IntCounterVec,
    refused_names: IntCounterVec,
    refused: Bounded,
    /// Held while the text is made: what it is made of is reset in between.
    standing: Mutex<Standing>,
}

impl Metrics {
    /// Nothing counted yet.
    ///
    /// # Errors
    /// A metric's name or label is not one that Prometheus takes: a fault of this file.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
            let made = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(made.clone()))?;
            Ok(made)
        };
        let buckets = vec![0.000_1, 0.000_5, 0.001, 0.005, 0.025, 0.1, 0.5, 2.5];
        let answered =
            HistogramOpts::new("portreeve_question_duration_seconds", "From a question to its answer; of the first of alike ones.");
        let answered = Histogram::with_opts(answered.buckets(buckets))?;
        registry.register(Box::new(answered.clone()))?;
        let flow = ["direction", "verdict", "name", "policy", "rule", "protocol", "port", "cause"];
        let inner = Inner {
            names: Bounded::new(MOST_NAMES),
            strangers: Bounded::new(MOST_STRANGERS),
            strange_ports: Bounded::new(MOST_STRANGE_PORTS),
            strange_flows: Bounded::new(MOST_STRANGE_FLOWS),
            strange_volumes: Bounded::new(MOST_STRANGE_VOLUMES),
            shared: Bounded::new(MOST_SHARED),
            flow_rows: Bounded::new(MOST_FLOWS),
            byte_rows: Bounded::new(MOST_VOLUMES),
            ports: Bounded::new(MOST_PORTS),
            rules: Bounded::new(MOST_RULES),
            flows: counters("portreeve_flows_total", "Flows that began or were refused, by the name they were opened for.", &flow)?,
            bytes: counters(
                "portreeve_flow_bytes_total",
                "Bytes of ended flows, IP headers included, seen from the pod.",
                &["direction", "name", "protocol", "port", "way"],
            )?,
            questions: counters("portreeve_questions_total", "Questions answered.", &["verdict", "rcode", "source"])?,
            lost: counters("portreeve_lost_total", "What could not be told.", &["what", "why"])?,
            refused_names: counters(
                "portreeve_refused_names_total",
                "Questions that the policy refuses, or would, by name and reason.",
                &["name", "verdict", "reason"],
            )?,
            refused: Bounded::new(MOST_REFUSED),
            standing: Mutex::new(Standing::new(&registry)?),
            answered,
            registry: registry.clone(),
        };
        // From the start, at 0: `increase()` does not see a counter that comes into being with its first loss.
        for (what, why) in LOSSES {
            inner.lost.with_label_values(&[labels::kebab(&what), labels::kebab(&why)]);
        }
        Ok(Metrics { inner: Arc::new(inner) })
    }

    /// Counts a record; of a folded one its number.
    pub fn record(&self, record: &Record) {
        match record {
            Record::Flow(flow) => self.flow(flow),
            Record::Dns(dns) => self.question(dns),
            Record::Lost(LostRecord { what, why, count }) => {
                self.inner.lost.with_label_values(&[labels::kebab(what), labels::kebab(why)]).inc_by(*count);
            }
        }
    }

    fn flow(&self, flow: &FlowRecord) {
        let inner = &self.inner;
        let direction = if flow.direction == Direction::Inbound { "inbound" } else { "outbound" };
        // Of a shared address: all that it may have been, counted once. Without a name, an address that the pod dialled stands in its place.
        let name = match (flow.names.is_empty(), flow.direction) {
            (false, _) => labels::names(&flow.names),
            (true, Direction::Outbound) => flow.destination.to_string(),
            (true, Direction::Inbound) => String::new(),
        };
        let chosen_by_app = flow.names.is_empty() || flow.verdict != Verdict::Permitted;
        let name = match (chosen_by_app, flow.names.len()) {
            (true, _) => inner.strangers.label(&name),
            (false, 0 | 1) => name,
            (false, _) => inner.shared.label(&name),
        };
        let name = inner.names.label(&name);
        let port = flow.destination_port.map(|port| port.to_string()).unwrap_or_default();
        let port = inner.ports.label(&if chosen_by_app { inner.strange_ports.label(&port) } else { port });
        let has_room = |strange: &Bounded, all: &Bounded, row: &str| (!chosen_by_app || strange.has_room(row)) && all.has_room(row);
        let protocol = match flow.transport {
            crate::record::Transport::Other(_) => "other".to_owned(),
            known => known.to_string(),
        };
        if flow.event == FlowEvent::Ended {
            let row = [direction, &name, &protocol, &port];
            let row =
                if has_room(&inner.strange_volumes, &inner.byte_rows, &row.join("\n")) { row } else { [direction, OTHER, OTHER, OTHER] };
            let [direction, name, protocol, port] = row;
            for (way, bytes) in [("sent", flow.bytes_sent), ("received", flow.bytes_received)] {
                inner.bytes.with_label_values(&[direction, name, protocol, port, way]).inc_by(bytes.unwrap_or_default());
            }
            return;
        }
        let verdict = match flow.verdict {
            Verdict::Permitted => "permitted",
            Verdict::Refused => "refused",
            Verdict::WouldDeny => "would-deny",
        };
        let policy = inner.rules.label(flow.policy.as_deref().unwrap_or_default());
        let rule = inner.rules.label(flow.rule.as_deref().unwrap_or_default());
        let cause = flow.cause.as_ref().map_or("", |cause| cause.name());
        let row = [direction, verdict, &name, &policy, &rule, &protocol, &port, cause];
        let other = [direction, verdict, OTHER, OTHER, OTHER, OTHER, OTHER, cause];
        let row = if has_room(&inner.strange_flows, &inner.flow_rows, &row.join("\n")) { row } else { other };
        inner.flows.with_label_values(&row).inc_by(flow.count);
    }

    fn question(&self, dns: &DnsRecord) {
        let verdict = match dns.verdict {
            DnsVerdict::Permitted => "permitted",
            DnsVerdict::Refused => "refused",
            DnsVerdict::WouldDeny => "would-deny",
            DnsVerdict::Failed => "failed",
        };
        self.inner.questions.with_label_values(&[verdict, &dns.rcode, &dns.source]).inc_by(dns.count);
        if matches!(dns.verdict, DnsVerdict::Refused | DnsVerdict::WouldDeny) {
            let reason = dns.reason.as_deref().unwrap_or_default();
            let known = dns.name.len() <= labels::MOST_BYTES && self.inner.refused.has_room(&[&dns.name, verdict, reason].join("\n"));
            let name = if known { &dns.name } else { OTHER };
            self.inner.refused_names.with_label_values(&[name, verdict, reason]).inc_by(dns.count);
        }
        if dns.count == 1 {
            #[expect(clippy::cast_precision_loss, reason = "microseconds of a question are few")]
            self.inner.answered.observe(dns.duration_us as f64 / 1_000_000.0);
        }
    }

    /// The exposition, with the gauges as `status` has them, and whether the last load of the policy failed.
    ///
    /// # Errors
    /// The encoder's.
    pub fn text(&self, status: &Status, load_failed: bool) -> Result<String, prometheus::Error> {
        let inner = &self.inner;
        let standing = inner.standing.lock().unwrap_or_else(PoisonError::into_inner);
        standing.take(status, load_failed);
        let mut text = Vec::new();
        TextEncoder::new().encode(&inner.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

#[cfg(test)]
mod tests;
