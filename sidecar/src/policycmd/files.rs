//! Policy files as given on a command line: all of them read and parsed, or one clear word why not.

use std::path::PathBuf;

use policies::{Pod, PolicyFile, Problem, Problems, Severity, Style};
use serde::Serialize;

use crate::cli::PodArgs;
use crate::exit::Failure;
use crate::sources::Sources;

/// The files of a command line.
pub struct Files {
    /// How many were read.
    pub read: usize,
    /// What parsing found.
    pub problems: Problems,
    files: Vec<PolicyFile>,
}

/// Why there is nothing to judge.
#[derive(Debug, thiserror::Error)]
pub enum NoFilesError {
    /// A path that does not exist.
    #[error("{0} does not exist")]
    Missing(String),
    /// Directories without policies.
    #[error("no *.toml file in {0}")]
    Empty(String),
    /// A label that is none.
    #[error("--label {0}: not KEY=VALUE")]
    Label(String),
    /// The files have errors.
    #[error("{0}")]
    Broken(String),
}

/// A problem as JSON tells it.
#[derive(Serialize)]
pub struct ProblemReport {
    severity: &'static str,
    file: String,
    line: u32,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl From<&Problem> for ProblemReport {
    fn from(problem: &Problem) -> Self {
        ProblemReport {
            severity: match problem.severity() {
                Severity::Error => "error",
                Severity::Warning => "warning",
            },
            file: problem.path().to_owned(),
            line: problem.line(),
            message: problem.message().to_owned(),
            hint: problem.hint().map(str::to_owned),
        }
    }
}

impl Files {
    /// Reads and parses them all.
    pub fn read(paths: &[PathBuf]) -> Result<Self, Failure> {
        let sources = Sources::read_paths(paths).map_err(Failure::usage)?;
        if let Some(missing) = sources.missing.first() {
            return Err(Failure::usage(NoFilesError::Missing(missing.display().to_string())));
        }
        if sources.files.is_empty() {
            let paths = paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
            return Err(Failure::usage(NoFilesError::Empty(paths)));
        }
        let (mut files, mut problems) = (Vec::new(), Problems::none());
        for source in &sources.files {
            let parsed = policies::parse(source);
            files.extend(parsed.file);
            problems.extend(parsed.problems);
        }
        Ok(Files { read: sources.files.len(), problems, files })
    }

    /// The files, if none has an error.
    pub fn whole(&self) -> Option<&[PolicyFile]> {
        (!self.problems.has_errors()).then_some(&self.files)
    }

    /// The files, or their errors drawn.
    pub fn whole_or_report(&self) -> Result<&[PolicyFile], Failure> {
        self.whole().ok_or_else(|| broken(&self.problems))
    }
}

/// The problems as the reason why a command cannot go on.
pub fn broken(problems: &Problems) -> Failure {
    Failure::usage(NoFilesError::Broken(format!("the policy has errors\n{}", problems.render(Style::Plain).trim_end())))
}

/// The pod that was described on the command line, if one was.
pub fn pod(args: &PodArgs) -> Result<Option<Pod>, Failure> {
    if args.namespace.is_none() && args.label.is_empty() {
        return Ok(None);
    }
    let mut pod = Pod { namespace: args.namespace.clone().unwrap_or_default(), ..Pod::default() };
    for label in &args.label {
        let (key, value) = label.split_once('=').ok_or_else(|| Failure::usage(NoFilesError::Label(label.clone())))?;
        pod.labels.insert(key.to_owned(), value.to_owned());
    }
    Ok(Some(pod))
}
