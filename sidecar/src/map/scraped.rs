//! The graph out of what Prometheus has scraped from all sidecars: no store of our own, and as much as their bounded labels tell.

use std::net::IpAddr;
use std::time::Duration;

use serde::Deserialize;

use super::graph::{Draft, Graph, Node, Source, verdict};
use super::prometheus::{AskPrometheusError, Client, PrometheusUrl, Row};
use crate::metrics::labels::{OTHER, OTHERS};
use crate::policycmd::seen::Workload;
use crate::record::Verdict;

/// Why there is no graph.
#[derive(Debug, thiserror::Error)]
pub enum ScrapedError {
    /// There was no answer.
    #[error("no map out of Prometheus")]
    Ask(#[source] AskPrometheusError),
    /// No sidecar is scraped.
    #[error(
        "{url} has no metric of Portreeve within {span}: `portreeve run --metrics` serves them, and a scrape as in images/README.md collects them"
    )]
    NoMetrics {
        /// Where.
        url: PrometheusUrl,
        /// How far back.
        span: String,
    },
    /// Sidecars are scraped, and nothing left their pods.
    #[error("{url} has metrics of {sidecars} sidecars within {span}, and no flow in them (a longer --since looks further back)")]
    NoFlows {
        /// Where.
        url: PrometheusUrl,
        /// How many.
        sidecars: u64,
        /// How far back.
        span: String,
    },
}

/// Labels that flows and volumes have in common. Namespace and app are the scrape's.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Labels {
    namespace: String,
    app: String,
    name: String,
    protocol: String,
    port: String,
    verdict: String,
    policy: String,
    rule: String,
    cause: String,
    way: String,
}

#[derive(Deserialize)]
struct NoLabels {}

/// A graph, and what is to be said about it.
#[derive(Debug)]
pub struct Scraped {
    /// The graph.
    pub graph: Graph,
    /// The scrape does not say which workload a row is of.
    pub anonymous: bool,
}

/// Asks for what happened within `span`.
///
/// # Errors
/// [`ScrapedError`].
pub fn read(client: &Client, span: Duration) -> Result<Scraped, ScrapedError> {
    let labels = "namespace, app, name, protocol, port";
    let flows = grown("portreeve_flows_total{direction=\"outbound\"}", span);
    let flows: Vec<Row<Labels>> = ask(client, &format!("sum by ({labels}, verdict, policy, rule, cause) ({flows}) > 0"))?;
    let bytes = grown("portreeve_flow_bytes_total{direction=\"outbound\"}", span);
    let bytes: Vec<Row<Labels>> = ask(client, &format!("sum by ({labels}, way) ({bytes}) > 0"))?;
    let lost: Vec<Row<NoLabels>> = ask(client, &format!("sum({})", grown("portreeve_lost_total", span)))?;
    if flows.is_empty() && bytes.is_empty() {
        return Err(nothing(client, span)?);
    }
    let anonymous = flows.iter().all(|row| row.labels.namespace.is_empty() && row.labels.app.is_empty());
    let (mut draft, mut beyond) = (Draft::default(), 0);
    for row in &flows {
        beyond += flow(&mut draft, row);
    }
    for row in &bytes {
        volume(&mut draft, row);
    }
    let lost = lost.first().map_or(0, Row::count) + beyond;
    Ok(Scraped { graph: draft.finish(Source::Prometheus { span_seconds: span.as_secs() }, lost), anonymous })
}

fn ask<L: serde::de::DeserializeOwned>(client: &Client, expression: &str) -> Result<Vec<Row<L>>, ScrapedError> {
    client.query(expression).map_err(ScrapedError::Ask)
}

/// By how much counters have grown within a span. `increase()` alone does not see the value that a counter comes into being with, which for
/// most edges of a map is the whole of it, and reckons beyond what was scraped; so it is asked only for counters that began anew. The others
/// are the newest value less the one before the span, or, where there was none, the newest value.
fn grown(selector: &str, span: Duration) -> String {
    let s = span.as_secs();
    let last = format!("last_over_time({selector}[{s}s])");
    format!("((increase({selector}[{s}s]) and resets({selector}[{s}s]) > 0) or ({last} - ({selector} offset {s}s)) or {last})")
}

/// Why nothing came.
fn nothing(client: &Client, span: Duration) -> Result<ScrapedError, ScrapedError> {
    let ready: Vec<Row<NoLabels>> = ask(client, &format!("count(last_over_time(portreeve_ready[{}s]))", span.as_secs()))?;
    let (url, span) = (client.url().clone(), humantime::format_duration(span).to_string());
    Ok(match ready.first().map(Row::count) {
        Some(sidecars) if sidecars > 0 => ScrapedError::NoFlows { url, sidecars, span },
        _ => ScrapedError::NoMetrics { url, span },
    })
}

