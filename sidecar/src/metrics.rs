//! What is counted for Prometheus: every label has a bound, and none names the pod, the node or a user, so that thousands of pods stay affordable.

pub mod http;
pub mod labels;

use std::sync::Arc;

use prometheus::{Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

use self::labels::Bounded;
use crate::record::{Direction, DnsRecord, DnsVerdict, FlowEvent, FlowRecord, LostRecord, LostWhat, LostWhy, Record, Verdict};
use crate::status::Status;

/// Different names a pod has a label for; the others are counted as `other`.
pub const MOST_NAMES: usize = 50;
/// Different ports, the same way; rules come from the policy, which has fewer than that by itself or is cut here.
const MOST_PORTS: usize = 20;
const MOST_RULES: usize = 50;
/// Names of what was refused, and addresses without a name: an app chooses those, and they leave room for what the policy permits.
const MOST_STRANGERS: usize = 20;
/// Sets of names that share an address: those of content networks come and go with every answer, and leave room for single names.
const MOST_SHARED: usize = 15;
/// Different rows of flows, and of bytes (two series each): each label has its bound, their product would be thousands.
const MOST_FLOWS: usize = 150;
const MOST_VOLUMES: usize = 50;

/// What can be lost, and where.
const LOSSES: [(LostWhat, LostWhy); 10] = [
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
    ready: IntGauge,
    audit: IntGauge,
    leases: IntGauge,
    loads: IntGauge,
    load_failed: IntGauge,
    restored: IntGauge,
    withheld: IntGauge,
    raw_guard: IntGauge,
    upstream_up: IntGaugeVec,
    upstream_seconds: GaugeVec,
    uptime: Gauge,
    started: std::time::Instant,
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
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let made = IntGauge::new(name, help)?;
            registry.register(Box::new(made.clone()))?;
            Ok(made)
        };
        let buckets = vec![0.000_1, 0.000_5, 0.001, 0.005, 0.025, 0.1, 0.5, 2.5];
        let answered =
            HistogramOpts::new("portreeve_question_duration_seconds", "From a question to its answer; of the first of alike ones.");
        let answered = Histogram::with_opts(answered.buckets(buckets))?;
        registry.register(Box::new(answered.clone()))?;
        let upstream_up = IntGaugeVec::new(Opts::new("portreeve_upstream_up", "1 while the resolver answers."), &["upstream"])?;
        registry.register(Box::new(upstream_up.clone()))?;
        let seconds = Opts::new("portreeve_upstream_round_trip_seconds", "How long the resolver takes, smoothed.");
        let upstream_seconds = GaugeVec::new(seconds, &["upstream"])?;
        registry.register(Box::new(upstream_seconds.clone()))?;
        let uptime = Gauge::new("portreeve_worker_uptime_seconds", "Since the worker started; small again after a crash.")?;
        registry.register(Box::new(uptime.clone()))?;
        let flow = ["direction", "verdict", "name", "policy", "rule", "protocol", "port", "cause"];
        let inner = Inner {
            names: Bounded::new(MOST_NAMES),
            strangers: Bounded::new(MOST_STRANGERS),
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
            ready: gauge("portreeve_ready", "1 while the ruleset stands and the resolver answers by the policy.")?,
            audit: gauge("portreeve_audit", "1 while every policy says audit: nothing is held.")?,
            leases: gauge("portreeve_leases", "Addresses that are open by lease.")?,
            loads: gauge("portreeve_policy_loads", "Policies put in force since the worker started.")?,
            load_failed: gauge("portreeve_policy_load_failed", "1 while a changed policy could not be loaded: the one before stays.")?,
            restored: gauge("portreeve_table_restored", "How often the table had vanished and was put back.")?,
            withheld: gauge("portreeve_answers_withheld", "Answers that the kernel did not take, since the worker started.")?,
            raw_guard: gauge("portreeve_raw_guard", "1 while raw frames are held.")?,
            answered,
            upstream_up,
            upstream_seconds,
            uptime,
            started: std::time::Instant::now(),
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
        let port = inner.ports.label(&flow.destination_port.map(|port| port.to_string()).unwrap_or_default());
        let protocol = match flow.transport {
            crate::record::Transport::Other(_) => "other".to_owned(),
            known => known.to_string(),
        };
        if flow.event == FlowEvent::Ended {
            let row = [direction, &name, &protocol, &port];
            let row = if inner.byte_rows.has_room(&row.join("\n")) { row } else { [direction, "other", "other", "other"] };
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
        let other = [direction, verdict, "other", "other", "other", "other", "other", cause];
        let row = if inner.flow_rows.has_room(&row.join("\n")) { row } else { other };
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
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        inner.ready.set(status.ready.into());
        inner.audit.set((status.mode == "audit").into());
        inner.leases.set(i64::try_from(status.leases).unwrap_or(i64::MAX));
        inner.loads.set(number(status.loads));
        inner.load_failed.set(load_failed.into());
        inner.restored.set(number(status.table_restored));
        inner.withheld.set(number(status.queries.withheld));
        inner.raw_guard.set(status.raw_guard.into());
        inner.uptime.set(inner.started.elapsed().as_secs_f64());
        inner.upstream_up.reset();
        inner.upstream_seconds.reset();
        // resolv.conf has three at the most that anybody asks.
        for upstream in status.upstreams.iter().take(8) {
            inner.upstream_up.with_label_values(&[&upstream.address]).set(upstream.answers.into());
            if let Some(micros) = upstream.round_trip_us {
                #[expect(clippy::cast_precision_loss, reason = "microseconds of a round trip are few")]
                inner.upstream_seconds.with_label_values(&[&upstream.address]).set(micros as f64 / 1_000_000.0);
            }
        }
        let mut text = Vec::new();
        TextEncoder::new().encode(&inner.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

#[cfg(test)]
mod tests;
