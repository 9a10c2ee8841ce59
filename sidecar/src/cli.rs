//! The command line: what `portreeve` can be asked to do, every flag also as a `PORTREEVE_*` variable.

pub mod asking;
pub mod recorded;
pub mod upstream;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use self::asking::{DoctorArgs, ExplainRunningArgs, LeasesArgs, LinesArgs, RunningArgs};
pub use self::recorded::{DiffArgs, LearnArgs, MapArgs, MapFormat, ReplayArgs};
pub use self::upstream::Upstream;

/// Where the control socket is when nothing else is said.
pub const DEFAULT_CONTROL: &str = "/run/portreeve/control.sock";
/// Where policies are mounted when nothing else is said.
pub const DEFAULT_POLICIES: &str = "/etc/portreeve/policies";
/// The uid the worker goes to; no app of the pod may have it.
pub const DEFAULT_UID: u32 = 5453;

/// Holds what this pod may reach, by name.
#[derive(Debug, Parser)]
#[command(name = "portreeve", version, about = "Holds what this pod may reach, by name", max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Be the pod's resolver and hold its network namespace to the policy
    #[command(after_help = "Ready when the ruleset stands and the resolver answers: `portreeve status --ready`.\n\
        SIGTERM drains and ends it; the ruleset stays, so that nothing opens when it stops.")]
    Run(Box<RunArgs>),
    /// The process that `run` starts and restarts
    #[command(hide = true)]
    Worker(Box<RunArgs>),
    /// Ask the running sidecar how it is
    Status(StatusArgs),
    /// List the addresses that are open now, and for which names
    Leases(LeasesArgs),
    /// Show who the pod talked to, permitted or not, by name
    Flows(LinesArgs),
    /// Show what was asked of the resolver and what it answered
    Dns(LinesArgs),
    /// Say what the running sidecar does with HOST|IP[:PORT[/PROTO]] and why; exit 0 permitted, 1 refused
    Explain(ExplainRunningArgs),
    /// Look for what keeps the sidecar from its work, or apps from theirs; exit 1 if something is a problem
    Doctor(DoctorArgs),
    /// Draw which workloads use which names, permitted and refused, from flow logs or Prometheus
    Map(MapArgs),
    /// Check, test and explain policy files, without a running sidecar
    #[command(subcommand)]
    Policy(PolicyCommand),
}

/// What `run` takes.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// Directories whose *.toml files are the policies; watched, also through a ConfigMap's symlinks
    #[arg(long, value_name = "DIR", num_args = 1.., env = "PORTREEVE_POLICIES", value_delimiter = ',', default_value = DEFAULT_POLICIES)]
    pub policies: Vec<PathBuf>,
    /// The resolver to ask, several for fail-over [default: the nameservers of resolv.conf]
    #[arg(long, value_name = "IP[:PORT]", env = "PORTREEVE_UPSTREAM", value_delimiter = ',')]
    pub upstream: Vec<Upstream>,
    /// Where to answer; an IPv4 loopback address brings its [::1] twin
    #[arg(long, value_name = "IP:PORT", env = "PORTREEVE_LISTEN", default_value = "127.0.0.1:5453")]
    pub listen: SocketAddr,
    /// The pod's namespace, for policies that select by it
    #[arg(long, value_name = "NS", env = "PORTREEVE_NAMESPACE")]
    pub namespace: Option<String>,
    /// The pod's labels as the downward API writes them (key="value", one a line)
    #[arg(long, value_name = "FILE", env = "PORTREEVE_LABELS")]
    pub labels: Option<PathBuf>,
    /// The pod's name, for logs
    #[arg(long, value_name = "NAME", env = "PORTREEVE_POD")]
    pub pod: Option<String>,
    /// The node's name, for logs
    #[arg(long, value_name = "NAME", env = "PORTREEVE_NODE")]
    pub node: Option<String>,
    /// The pod's service account, for logs
    #[arg(long, value_name = "NAME", env = "PORTREEVE_SERVICE_ACCOUNT")]
    pub service_account: Option<String>,
    /// Serve /metrics, /readyz and /livez over HTTP there [default: not at all]
    #[arg(long, value_name = "IP:PORT", env = "PORTREEVE_METRICS", value_parser = crate::metrics::http::address)]
    pub metrics: Option<SocketAddr>,
    /// Where the log of flows and questions goes
    #[arg(long, value_name = "WHERE", env = "PORTREEVE_FLOW_LOG", default_value = "stdout")]
    pub flow_log: FlowLogArg,
    /// Where the pod's resolvers and search domains are read from
    #[arg(long, value_name = "FILE", env = "PORTREEVE_RESOLV_CONF", default_value = "/etc/resolv.conf")]
    pub resolv_conf: PathBuf,
    /// Keep there what resolv.conf says at the first start, and go by that alone: for pods whose apps could write the file [default:
    /// resolv.conf is followed]
    #[arg(long, value_name = "FILE", env = "PORTREEVE_KEPT_RESOLV_CONF")]
    pub kept_resolv_conf: Option<PathBuf>,
    /// The control socket; its directory must exist
    #[arg(long, value_name = "PATH", env = "PORTREEVE_CONTROL", default_value = DEFAULT_CONTROL)]
    pub control: PathBuf,
    /// The uid to run as once the ruleset stands; the pod's apps must not have it
    #[arg(long, value_name = "UID", env = "PORTREEVE_UID", default_value_t = DEFAULT_UID, value_parser = uid)]
    pub uid: u32,
    /// What to do on a kernel that cannot stop raw frames (no netdev egress hook: before Linux 5.16)
    #[arg(long, value_name = "MODE", env = "PORTREEVE_RAW_GUARD", default_value = "prefer")]
    pub raw_guard: RawGuardArg,
    /// How much to log
    #[arg(long, value_name = "LEVEL", env = "PORTREEVE_LOG", default_value = "info")]
    pub log: LogLevel,
}