fn ends(labels: &Labels) -> (Node, Node) {
    let from = Node::workload(&Workload { namespace: labels.namespace.clone(), app: labels.app.clone(), label: String::new() });
    let to = match labels.name.as_str() {
        "" | OTHER => Node::nameless("other", "others, which the metrics do not name".to_owned()),
        address if address.parse::<IpAddr>().is_ok() => Node::nameless("address", address.to_owned()),
        some if some.ends_with(OTHERS) => Node::names(&[some.to_owned()]),
        names => Node::names(&names.split(" or ").map(str::to_owned).collect::<Vec<_>>()),
    };
    (from, to)
}

fn port(labels: &Labels) -> u16 {
    labels.port.parse().unwrap_or(0)
}

/// Takes a row in; how many flows there was no room for.
fn flow(draft: &mut Draft, row: &Row<Labels>) -> u64 {
    let labels = &row.labels;
    let verdict = match labels.verdict.as_str() {
        "permitted" => verdict(Verdict::Permitted),
        "would-deny" => verdict(Verdict::WouldDeny),
        _ => verdict(Verdict::Refused),
    };
    let Some(edge) = draft.edge(ends(labels), port(labels), &labels.protocol, verdict) else { return row.count() };
    edge.flows += row.count();
    if !labels.rule.is_empty() {
        edge.rules.insert(format!("{}.{}", labels.policy, labels.rule));
    }
    if !labels.cause.is_empty() {
        edge.causes.insert(labels.cause.clone());
    }
    0
}

/// Volumes have no verdict: what passed is what a rule permits, or, where none does, what an audit let pass.
fn volume(draft: &mut Draft, row: &Row<Labels>) {
    let (labels, (permitted, would)) = (&row.labels, (verdict(Verdict::Permitted), verdict(Verdict::WouldDeny)));
    let ((from, to), port) = (ends(labels), port(labels));
    let has = |verdict| draft.has(&from, &to, port, &labels.protocol, verdict);
    let verdict = if has(would) && !has(permitted) { would } else { permitted };
    // There is room, or the edge was counted as beyond it by its flows.
    if let Some(edge) = draft.edge((from, to), port, &labels.protocol, verdict) {
        match labels.way.as_str() {
            "sent" => edge.add_bytes(Some(row.count()), Some(0)),
            _ => edge.add_bytes(Some(0), Some(row.count())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(labels: &serde_json::Value, value: &str) -> Row<Labels> {
        serde_json::from_value(serde_json::json!({"metric": labels, "value": [1_790_000_000.0, value]})).unwrap()
    }

    #[test]
    fn volumes_go_where_something_passed() {
        let mut draft = Draft::default();
        let base = serde_json::json!({"namespace": "shop", "app": "cart", "name": "api.example.com", "protocol": "tcp", "port": "443"});
        let with = |more: serde_json::Value| {
            let mut all = base.clone();
            all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            all
        };
        assert_eq!(flow(&mut draft, &row(&with(serde_json::json!({"verdict": "refused", "cause": "lease-ended"})), "2")), 0);
        assert_eq!(flow(&mut draft, &row(&with(serde_json::json!({"verdict": "would-deny", "cause": "refused-name"})), "1")), 0);
        volume(&mut draft, &row(&with(serde_json::json!({"way": "sent"})), "700"));
        assert_eq!(flow(&mut draft, &row(&with(serde_json::json!({"verdict": "permitted", "policy": "shop", "rule": "web"})), "3.4")), 0);
        volume(&mut draft, &row(&with(serde_json::json!({"way": "received"})), "900"));
        let graph = draft.finish(Source::Prometheus { span_seconds: 60 }, 0);
        let told: Vec<_> = graph.edges.iter().map(|edge| (edge.verdict, edge.flows, edge.bytes_sent, edge.bytes_received)).collect();
        let wanted = [("permitted", 3, Some(0), Some(900)), ("refused", 2, None, None), ("would-deny", 1, Some(700), Some(0))];
        assert_eq!(told, wanted);
        assert_eq!(graph.nodes.len(), 2);
    }

    #[test]
    fn what_has_no_name_of_its_own_is_no_name() {
        let kind = |name: &str| ends(&Labels { name: name.to_owned(), ..Labels::default() }).1;
        assert_eq!((kind("other").kind, kind("198.51.100.7").kind, kind("2001:db8::1").kind), ("other", "address", "address"));
        assert_eq!(kind("a.example or b.example").names, ["a.example", "b.example"]);
        assert_eq!(kind("a.example and others").label, "a.example and others");
    }
}
