//! What the worker knows about itself, gathered when somebody asks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use dnsproxy::Handle;
use policies::{Mode, Policy};
use tokio::sync::watch;

use crate::cli::FlowLogArg;
use crate::fence::{Fence, FenceView};
use crate::keeper::Keeper;
use crate::loader::Loaded;
use crate::status::{Conditions, LastError, PolicyFileStatus, Queries, Status, UpstreamStatus};

/// What the loads left behind.
#[derive(Debug, Clone, Default)]
struct Loads {
    files: Vec<PolicyFileStatus>,
    /// Why no policy was ever loaded.
    broken: Option<String>,
    last_error: Option<LastError>,
}

/// Cheap to clone; all clones speak of the same worker.
#[derive(Debug, Clone)]
pub struct Report {
    policy: Arc<ArcSwap<Policy>>,
    keeper: Keeper,
    proxy: Handle<Fence>,
    loads: watch::Sender<Loads>,
    tested: watch::Receiver<Result<(), String>>,
    given: Given,
    started: (SystemTime, Instant),
}

/// What the worker was told to do, for `doctor` to look at.
#[derive(Debug, Clone)]
pub struct Given {
    /// Where the metrics are served.
    pub metrics: Option<SocketAddr>,
    /// Where the log of flows goes.
    pub flow_log: FlowLogArg,
    /// Whether flows are heard of.
    pub flows_heard: bool,
}

/// Warnings of the policy that are told.
const WARNINGS: usize = 20;

impl Report {
    /// The report, and where the self-test says how it went.
    pub fn new(
        policy: Arc<ArcSwap<Policy>>,
        keeper: Keeper,
        proxy: Handle<Fence>,
        given: Given,
    ) -> (Self, watch::Sender<Result<(), String>>) {
        let (ready, tested) = watch::channel(Err("the resolver has not been tried yet".to_owned()));
        let (loads, started) = (watch::Sender::new(Loads::default()), (SystemTime::now(), Instant::now()));
        (Report { policy, keeper, proxy, loads, tested, given, started }, ready)
    }

    /// A policy is in force.
    pub fn set_loaded(&self, loaded: &Loaded) {
        self.loads.send_modify(|loads| {
            loads.files.clone_from(&loaded.files);
            loads.broken = None;
            loads.last_error = None;
        });
    }

    /// No policy was loaded at the start.
    pub fn set_broken(&self, error: String) {
        self.loads.send_modify(|loads| {
            loads.last_error = Some(now(error.clone()));
            loads.broken = Some(error);
        });
    }

    /// A changed policy was not taken.
    pub fn set_reload_error(&self, error: String) {
        self.loads.send_modify(|loads| {
            if loads.broken.is_some() {
                loads.broken = Some(error.clone());
            }
            loads.last_error = Some(now(error));
        });
    }

    /// The status of now.
    pub fn status(&self) -> Status {
        let (loads, view, stats, policy) = (self.loads.borrow(), self.keeper.view(), self.proxy.stats(), self.policy.load());
        let untested = self.tested.borrow().clone().err();
        let not_ready_because = loads.broken.clone().or(untested);
        let newest = [&loads.last_error, &view.last_error].into_iter().flatten().max_by_key(|error| error.at).cloned();
        Status {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ready: not_ready_because.is_none(),
            not_ready_because,
            mode: match policy.mode() {
                Mode::Enforce => "enforce".to_owned(),
                Mode::Audit => "audit".to_owned(),
            },
            generation: format!("{:016x}", policy.generation()),
            policies: loads.files.clone(),
            rules: policy.openings().len(),
            leases: view.leases,
            upstreams: self
                .proxy
                .upstreams()
                .iter()
                .map(|upstream| UpstreamStatus {
                    address: upstream.address.to_string(),
                    answers: upstream.is_up(),
                    round_trip_us: upstream.round_trip.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
                })
                .collect(),
            loads: view.loads,
            table_restored: view.table_restored,
            renewals: view.renewals,
            raw_guard: view.raw_guard,
            queries: Queries {
                received: stats.queries,
                refused: stats.refused,
                over_budget: stats.over_budget,
                search_steps: stats.search_steps,
                cached: stats.cached,
                stale: stats.stale,
                coalesced: stats.coalesced,
                servfail: stats.servfail,
                dropped: stats.dropped_over_limit,
                withheld: stats.gate_failures,
            },
            last_error: newest,
            conditions: Some(self.conditions(&view, &policy)),
        }
    }

    fn conditions(&self, view: &FenceView, policy: &Policy) -> Conditions {
        let (then, begun) = self.started;
        // The monotonic clock goes on by itself: what the other one differs by was set.
        let gone = i64::try_from(begun.elapsed().as_secs()).unwrap_or(i64::MAX);
        let seconds = |span: std::time::Duration| i64::try_from(span.as_secs()).unwrap_or(i64::MAX);
        let by_clock = SystemTime::now().duration_since(then).map_or_else(|before| -seconds(before.duration()), seconds);
        let flow_log = clap::ValueEnum::to_possible_value(&self.given.flow_log).map(|value| value.get_name().to_owned());
        let warnings = policy.warnings().iter().take(WARNINGS);
        Conditions {
            metrics: self.given.metrics.map(|address| address.to_string()),
            flow_log: flow_log.unwrap_or_default(),
            flows_heard: self.given.flows_heard,
            table_owned: !view.missing.contains(&nft::Missing::Ownership),
            conntrack_timeout: !view.missing.contains(&nft::Missing::ConntrackTimeout),
            clock_stepped_seconds: by_clock - gone,
            warnings: warnings.map(|warning| format!("{}:{}: {}", warning.path(), warning.line(), warning.message())).collect(),
        }
    }

    /// Whether the last load of the policy failed. (The status's last error may be the kernel's as well, and that one stays.)
    pub fn load_failed(&self) -> bool {
        self.loads.borrow().last_error.is_some()
    }

    /// The policy in force.
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// The status as the control socket sends it.
    pub fn json(&self) -> String {
        serde_json::to_string(&self.status()).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
    }
}

fn now(what: String) -> LastError {
    LastError { at: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(), what }
}
