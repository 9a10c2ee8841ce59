//! A flow: who talked to whom under which name, by which rule or against which, and how much.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Cause, Timestamp};

/// What happened to the flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlowEvent {
    /// Its first packet passed.
    Began,
    /// The kernel's connection entry ended: volumes are known.
    Ended,
    /// A packet was refused.
    Refused,
}

/// What the policy says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It passed by a rule; inbound, it is not held.
    Permitted,
    /// It was refused.
    Refused,
    /// It passed because every policy says audit; enforced, it would be refused.
    WouldDeny,
}

/// Seen from the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// The pod began it.
    Outbound,
    /// It came in by a device other than loopback.
    Inbound,
}

/// The protocol above IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP and ICMPv6.
    Icmp,
    /// Another one, by its number.
    Other(u8),
}

impl Transport {
    /// By the protocol number of IANA's list.
    pub const fn from_number(number: u8) -> Self {
        match number {
            6 => Transport::Tcp,
            17 => Transport::Udp,
            1 | 58 => Transport::Icmp,
            other => Transport::Other(other),
        }
    }

    /// The protocol as policies know it; `None` for one that no rule can open.
    pub const fn protocol(self) -> Option<policies::Protocol> {
        match self {
            Transport::Tcp => Some(policies::Protocol::Tcp),
            Transport::Udp => Some(policies::Protocol::Udp),
            Transport::Icmp => Some(policies::Protocol::Icmp),
            Transport::Other(_) => None,
        }
    }
}

impl std::fmt::Display for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Transport::Tcp => f.write_str("tcp"),
            Transport::Udp => f.write_str("udp"),
            Transport::Icmp => f.write_str("icmp"),
            Transport::Other(number) => write!(f, "protocol-{number}"),
        }
    }
}

impl From<Transport> for String {
    fn from(transport: Transport) -> String {
        transport.to_string()
    }
}

impl From<String> for Transport {
    fn from(text: String) -> Self {
        match text.as_str() {
            "tcp" => Transport::Tcp,
            "udp" => Transport::Udp,
            "icmp" => Transport::Icmp,
            other => Transport::Other(other.strip_prefix("protocol-").and_then(|number| number.parse().ok()).unwrap_or_default()),
        }
    }
}

/// One flow, or several alike that were folded within a window.
///
/// Alike are flows with the same event, verdict, direction, names, rule, cause, protocol, addresses, destination port and uid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlowRecord {
    /// What happened.
    #[serde(rename = "flow.event")]
    pub event: FlowEvent,
    /// What the policy says of it.
    #[serde(rename = "flow.verdict")]
    pub verdict: Verdict,
    /// Whether the pod is held: `enforce` or `audit`.
    #[serde(rename = "flow.mode")]
    pub mode: String,
    /// Seen from the pod.
    #[serde(rename = "flow.direction")]
    pub direction: Direction,
    /// How many were folded.
    #[serde(rename = "flow.count")]
    pub count: u64,
    /// When the first of them happened.
    #[serde(rename = "flow.first")]
    pub first: Timestamp,
    /// When the last of them happened.
    #[serde(rename = "flow.last")]
    pub last: Timestamp,
    /// The names that leased the destination when the flow began, sorted; none for static ranges and inbound flows.
    #[serde(rename = "flow.names", default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Whether several names leased the address: which of them was meant is not known.
    #[serde(rename = "flow.shared-address", default, skip_serializing_if = "std::ops::Not::not")]
    pub shared_address: bool,
    /// The rule that permitted it.
    #[serde(rename = "flow.rule", default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The policy of that rule.
    #[serde(rename = "flow.policy", default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Why it was refused, or would have been.
    #[serde(rename = "flow.cause", default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// The protocol: `tcp`, `udp`, `icmp`, `protocol-132`.
    #[serde(rename = "network.transport")]
    pub transport: Transport,
    /// `ipv4` or `ipv6`.
    #[serde(rename = "network.type")]
    pub network_type: String,
    /// Who began it.
    #[serde(rename = "source.address")]
    pub source: IpAddr,
    /// Its port; of a single flow alone.
    #[serde(rename = "source.port", default, skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// Where it went.
    #[serde(rename = "destination.address")]
    pub destination: IpAddr,
    /// The port there; absent where the protocol has none.
    #[serde(rename = "destination.port", default, skip_serializing_if = "Option::is_none")]
    pub destination_port: Option<u16>,
    /// The user id of the socket that began it, as the sidecar sees it.
    #[serde(rename = "process.user.id", default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Bytes that went from the pod, IP headers included: of an ended flow both ways are known.
    #[serde(rename = "flow.bytes.sent", default, skip_serializing_if = "Option::is_none")]
    pub bytes_sent: Option<u64>,
    /// Bytes that came to the pod.
    #[serde(rename = "flow.bytes.received", default, skip_serializing_if = "Option::is_none")]
    pub bytes_received: Option<u64>,
    /// Packets that went from the pod.
    #[serde(rename = "flow.packets.sent", default, skip_serializing_if = "Option::is_none")]
    pub packets_sent: Option<u64>,
    /// Packets that came to the pod.
    #[serde(rename = "flow.packets.received", default, skip_serializing_if = "Option::is_none")]
    pub packets_received: Option<u64>,
    /// Milliseconds from the first packet to the last, summed over what was folded; where the first was seen. What the kernel adds before it
    /// forgets an entry (30 s for TCP, idle time for UDP) is taken off as far as it is known.
    #[serde(rename = "flow.duration.ms", default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
}
