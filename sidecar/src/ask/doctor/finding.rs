//! One thing that `doctor` looked at: how bad it is, what it says, what to do about it, and where to read on.

use serde::Serialize;

use crate::ask::paint::paint;
use crate::ask::table::tame;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// As it must be.
    Ok,
    /// It may be meant so.
    Warning,
    /// Something does not work.
    Problem,
}

/// Whose view it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum View {
    /// The running sidecar says so.
    Sidecar,
    /// The kernel says so, to this command.
    Kernel,
    /// Kernel and sidecar, compared.
    Both,
    /// A file of the pod's.
    File,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub weight: Weight,
    /// What was looked at.
    pub about: &'static str,
    /// By whom it is known.
    pub view: View,
    /// What there is to say.
    pub says: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<&'static str>,
    /// Where README.md of the sidecar says more.
    pub anchor: &'static str,
}

impl View {
    /// As it must be.
    pub fn fine(self, about: &'static str, says: impl Into<String>) -> Finding {
        Finding { weight: Weight::Ok, about, view: self, says: says.into(), hint: None, anchor: "#doctor" }
    }

    /// It may be meant so.
    pub fn warning(self, about: &'static str, says: impl Into<String>, hint: &'static str, anchor: &'static str) -> Finding {
        Finding { weight: Weight::Warning, about, view: self, says: says.into(), hint: Some(hint), anchor }
    }

    /// Something does not work.
    pub fn problem(self, about: &'static str, says: impl Into<String>, hint: &'static str, anchor: &'static str) -> Finding {
        Finding { weight: Weight::Problem, ..self.warning(about, says, hint, anchor) }
    }
}

/// All of it for people.
pub fn render(findings: &[Finding]) -> String {
    let lines = findings.iter().flat_map(|finding| {
        let (weight, fill) = match finding.weight {
            Weight::Ok => ("ok", "     "),
            Weight::Warning => ("warning", ""),
            Weight::Problem => ("PROBLEM", ""),
        };
        let hint = finding.hint.map(|hint| format!("         hint: {hint} (sidecar/README.md{})", finding.anchor));
        std::iter::once(format!("{}{fill}  {}: {}", paint(weight), finding.about, tame(&finding.says))).chain(hint)
    });
    let whose = "(sidecar, policy, resolver, flow log, metrics: by the sidecar; kernel, clock, rights: by the kernel; ruleset: both; files: as they are)";
    lines.chain(std::iter::once(whose.to_owned())).collect::<Vec<_>>().join("\n")
}
