//! How the sidecar is, as `portreeve status` tells it: one line for a startup probe, one object for machines, the same facts.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The sidecar's own view of itself. Fields are only ever added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// The worker's process id.
    pub pid: u32,
    /// The version of the binary.
    pub version: String,
    /// The ruleset stands, the resolver answers, and the policy in force has been loaded.
    pub ready: bool,
    /// Why it is not ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_ready_because: Option<String>,
    /// "enforce" or "audit".
    pub mode: String,
    /// The fingerprint of the policy in force, in hexadecimal.
    pub generation: String,
    /// The files that were read at the last load.
    pub policies: Vec<PolicyFileStatus>,
    /// How many rules are in the kernel.
    pub rules: usize,
    /// How many addresses are open by lease now.
    pub leases: usize,
    /// The resolvers that are asked.
    pub upstreams: Vec<UpstreamStatus>,
    /// Successful loads of the policy, the first included.
    pub loads: u64,
    /// How often the table had vanished and was put back.
    pub table_restored: u64,
    /// What is done for addresses in use and for leases that have ended.
    #[serde(default)]
    pub renewals: Renewals,
    /// Whether raw frames are stopped (netdev egress hook).
    pub raw_guard: bool,
    /// The questions so far.
    pub queries: Queries,
    /// The last thing that went wrong, and when (seconds since 1970).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<LastError>,
    /// What it runs under; absent in what an earlier version says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Conditions>,
}

/// What the sidecar runs under: what it was told to do, and what the kernel lacks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Conditions {
    /// Where the metrics are served; absent where they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<String>,
    /// Where the log of flows goes: `stdout`, `none` or `off`.
    pub flow_log: String,
    /// Whether flows are heard of at all.
    pub flows_heard: bool,
    /// Whether nobody else can change the table (Linux 6.9).
    pub table_owned: bool,
    /// Whether connection entries of redirected questions end early (`ct timeout`).
    pub conntrack_timeout: bool,
    /// By how many seconds the system's clock has been set since the worker started; negative: back.
    pub clock_stepped_seconds: i64,
    /// What the policy in force warns of, rules that expire within 14 days among it; at most 20.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// One policy file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PolicyFileStatus {
    /// Its path.
    pub path: String,
    /// The SHA-256 of its text, in hexadecimal, as `sha256sum` prints it.
    pub sha256: String,
    /// Whether it selects this pod.
    pub selects_this_pod: bool,
    /// "enforce" or "audit", as the file says; absent for a file that does not select this pod, and in what an earlier version says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
}

/// One upstream resolver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct UpstreamStatus {
    /// Its address and port.
    pub address: String,
    /// Whether it answered when it was last asked; true before that.
    pub answers: bool,
    /// How long it takes to answer, smoothed, in microseconds; absent before it has answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip_us: Option<u64>,
}

/// Questions that no app asked, and leases that go on; counters since the worker started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Renewals {
    /// Names asked again because their addresses are in use.
    pub asked: u64,
    /// Names that wait to be asked: more of them than are asked in a second.
    pub waiting: usize,
    /// Leases extended because an address in use had left its name's answer.
    pub kept: u64,
    /// Names asked again because a packet was refused whose lease had ended minutes before.
    pub ended_looked_up: u64,
}

/// Counters since the worker started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Queries {
    /// Questions received.
    pub received: u64,
    /// Questions refused by policy.
    pub refused: u64,
    /// Of these, names over the budget of their wildcard.
    #[serde(default)]
    pub over_budget: u64,
    /// Steps of a search list on the way to a permitted name, refused without being counted among the refused.
    #[serde(default)]
    pub search_steps: u64,
    /// Questions answered out of what was kept.
    #[serde(default)]
    pub cached: u64,
    /// Questions answered out of what was kept beyond its time, since no upstream answers (RFC 8767).
    #[serde(default)]
    pub stale: u64,
    /// Questions that waited for the answer to an equal one.
    #[serde(default)]
    pub coalesced: u64,
    /// Questions answered SERVFAIL.
    pub servfail: u64,
    /// Questions dropped because too many were under way.
    pub dropped: u64,
    /// Answers withheld because the kernel did not take their leases.
    pub withheld: u64,
}

/// The last error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LastError {
    /// Seconds since 1970-01-01 UTC.
    pub at: u64,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.ready {
            // What else there is to say may be of before: the reason alone is what helps.
            let why = self.not_ready_because.as_deref().unwrap_or("it does not say why");
            return write!(f, "not ready: {}", one_line(why));
        }
        f.write_str("ready")?;
        let selecting = self.policies.iter().filter(|file| file.selects_this_pod).count();
        match (selecting, self.policies.len()) {
            (0, read) => write!(f, "; no policy selects this pod, nothing leaves ({read} files read)")?,
            (_, read) => write!(
                f,
                "; {selecting} of {read} policy files select this pod, {} rules, {} addresses open; {}",
                self.rules, self.leases, self.mode
            )?,
        }
        let down: Vec<&str> = self.upstreams.iter().filter(|u| !u.answers).map(|u| u.address.as_str()).collect();
        if !down.is_empty() {
            write!(f, "; not answering: {}", down.join(", "))?;
        }
        if !self.raw_guard {
            f.write_str("; no raw guard")?;
        }
        match &self.last_error {
            Some(error) => write!(f, "; last error: {}", one_line(&error.what)),
            None => Ok(()),
        }
    }
}

/// The first line of a text: the startup probe's output becomes an Event, which is one line.
fn one_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(ready: bool) -> Status {
        Status {
            pid: 7,
            version: "0.1.0".to_owned(),
            ready,
            not_ready_because: (!ready).then(|| "web.toml:5: unknown key `host`\nand a drawing".to_owned()),
            mode: "enforce".to_owned(),
            generation: "0".to_owned(),
            policies: Vec::new(),
            rules: 2,
            leases: 3,
            upstreams: vec![UpstreamStatus { address: "10.96.0.10:53".to_owned(), answers: false, round_trip_us: None }],
            loads: 1,
            table_restored: 0,
            renewals: Renewals::default(),
            raw_guard: false,
            queries: Queries::default(),
            last_error: None,
            conditions: None,
        }
    }

    #[test]
    fn one_line_for_people() {
        assert_eq!(status(false).to_string(), "not ready: web.toml:5: unknown key `host`");
        let mut held = status(true);
        assert_eq!(
            held.to_string(),
            "ready; no policy selects this pod, nothing leaves (0 files read); not answering: 10.96.0.10:53; no raw guard"
        );
        held.policies = vec![PolicyFileStatus { path: "web.toml".to_owned(), sha256: String::new(), selects_this_pod: true, mode: None }];
        held.last_error = Some(LastError { at: 1, what: "one\ntwo".to_owned() });
        (held.raw_guard, held.upstreams) = (true, Vec::new());
        assert_eq!(held.to_string(), "ready; 1 of 1 policy files select this pod, 2 rules, 3 addresses open; enforce; last error: one");
    }
}
