//! What the sidecar knows of itself, brought into metrics when somebody asks for them.

use prometheus::core::Collector;
use prometheus::{Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::status::Status;

/// Resolvers that are told of; resolv.conf has three at the most that anybody asks.
const MOST_UPSTREAMS: usize = 8;

/// Gauges, and counters whose counting is done elsewhere.
#[derive(Debug)]
pub(super) struct Standing {
    ready: IntGauge,
    audit: IntGauge,
    leases: IntGauge,
    loads: IntCounter,
    load_failed: IntGauge,
    restored: IntCounter,
    withheld: IntCounter,
    dropped: IntCounter,
    over_budget: IntCounter,
    renewals: IntCounterVec,
    waiting: IntGauge,
    raw_guard: IntGauge,
    policy: IntGaugeVec,
    upstream_up: IntGaugeVec,
    upstream_seconds: GaugeVec,
    uptime: Gauge,
    started: std::time::Instant,
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, made: C) -> Result<C, prometheus::Error> {
    registry.register(Box::new(made.clone()))?;
    Ok(made)
}

impl Standing {
    /// All of them, in the registry.
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| register(registry, IntGauge::new(name, help)?);
        let counter = |name: &str, help: &str| register(registry, IntCounter::new(name, help)?);
        let gauges = |name: &str, help: &str, label: &str| register(registry, IntGaugeVec::new(Opts::new(name, help), &[label])?);
        let seconds = Opts::new("portreeve_upstream_round_trip_seconds", "How long the resolver takes, smoothed.");
        let renewals = Opts::new(
            "portreeve_renewals_total",
            "What was done for addresses in use: names asked again, leases kept beyond their answer, names asked again after a refusal.",
        );
        gauges("portreeve_build_info", "1; the version of the binary is its label.", "version")?
            .with_label_values(&[env!("CARGO_PKG_VERSION")])
            .set(1);
        Ok(Standing {
            ready: gauge("portreeve_ready", "1 while the ruleset stands and the resolver answers by the policy.")?,
            audit: gauge("portreeve_audit", "1 while every policy says audit: nothing is held.")?,
            leases: gauge("portreeve_leases", "Addresses that are open by lease.")?,
            loads: counter("portreeve_policy_loads_total", "Policies put in force.")?,
            load_failed: gauge("portreeve_policy_load_failed", "1 while a changed policy could not be loaded: the one before stays.")?,
            restored: counter("portreeve_table_restored_total", "How often the table had vanished and was put back.")?,
            withheld: counter("portreeve_answers_withheld_total", "Answers whose leases the kernel did not take.")?,
            dropped: counter("portreeve_questions_dropped_total", "Questions dropped because too many were under way.")?,
            over_budget: counter("portreeve_over_budget_total", "Questions refused because the budget of their wildcard was used up.")?,
            renewals: register(registry, IntCounterVec::new(renewals, &["what"])?)?,
            waiting: gauge("portreeve_renewals_waiting", "Names that wait to be asked again.")?,
            raw_guard: gauge("portreeve_raw_guard", "1 while raw frames are held.")?,
            policy: gauges("portreeve_policy_info", "1; the fingerprint of the policy in force is its label.", "generation")?,
            upstream_up: gauges("portreeve_upstream_up", "1 while the resolver answers.", "upstream")?,
            upstream_seconds: register(registry, GaugeVec::new(seconds, &["upstream"])?)?,
            uptime: register(
                registry,
                Gauge::new("portreeve_worker_uptime_seconds", "Since the worker started; small again after a crash.")?,
            )?,
            started: std::time::Instant::now(),
        })
    }

    /// Takes in how the sidecar is. One at a time: counters are brought up to where they are known to be.
    pub(super) fn take(&self, status: &Status, load_failed: bool) {
        let up_to = |counter: &IntCounter, total: u64| counter.inc_by(total.saturating_sub(counter.get()));
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.ready.set(status.ready.into());
        self.audit.set((status.mode == "audit").into());
        self.leases.set(number(status.leases));
        up_to(&self.loads, status.loads);
        self.load_failed.set(load_failed.into());
        up_to(&self.restored, status.table_restored);
        up_to(&self.withheld, status.queries.withheld);
        up_to(&self.dropped, status.queries.dropped);
        up_to(&self.over_budget, status.queries.over_budget);
        let renewals = status.renewals;
        for (what, total) in [("asked", renewals.asked), ("kept", renewals.kept), ("asked-after-refusal", renewals.ended_looked_up)] {
            up_to(&self.renewals.with_label_values(&[what]), total);
        }
        self.waiting.set(number(renewals.waiting));
        self.raw_guard.set(status.raw_guard.into());
        self.uptime.set(self.started.elapsed().as_secs_f64());
        // What is no more is told no more.
        self.policy.reset();
        self.policy.with_label_values(&[&status.generation]).set(1);
        self.upstream_up.reset();
        self.upstream_seconds.reset();
        for upstream in status.upstreams.iter().take(MOST_UPSTREAMS) {
            self.upstream_up.with_label_values(&[&upstream.address]).set(upstream.answers.into());
            if let Some(micros) = upstream.round_trip_us {
                #[expect(clippy::cast_precision_loss, reason = "microseconds of a round trip are few")]
                self.upstream_seconds.with_label_values(&[&upstream.address]).set(micros as f64 / 1_000_000.0);
            }
        }
    }
}