/// Where the log of flows and questions goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum FlowLogArg {
    /// To stdout, one JSON object a line
    Stdout,
    /// Nowhere: the command line and the metrics still know
    None,
    /// Nothing is read from the kernel at all
    Off,
}

/// The raw guard's modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum RawGuardArg {
    /// Do not start without it
    Require,
    /// Say so and go on without it
    Prefer,
    /// Do not install it
    Off,
}

/// The levels of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogLevel {
    /// What stopped working
    Error,
    /// What needs a look
    Warn,
    /// What changed
    Info,
    /// Each question and its answer
    Debug,
}

/// What `status` takes.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Exit 0 only when the sidecar is ready, 1 while it is not
    #[arg(long)]
    pub ready: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The control socket of the sidecar
    #[arg(long, value_name = "PATH", env = "PORTREEVE_CONTROL", default_value = DEFAULT_CONTROL)]
    pub control: PathBuf,
}

/// The highest number is no uid: setresuid(2) takes it for "leave it as it is".
fn uid(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(u32::MAX) | Err(_) => Err(format!("not a uid, which is a number from 0 to {}", u32::MAX - 1)),
        Ok(uid) => Ok(uid),
    }
}

/// Commands on policy files.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Say every problem of the files, under its line; exit 2 if there is an error
    Check(CheckArgs),
    /// Run the [[expect]] tests of the files; exit 1 if one fails
    Test(TestArgs),
    /// Say what a policy does with HOST[:PORT[/PROTO]] and why; exit 0 permitted, 1 refused
    Explain(ExplainArgs),
    /// List what `use = [...]` can name
    Presets(PresetsArgs),
    /// Say what a change of policy changes in meaning, not in text; exit 1 if anything
    Diff(DiffArgs),
    /// Write the least policy that permits what flow logs show to have passed
    Learn(LearnArgs),
    /// Try a policy against recorded flows: which would it newly refuse or permit; exit 1 if it refuses one that passed
    Replay(ReplayArgs),
}

/// The pod that is judged for; without both, one that each file selects (`check`) or that the first does (`explain`).
#[derive(Debug, Args)]
pub struct PodArgs {
    /// Only the files that select a pod of this namespace [default: a pod that the file selects]
    #[arg(long, value_name = "NS")]
    pub namespace: Option<String>,
    /// A label of that pod; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    pub label: Vec<String>,
}

/// What `policy test` takes.
#[derive(Debug, Args)]
pub struct TestArgs {
    /// Policy files, or directories of them; each file is tested for a pod that it selects
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What `policy check` takes.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Policy files, or directories of them
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// For which pod.
    #[command(flatten)]
    pub pod: PodArgs,
}

/// What `policy explain` takes.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Policy files or directories, then HOST[:PORT[/PROTO]] ([IPV6]:PORT for an IPv6 address)
    #[arg(required = true, num_args = 2.., value_name = "PATH... HOST[:PORT[/PROTO]]")]
    pub paths_and_target: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// For which pod.
    #[command(flatten)]
    pub pod: PodArgs,
}

/// What `policy presets` takes.
#[derive(Debug, Args)]
pub struct PresetsArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
