//! What the control socket is asked and what it answers: each from the place that knows, and nothing waits for a reader.

use std::sync::Arc;

use dnsproxy::Handle;
use policies::{Target, TargetHost};
use serde::{Deserialize, Serialize};

use crate::exit::chain;
use crate::fence::Fence;
use crate::fence::listing::ListedLease;
use crate::telling::{Following, Of, Telling};
use crate::worker::report::Report;

/// The most flows and questions that are told with an explanation.
const RECENT: usize = 20;

/// Who knows.
#[derive(Debug, Clone)]
pub struct Answers {
    report: Report,
    telling: Telling,
    resolver: Handle<Fence>,
}

/// An answer.
#[derive(Debug)]
pub enum Answer {
    /// One object.
    Whole(String),
    /// One object a line.
    Lines(Vec<Arc<str>>),
    /// One object a line, and more to come.
    Following(Following),
}

/// What `explain` is answered with.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Explained {
    /// What the policy in force says, for people.
    pub text: String,
    /// Whether it permits the target.
    pub permitted: bool,
    /// The same as data.
    pub policy: serde_json::Value,
    /// The leases of the name or address.
    pub leases: Vec<ListedLease>,
    /// The last flows and questions about it, the oldest first.
    pub recent: Vec<serde_json::Value>,
}

/// An answer that is a complaint.
pub fn error(sentence: &str) -> Answer {
    Answer::Whole(serde_json::json!({ "error": sentence }).to_string())
}

impl Answers {
    /// Answers out of these.
    pub fn new(report: Report, telling: Telling, resolver: Handle<Fence>) -> Self {
        Answers { report, telling, resolver }
    }

    /// The answer to a question.
    pub async fn to(&self, question: &str) -> Answer {
        match question {
            "status" => Answer::Whole(self.report.json()),
            "flows" => Answer::Lines(self.telling.kept(Of::Flows)),
            "dns" => Answer::Lines(self.telling.kept(Of::Questions)),
            "flows follow" => self.follow(Of::Flows),
            "dns follow" => self.follow(Of::Questions),
            "leases" => match self.leases().await {
                Ok(leases) => whole(&serde_json::json!({ "leases": leases })),
                Err(sentence) => error(&sentence),
            },
            other => match other.strip_prefix("explain ") {
                Some(target) => self.explain(target.trim()).await,
                None => error("the questions are: status, leases, flows, flows follow, dns, dns follow, explain TARGET"),
            },
        }
    }

    fn follow(&self, of: Of) -> Answer {
        self.telling.follow(of).map_or_else(|error_| error(&chain(&error_)), Answer::Following)
    }

    async fn leases(&self) -> Result<Vec<ListedLease>, String> {
        match self.resolver.with_gate(Fence::list).await {
            Ok(Ok(leases)) => Ok(leases),
            Ok(Err(error)) => Err(chain(&error)),
            Err(error) => Err(chain(&error)),
        }
    }

    async fn explain(&self, target: &str) -> Answer {
        let target: Target = match target.parse() {
            Ok(target) => target,
            Err(why) => return error(&format!("{target} is not HOST[:PORT[/PROTO]]: {}", chain(&why))),
        };
        let policy = self.report.policy();
        let explanation = policies::explain(&policy, &target);
        let leases = match self.leases().await {
            Ok(leases) => leases,
            Err(sentence) => return error(&sentence),
        };
        let host = target.host.to_string();
        let about = |lease: &ListedLease| match &target.host {
            TargetHost::Name(_) => lease.names.iter().any(|named| named.name == host),
            TargetHost::Address(address) => lease.address == *address,
        };
        let leases: Vec<ListedLease> = leases.into_iter().filter(about).collect();
        let addresses: Vec<String> = leases.iter().map(|lease| lease.address.to_string()).collect();
        let mentions = |line: &serde_json::Value| {
            let text = |key: &str| line.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
            let destination = text("destination.address");
            let named =
                line.get("flow.names").and_then(serde_json::Value::as_array).is_some_and(|names| names.iter().any(|name| *name == host));
            text("dns.question.name") == host || destination == host || named || addresses.iter().any(|address| address == destination)
        };
        let lines = self.telling.kept(Of::Flows).into_iter().chain(self.telling.kept(Of::Questions));
        let mut recent: Vec<serde_json::Value> = lines.filter_map(|line| serde_json::from_str(&line).ok()).filter(mentions).collect();
        recent.sort_by(|one, other| one["time"].as_str().cmp(&other["time"].as_str()));
        recent.drain(..recent.len().saturating_sub(RECENT));
        whole(&Explained {
            text: explanation.to_string(),
            permitted: explanation.verdict == policies::Decision::Permitted,
            policy: serde_json::to_value(&explanation).unwrap_or_default(),
            leases,
            recent,
        })
    }
}

fn whole(value: &impl Serialize) -> Answer {
    serde_json::to_string(value).map_or_else(|cause| error(&cause.to_string()), Answer::Whole)
}
