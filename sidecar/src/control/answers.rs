//! What the control socket is asked and what it answers: each from the place that knows, and nothing waits for a reader.

use std::sync::Arc;

use dnsproxy::Handle;
use policies::{Target, TargetHost};
use serde::{Deserialize, Serialize};

use super::about::About;
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
    /// One object a line, and more to come; `marked`: with an empty line between what is kept and what comes.
    Following {
        /// The lines.
        following: Following,
        /// Whether what comes is told from what was kept.
        marked: bool,
    },
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

/// What `permits` is answered with: for each target, in their order.
#[derive(Debug, Serialize, Deserialize)]
pub struct Permits {
    /// Whether the policy in force permits it.
    pub permitted: Vec<bool>,
}

/// How the complaint about a question that is not known begins: by it a later command knows an earlier sidecar.
pub const UNKNOWN: &str = "the questions are";

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
            "flows follow" => self.follow(Of::Flows, false),
            "dns follow" => self.follow(Of::Questions, false),
            "flows follow marked" => self.follow(Of::Flows, true),
            "dns follow marked" => self.follow(Of::Questions, true),
            "leases" => match self.leases().await {
                Ok(leases) => whole(&serde_json::json!({ "leases": leases })),
                Err(sentence) => error(&sentence),
            },
            other => match other.split_once(' ') {
                Some(("explain", target)) => self.explain(target.trim()).await,
                Some(("permits", targets)) => self.permits(targets),
                _ => error(&format!(
                    "{UNKNOWN}: status, leases, flows, flows follow [marked], dns, dns follow [marked], explain TARGET, permits TARGET..."
                )),
            },
        }
    }

    fn follow(&self, of: Of, marked: bool) -> Answer {
        let following = self.telling.follow(of);
        following.map_or_else(|error_| error(&chain(&error_)), |following| Answer::Following { following, marked })
    }

    /// Of several targets at once whether the policy permits them: by the policy alone, nothing is read from the kernel.
    fn permits(&self, targets: &str) -> Answer {
        let policy = self.report.policy();
        let judged: Result<Vec<bool>, _> = targets
            .split_whitespace()
            .map(|text| text.parse::<Target>().map(|target| policies::explain(&policy, &target).verdict == policies::Decision::Permitted))
            .collect();
        match judged {
            Ok(permitted) => whole(&Permits { permitted }),
            Err(why) => error(&chain(&why)),
        }
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
        let addresses: Vec<std::net::IpAddr> = leases.iter().map(|lease| lease.address).collect();
        let about = About::new(&target.host, &addresses);
        let lines = self.telling.kept(Of::Flows).into_iter().chain(self.telling.kept(Of::Questions));
        let wanted = lines.filter(|text| serde_json::from_str(text).is_ok_and(|line| about.takes(&line)));
        let mut recent: Vec<serde_json::Value> = wanted.filter_map(|text| serde_json::from_str(&text).ok()).collect();
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
