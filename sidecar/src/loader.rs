//! From the files of the pod to one policy in force: everything is read, parsed and compiled before anything changes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use policies::{Date, Mode, Pod, Policy, PolicyFile, Problems, Severity, Style, Surroundings};

use crate::sources::{ReadPoliciesError, Sources, sha256};
use crate::status::PolicyFileStatus;
use crate::surroundings::ResolvConf;

/// Why there is no policy.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A file or directory could not be read.
    #[error("the policy files cannot be read")]
    Read(#[source] ReadPoliciesError),
    /// The files have errors; the text shows each under its line.
    #[error("{summary}\n{drawn}")]
    Problems {
        /// One line: how many, and where the first is.
        summary: String,
        /// All of them, drawn.
        drawn: String,
    },
}

/// A policy and the files it came from.
#[derive(Debug)]
pub struct Loaded {
    /// The policy.
    pub policy: Arc<Policy>,
    /// Every file that was read.
    pub files: Vec<PolicyFileStatus>,
    /// The directories that are not there.
    pub missing: Vec<PathBuf>,
}

/// Reads the policies of one pod, again and again.
#[derive(Debug)]
pub struct Loader {
    dirs: Vec<PathBuf>,
    pod: Pod,
    surroundings: Surroundings,
    seen: Option<([u8; 32], Date)>,
}

impl Loader {
    /// A loader for this pod. The date of `surroundings` is set anew at each load.
    pub fn new(dirs: Vec<PathBuf>, pod: Pod, surroundings: Surroundings) -> Self {
        Loader { dirs, pod, surroundings, seen: None }
    }

    /// The first load. A file that goes while it is read (the kubelet swaps whole directories) is looked for again a few times.
    pub fn load_first(&mut self) -> Result<Loaded, LoadError> {
        let mut tries = 3;
        loop {
            match self.load() {
                Some(Err(LoadError::Read(_))) if tries > 0 => std::thread::sleep(Duration::from_millis(20)),
                Some(outcome) => return outcome,
                None => self.forget(),
            }
            tries -= 1;
        }
    }

    /// Reads everything. `None`: nothing is different from the last time, be that a success or not.
    pub fn load(&mut self) -> Option<Result<Loaded, LoadError>> {
        let sources = match Sources::read(&self.dirs) {
            Ok(sources) => sources,
            Err(error) => {
                // The kubelet swaps whole directories: a file may go between listing and reading. It is read again soon.
                self.seen = None;
                return Some(Err(LoadError::Read(error)));
            }
        };
        let today = today();
        let now = Some((sources.fingerprint(), today));
        if now == self.seen {
            return None;
        }
        self.seen = now;
        self.surroundings.today = today;
        Some(self.compile(&sources))
    }

    /// Makes the next load happen even if no file has changed.
    pub fn forget(&mut self) {
        self.seen = None;
    }

    /// The pod's resolvers are other ones, or its search list is another: the next load compiles for them.
    pub fn set_resolvers(&mut self, conf: &ResolvConf, upstreams: Option<&[SocketAddr]>) {
        if let Some(upstreams) = upstreams {
            self.surroundings.resolvers = upstreams.iter().map(SocketAddr::ip).collect();
        }
        self.surroundings.cluster_domain = conf.cluster_domain();
        self.surroundings.search.clone_from(&conf.search);
        self.forget();
    }

    fn compile(&self, sources: &Sources) -> Result<Loaded, LoadError> {
        let mut files: Vec<PolicyFile> = Vec::new();
        let mut problems = Problems::none();
        for source in &sources.files {
            let parsed = policies::parse(source);
            problems.extend(parsed.problems);
            files.extend(parsed.file);
        }
        let compiled = match problems.has_errors() {
            true => None,
            false => match Policy::compile(&files, &self.pod, &self.surroundings) {
                Ok(policy) => Some(policy),
                Err(more) => {
                    problems.extend(more);
                    None
                }
            },
        };
        let Some(policy) = compiled else {
            return Err(LoadError::Problems { summary: summary(&problems), drawn: problems.render(Style::Plain) });
        };
        for problem in problems.iter().chain(policy.warnings().iter()) {
            tracing::warn!(file = problem.path(), line = problem.line(), hint = problem.hint(), "{}", problem.message());
        }
        if policy.mode() == Mode::Audit {
            tracing::warn!("audit: every policy that selects this pod says mode = \"audit\", so nothing is held and everything is told");
        }
        let files = sources.files.iter().map(|source| Self::file_status(&files, source, &policy)).collect();
        Ok(Loaded { policy: Arc::new(policy), files, missing: sources.missing.clone() })
    }

    fn file_status(files: &[PolicyFile], source: &policies::Source, policy: &Policy) -> PolicyFileStatus {
        let selects_this_pod = policy.files().iter().any(|file| *file.path == *source.path);
        let of = files.iter().find(|file| selects_this_pod && file.path() == source.path);
        let mode = of.map(|file| if file.mode() == Mode::Audit { "audit" } else { "enforce" }.to_owned());
        PolicyFileStatus { path: source.path.clone(), sha256: sha256(&source.text), selects_this_pod, mode }
    }
}

/// All errors in a line: the first, and how many more.
fn summary(problems: &Problems) -> String {
    let mut errors = problems.iter().filter(|problem| problem.severity() == Severity::Error);
    let first = errors.next().map(|first| format!("{}:{}: {}", first.path(), first.line(), first.message())).unwrap_or_default();
    match errors.count() {
        0 => first,
        more => format!("{first} (and {more} more)"),
    }
}

/// Today by UTC.
pub fn today() -> Date {
    Date::from_unix_seconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}
