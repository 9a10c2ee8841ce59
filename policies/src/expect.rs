//! A policy's own tests: every `[[expect]]` is judged for a pod that its file selects, by all files that select that pod.
use serde::Serialize;

use crate::{
    explain::{Decision, Explanation, explain},
    file::{Expected, PolicyFile},
    policy::Policy,
    problem::Problems,
    surroundings::Surroundings,
};

/// The outcome of one `[[expect]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExpectationReport {
    /// The file it stands in.
    pub file: String,
    /// The line, counted from 1.
    pub line: u32,
    /// What was expected.
    pub expected: Expected,
    /// Whether that is what came out.
    pub met: bool,
    /// What came out, and why.
    pub explanation: Explanation,
}

/// Runs the expectations of every file: each for a pod that the file selects ([`PolicyFile::selected_pod`]), by the union of all
/// `files` that select that pod, so that what the platform takes away is seen.
///
/// # Errors
/// The problems of a union that does not compile.
pub fn run_expectations(files: &[PolicyFile], surroundings: &Surroundings) -> Result<Vec<ExpectationReport>, Problems> {
    let mut reports = Vec::new();
    for file in files.iter().filter(|file| !file.expectations().is_empty()) {
        let policy = Policy::compile(files, &file.selected_pod(), surroundings)?;
        reports.extend(file.expectations().iter().map(|expectation| {
            let explanation = explain(&policy, &expectation.target);
            let wanted = match expectation.expected {
                Expected::Allow => Decision::Permitted,
                Expected::Deny => Decision::Refused,
            };
            ExpectationReport {
                file: file.path().to_owned(),
                line: expectation.line,
                expected: expectation.expected,
                met: explanation.verdict == wanted,
                explanation,
            }
        }));
    }
    Ok(reports)
}
