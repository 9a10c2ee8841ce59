//! Arguments of the commands that ask the running sidecar what it sees.

use std::path::PathBuf;

use clap::Args;

use super::DEFAULT_CONTROL;

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

/// What `flows` and `dns` take.
#[derive(Debug, Args)]
pub struct LinesArgs {
    /// Go on showing what comes
    #[arg(long, short)]
    pub follow: bool,
    /// Only what was refused, or would have been
    #[arg(long)]
    pub denied: bool,
    /// Only what is about names that fit: `*` is any text
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
