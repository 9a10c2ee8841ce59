//! Arguments of the commands that compare policies with each other and with what sidecars logged.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::PodArgs;
use crate::map::prometheus::PrometheusUrl;

/// What `policy learn` takes.
#[derive(Debug, Args)]
pub struct LearnArgs {
    /// Flow logs as the sidecars wrote them, also as `kubectl logs` or a node's log files have them; `-` is standard input
    #[arg(required = true, value_name = "FLOWS")]
    pub flows: Vec<PathBuf>,
    /// The policy's name
    #[arg(long, value_name = "NAME", default_value = "learned")]
    pub name: String,
    /// Only the flows of this app
    #[arg(long, value_name = "APP")]
    pub app: Option<String>,
    /// Only the flows of this namespace
    #[arg(long, value_name = "NS")]
    pub namespace: Option<String>,
    /// Group N or more names below one parent into a wildcard
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "3", require_equals = true)]
    pub wildcards: Option<usize>,
    /// Also permit addresses that no name led to
    #[arg(long)]
    pub include_addresses: bool,
    /// Also permit the clouds' metadata addresses
    #[arg(long)]
    pub include_metadata: bool,
}

/// What `policy replay` takes.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// A policy file or a directory of them
    #[arg(value_name = "POLICY")]
    pub policy: PathBuf,
    /// Flow logs as the sidecars wrote them; `-` is standard input
    #[arg(required = true, value_name = "FLOWS")]
    pub flows: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// For which pod; without both, the one that each record is of.
    #[command(flatten)]
    pub pod: PodArgs,
}

/// What `policy diff` takes.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The policy of before: a file or a directory of them
    #[arg(value_name = "OLD")]
    pub old: PathBuf,
    /// The policy of after
    #[arg(value_name = "NEW")]
    pub new: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// For which pod; without both, one of each selection that the files make.
    #[command(flatten)]
    pub pod: PodArgs,
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
    /// Flow logs of any number of pods, as the sidecars wrote them; `-` is standard input
    #[arg(required_unless_present = "prometheus", conflicts_with = "prometheus", value_name = "FLOWS")]
    pub flows: Vec<PathBuf>,
    /// Draw what a Prometheus has scraped instead of logs, by plain HTTP (`kubectl port-forward` leads there)
    #[arg(long, value_name = "URL")]
    pub prometheus: Option<PrometheusUrl>,
    /// How far back to look in Prometheus [default: 24h]
    #[arg(long, value_name = "SPAN", requires = "prometheus", value_parser = span)]
    pub since: Option<Duration>,
    /// What Prometheus is sent as a bearer token; better said by the variable, which no list of processes shows
    #[arg(long, value_name = "TOKEN", env = "PORTREEVE_PROMETHEUS_TOKEN", hide_env_values = true)]
    pub prometheus_token: Option<String>,
    /// The form
    #[arg(long, value_name = "FORM", default_value = "html")]
    pub format: MapFormat,
    /// Where to write it [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// A span of time that Prometheus can look back over: its scrapes are seconds apart.
fn span(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(span) if span >= Duration::from_secs(60) => Ok(span),
        Ok(_) => Err("less than a minute, in which Prometheus has scraped nothing to count by".to_owned()),
        Err(_) => Err("not a span of time (examples: 1h, 24h, 7d)".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_a_minute_or_more() {
        assert_eq!(span("24h"), Ok(Duration::from_secs(86_400)));
        assert!(span("59s").unwrap_err().contains("less than a minute"));
        assert!(span("yesterday").unwrap_err().contains("24h"));
    }
}
