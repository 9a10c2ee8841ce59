//! A question of the pod's and what it was answered.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// What became of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DnsVerdict {
    /// The policy permits the name, and it was answered.
    Permitted,
    /// The policy refuses it.
    Refused,
    /// It was answered because every policy says audit; enforced, it would be refused.
    WouldDeny,
    /// The policy permits it, and there was no answer that could be told.
    Failed,
}

/// One question, or several alike that were folded within a window: same name, type, verdict and response code.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DnsRecord {
    /// The name asked for, without the final dot.
    #[serde(rename = "dns.question.name")]
    pub name: String,
    /// The type asked for: `A`, `AAAA`, `TYPE65280`.
    #[serde(rename = "dns.question.type")]
    pub rtype: String,
    /// What became of it.
    #[serde(rename = "dns.verdict")]
    pub verdict: DnsVerdict,
    /// Why it was refused or failed.
    #[serde(rename = "dns.reason", default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// `NOERROR`, `NXDOMAIN`, `SERVFAIL`.
    #[serde(rename = "dns.response_code")]
    pub rcode: String,
    /// The rule that permits the name, or refuses it: the first of several.
    #[serde(rename = "dns.rule", default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The policy of that rule.
    #[serde(rename = "dns.policy", default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// The aliases that led from the name to the addresses.
    #[serde(rename = "dns.chain", default, skip_serializing_if = "Vec::is_empty")]
    pub chain: Vec<String>,
    /// The addresses that were told; each was open by then.
    #[serde(rename = "dns.answers", default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// The TTL that was told, in seconds.
    #[serde(rename = "dns.ttl", default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u32>,
    /// `upstream`, `cache`, `stale` or `here`.
    #[serde(rename = "dns.source")]
    pub source: String,
    /// The upstream that answered.
    #[serde(rename = "dns.upstream", default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// From the question's receipt to its answer's leaving, in microseconds: of the first.
    #[serde(rename = "dns.duration.us")]
    pub duration_us: u64,
    /// How it came: `udp` or `tcp`.
    #[serde(rename = "network.transport")]
    pub transport: String,
    /// How many were folded.
    #[serde(rename = "dns.count")]
    pub count: u64,
    /// When the first came.
    #[serde(rename = "dns.first")]
    pub first: Timestamp,
    /// When the last came.
    #[serde(rename = "dns.last")]
    pub last: Timestamp,
}
