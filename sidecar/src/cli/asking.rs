//! Arguments of the commands that ask what happened: of the running sidecar, or of what it logged.

use std::path::PathBuf;

use clap::Args;

use super::{DEFAULT_CONTROL, PodArgs};

/// Which sidecar, and for whom the answer is.
#[derive(Debug, Args)]
pub struct RunningArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The control socket of the sidecar
    #[arg(long, value_name = "PATH", env = "PORTREEVE_CONTROL", default_value = DEFAULT_CONTROL)]
    pub control: PathBuf,
}

/// What `leases` takes.
#[derive(Debug, Args)]
pub struct LeasesArgs {
    /// Which sidecar.
    #[command(flatten)]
    pub running: RunningArgs,
}

/// What `flows` takes.
#[derive(Debug, Args)]
pub struct FlowsArgs {
    /// Go on showing what comes
    #[arg(long, short)]
    pub follow: bool,
    /// Only what was refused, or would have been
    #[arg(long)]
    pub denied: bool,
    /// Only flows of names that fit: `*` is any text
    #[arg(long, value_name = "GLOB")]
    pub name: Option<String>,
    /// Only what happened since: a span ("10m") or a time (RFC 3339)
    #[arg(long, value_name = "SPAN|TIME")]
    pub since: Option<String>,
    /// Only the last N
    #[arg(long, value_name = "N")]
    pub last: Option<usize>,
    /// Which sidecar.
    #[command(flatten)]
    pub running: RunningArgs,
}

/// What `dns` takes.
#[derive(Debug, Args)]
pub struct DnsArgs {
    /// Go on showing what comes
    #[arg(long, short)]
    pub follow: bool,
    /// Only what was refused, or would have been
    #[arg(long)]
    pub denied: bool,
    /// Only names that fit: `*` is any text
    #[arg(long, value_name = "GLOB")]
    pub name: Option<String>,
    /// Only what happened since: a span ("10m") or a time (RFC 3339)
    #[arg(long, value_name = "SPAN|TIME")]
    pub since: Option<String>,
    /// Only the last N
    #[arg(long, value_name = "N")]
    pub last: Option<usize>,
    /// Which sidecar.
    #[command(flatten)]
    pub running: RunningArgs,
}

/// What `explain` takes.
#[derive(Debug, Args)]
pub struct ExplainRunningArgs {
    /// A name or an address, with a port if you like ([IPV6]:PORT for an IPv6 address)
    #[arg(value_name = "HOST|IP[:PORT[/PROTO]]")]
    pub target: String,
    /// Which sidecar.
    #[command(flatten)]
    pub running: RunningArgs,
}

/// What `doctor` takes.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// The resolv.conf that the pod's apps read
    #[arg(long, value_name = "FILE", env = "PORTREEVE_RESOLV_CONF", default_value = "/etc/resolv.conf")]
    pub resolv_conf: PathBuf,
    /// The hosts file that the pod's apps read
    #[arg(long, value_name = "FILE", default_value = "/etc/hosts")]
    pub hosts: PathBuf,
    /// Which sidecar.
    #[command(flatten)]
    pub running: RunningArgs,
}

/// The forms of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum MapFormat {
    /// A page for a browser, in one file that loads nothing else
    Html,
    /// The graph as data
    Json,
}

/// What `map` takes.
#[derive(Debug, Args)]
pub struct MapArgs {
    /// Flow logs, as the sidecars wrote them; `-` is standard input
    #[arg(value_name = "FLOWS", required_unless_present = "prometheus", conflicts_with = "prometheus")]
    pub flows: Vec<PathBuf>,
    /// A Prometheus that scrapes the sidecars: draw the whole cluster from it
    #[arg(long, value_name = "URL")]
    pub prometheus: Option<String>,
    /// Over which time Prometheus is asked
    #[arg(long, value_name = "SPAN", default_value = "24h", requires = "prometheus")]
    pub range: String,
    /// The form
    #[arg(long, value_name = "FORM", default_value = "html")]
    pub format: MapFormat,
    /// Where to write it [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// What `policy learn` takes.
#[derive(Debug, Args)]
pub struct LearnArgs {
    /// Flow logs, as the sidecars wrote them; `-` is standard input
    #[arg(required = true, value_name = "FLOWS")]
    pub flows: Vec<PathBuf>,
    /// The policy's name
    #[arg(long, value_name = "NAME", default_value = "learned")]
    pub name: String,
    /// Group N or more names below one parent into a wildcard
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "3")]
    pub wildcards: Option<usize>,
    /// Also permit addresses that no name led to
    #[arg(long)]
    pub include_addresses: bool,
    /// Also permit cloud metadata addresses
    #[arg(long)]
    pub include_metadata: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Of which pods: without both, of all
    #[command(flatten)]
    pub pod: PodArgs,
}

/// What `policy replay` takes.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Policy file or directory, then flow logs; `-` is standard input
    #[arg(required = true, num_args = 2.., value_name = "POLICY FLOWS...")]
    pub policy_and_flows: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// For which pod.
    #[command(flatten)]
    pub pod: PodArgs,
}

/// What `policy diff` takes.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The policy of before: a file or a directory
    #[arg(value_name = "OLD")]
    pub old: PathBuf,
    /// The policy of after
    #[arg(value_name = "NEW")]
    pub new: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// For which pod.
    #[command(flatten)]
    pub pod: PodArgs,
}
