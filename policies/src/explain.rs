//! Why a target is permitted or refused, what comes closest, and the lines that would permit it.
use std::fmt;

use serde::Serialize;

use crate::{
    file::Mode,
    name::Name,
    policy::Policy,
    ports::Ports,
    target::Target,
    verdict::Reason,
};

/// Permitted or refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// It may leave.
    Permitted,
    /// It may not.
    Refused,
}

/// How a miss is near.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NearestKind {
    /// The same name, on other ports.
    OtherPort,
    /// Only names below it are permitted: a wildcard does not take the name itself in.
    OnlyBelow,
    /// Only a name above it is permitted.
    OnlyAbove,
    /// A name under the same parent.
    Sibling,
    /// A name that is spelt almost alike.
    Spelling,
}

/// What is permitted and comes closest to what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NearestMiss {
    /// How it is near.
    pub kind: NearestKind,
    /// The host as the rule names it.
    pub host: String,
    /// The ports that are open there.
    pub ports: Ports,
    /// The policy's name.
    pub policy: String,
    /// The rule's name.
    pub rule: String,
    /// The file.
    pub file: String,
    /// The line the rule begins on, counted from 1.
    pub line: u32,
}

/// The report of `policy explain`: one value, told in text or as JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// What was asked.
    pub target: Target,
    /// The name in its Unicode form, where that differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unicode: Option<String>,
    /// Permitted or refused.
    pub verdict: Decision,
    /// Whether the pod is held at all.
    pub mode: Mode,
    /// Why the name is refused, where it is a name and the name is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Why, in one sentence.
    pub because: String,
    /// The policy that decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// Its rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line the rule begins on, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// The ports that are open for the host.
    #[serde(skip_serializing_if = "Ports::is_empty")]
    pub ports: Ports,
    /// What comes closest, where it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<NearestMiss>,
    /// The TOML lines that would permit it, where lines can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permit: Option<String>,
}

/// Explains what the policy says of a target.
pub fn explain(policy: &Policy, target: &Target) -> Explanation {
    Explanation {
        target: target.clone(),
        unicode: None,
        verdict: Decision::Refused,
        mode: policy.mode(),
        reason: Some(Reason::NotPermitted),
        because: String::new(),
        policy: None,
        rule: None,
        file: None,
        line: None,
        ports: Ports::none(),
        nearest: None,
        permit: None,
    }
}

pub(crate) fn nearest_miss(_policy: &Policy, _name: &Name) -> Option<NearestMiss> {
    None
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.because)
    }
}
