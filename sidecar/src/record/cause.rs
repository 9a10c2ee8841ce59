//! Why a flow was refused, or would have been.

use std::net::IpAddr;

use ipnet::IpNet;
use policies::Reason;
use serde::{Deserialize, Serialize};

/// The cause, with what it takes to understand it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Cause {
    /// No permitted name was ever resolved to the address, and no rule opens its range.
    NeverResolved,
    /// The address was open for a name, and the lease has ended.
    LeaseEnded {
        /// The name whose lease ended last.
        name: String,
        /// How long ago, in seconds.
        seconds: u64,
    },
    /// The address is open, on other ports.
    PortNotGranted {
        /// The names it is open for; none where a range opens it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        names: Vec<String>,
        /// The ports that are open there, as a policy writes them: `443, 53/udp`.
        ports: String,
    },
    /// The address belongs to a name that the policy refuses (in audit: names that are refused are answered all the same).
    RefusedName {
        /// The name.
        name: String,
        /// Why it is refused.
        reason: String,
    },
    /// A deny holds the range, or it is a cloud's metadata address.
    DeniedRange {
        /// The range, where it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        range: Option<IpNet>,
        /// The policy that denies it; `built-in` for metadata addresses.
        policy: String,
    },
    /// A protocol that no rule can open, a source route, or a packet of a raw socket.
    ProtocolNotGranted,
    /// No policy selects the pod.
    NoPolicy,
}

impl Cause {
    /// The name of the cause, as the log has it.
    pub const fn name(&self) -> &'static str {
        match self {
            Cause::NeverResolved => "never-resolved",
            Cause::LeaseEnded { .. } => "lease-ended",
            Cause::PortNotGranted { .. } => "port-not-granted",
            Cause::RefusedName { .. } => "refused-name",
            Cause::DeniedRange { .. } => "denied-range",
            Cause::ProtocolNotGranted => "protocol-not-granted",
            Cause::NoPolicy => "no-policy",
        }
    }
}

/// A reason of the policy's as the log has it: `not-permitted`, `over-budget`.
pub fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::NoPolicy => "no-policy",
        Reason::NotPermitted => "not-permitted",
        Reason::Denied => "denied",
        Reason::Expired(_) => "expired",
        Reason::OutsideLimit => "outside-limit",
        Reason::AncestorOfPermitted => "ancestor-of-permitted",
        Reason::SearchListStep => "search-list-step",
        Reason::OverBudget(_) => "over-budget",
    }
}

/// The family of an address as `network.type` has it.
pub const fn network_type(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "ipv4",
        IpAddr::V6(_) => "ipv6",
    }
}
