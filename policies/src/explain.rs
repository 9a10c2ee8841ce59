//! Why a target is permitted or refused, what comes closest, and the lines that would permit it.
use std::fmt;

use serde::Serialize;

use crate::{
    budget::BudgetTerms,
    file::Mode,
    name::Name,
    policy::Policy,
    ports::Ports,
    target::{Target, TargetHost},
    verdict::Reason,
};

mod address;
mod name;
mod nearest;
mod permit;

pub(crate) use nearest::nearest_miss;

/// Whether strangers have names right below this one, by the public suffix list compiled in: no wildcard belongs there.
pub fn is_public_suffix(name: &Name) -> bool {
    nearest::is_public(name)
}

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

/// The budget that a name counts against.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BudgetReport {
    /// The policy's name.
    pub policy: String,
    /// The rule's name.
    pub rule: String,
    /// The figures.
    #[serde(flatten)]
    pub terms: BudgetTerms,
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
    /// What the names of the wildcard that permits it may come to in a minute, and the rule that counts them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetReport>,
    /// What comes closest, where it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<NearestMiss>,
    /// The TOML lines that would permit it, where lines can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permit: Option<String>,
}

/// Explains what the policy says of a target. Works for people: it walks every host where it must.
pub fn explain(policy: &Policy, target: &Target) -> Explanation {
    match &target.host {
        TargetHost::Name(name) => name::explain(policy, target, name),
        TargetHost::Address(address) => address::explain(policy, target, *address),
    }
}

impl Explanation {
    /// A refusal that nothing is known of yet.
    fn refused(policy: &Policy, target: &Target, because: String) -> Self {
        Self {
            target: target.clone(),
            unicode: None,
            verdict: Decision::Refused,
            mode: policy.mode(),
            reason: None,
            because,
            policy: None,
            rule: None,
            file: None,
            line: None,
            ports: Ports::none(),
            budget: None,
            nearest: None,
            permit: None,
        }
    }

    /// The same, with the place that decides.
    fn at(mut self, policy: &str, rule: &str, file: &str, line: u32) -> Self {
        let told = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        self.policy = told(policy);
        self.rule = told(rule);
        self.file = told(file);
        self.line = (line > 0).then_some(line);
        self
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = match self.verdict {
            Decision::Permitted => "permitted",
            Decision::Refused => "refused",
        };
        write!(f, "{verdict}: {}", self.target)?;
        if let Some(unicode) = &self.unicode {
            write!(f, " ({unicode})")?;
        }
        write!(f, "\n  {}", self.because)?;
        if let (Some(policy), Some(rule), Some(file)) = (&self.policy, &self.rule, &self.file) {
            write!(f, "\n  policy {policy}, rule {rule}, {file}")?;
            if let Some(line) = self.line {
                write!(f, ":{line}")?;
            }
        }
        if let Some(BudgetReport { policy, rule, terms }) = &self.budget {
            write!(f, "\n  budget: {terms} (policy {policy}, rule {rule})")?;
        }
        if let Some(nearest) = &self.nearest {
            write!(f, "\n  nearest: {nearest}")?;
        }
        if self.mode == Mode::Audit {
            write!(f, "\n  the pod is not held: every file that selects it says mode = \"audit\"")?;
        }
        if let Some(permit) = &self.permit {
            write!(f, "\n\nwould be permitted by:\n")?;
            for line in permit.lines() {
                write!(f, "\n  {line}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for NearestMiss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, host, ports, policy, rule, file, line } = self;
        match kind {
            NearestKind::OtherPort => write!(f, "{host} is permitted on {ports}"),
            NearestKind::OnlyBelow => write!(f, "{host} permits the names below, on {ports}, and not the name itself"),
            NearestKind::OnlyAbove => write!(f, "{host} itself is permitted, on {ports}, and no name below it"),
            NearestKind::Sibling => write!(f, "{host}, under the same parent, is permitted on {ports}"),
            NearestKind::Spelling => write!(f, "{host}, spelt almost alike, is permitted on {ports}"),
        }?;
        write!(f, " (policy {policy}, rule {rule}, {file}:{line})")
    }
}

#[cfg(test)]
mod tests;
