//! A ConfigMap with policies is checked when it is applied: a broken one is refused with each problem under its line.

mod taken;

use policies::{Date, Mode, Pod, Policy, PolicyFile, Problem, Problems, Severity, Source, Style, Surroundings};
use policies::{parse, run_expectations};
use serde_json::Value;

use crate::names::{self, CONFIG_MAP_PREFIX};
use crate::platform::Platform;

/// The most policy files that a sidecar reads.
const MOST_FILES: usize = 256;
/// For how many different pods the files are united: each takes all of them anew, and whoever may edit ConfigMaps chooses how many.
const MOST_KINDS: usize = 8;

/// What came out.
#[derive(Debug, Default)]
pub struct Checked {
    /// The problems, drawn; none if it can be applied.
    pub refused: Option<String>,
    /// What its author should know.
    pub warnings: Vec<String>,
    /// One word for metrics.
    pub reason: &'static str,
}

/// Checks the ConfigMap, along with the platform's policy.
pub fn check(namespace: &str, config_map: &Value, platform: &Platform, today: Date) -> Checked {
    let name = names::text(config_map, "/metadata/name").or_else(|| names::text(config_map, "/metadata/generateName")).unwrap_or("");
    if !name.starts_with(CONFIG_MAP_PREFIX) {
        return Checked { reason: "not-ours", ..Checked::default() };
    }
    let mut warnings = Vec::new();
    let mut problems = Problems::none();
    let mut files = Vec::new();
    for (key, text) in names::entries(config_map, "/data") {
        if !is_read(key) {
            warnings.push(format!("{name}: {key} is not read, since a policy's key ends in .toml and does not begin with a dot"));
            continue;
        }
        let parsed = parse(&Source::new(format!("{name}/{key}"), text));
        problems.extend(parsed.problems);
        files.extend(parsed.file);
    }
    if files.len() > MOST_FILES {
        let refused = Some(format!("{name}: {} policies, of at most {MOST_FILES} that a sidecar reads; put several into one", files.len()));
        return Checked { refused, warnings, reason: "policy" };
    }
    let binary = config_map.pointer("/binaryData").and_then(Value::as_object);
    if let Some(key) = binary.into_iter().flatten().map(|(key, _)| key).find(|key| is_read(key)) {
        let refused = Some(format!("{name}/{key}: a policy is UTF-8 text and belongs into data, not into binaryData"));
        return Checked { refused, warnings, reason: "policy" };
    }
    if !problems.has_errors() {
        together(namespace, &files, platform, today, &mut problems, &mut warnings);
    }
    if problems.has_errors() {
        return Checked { refused: Some(format!("\n{}", problems.render(Style::Plain).trim_end())), warnings, reason: "policy" };
    }
    warnings.extend(problems.iter().map(told));
    if files.is_empty() {
        warnings.push(format!("{name} holds no policy: the pods that read it get nothing by it"));
    }
    Checked { refused: None, warnings, reason: "checked" }
}

/// As the sidecar picks files of a directory.
fn is_read(key: &str) -> bool {
    key.ends_with(".toml") && !key.starts_with('.')
}

/// What only shows when the files are united, with each other and with the platform's.
fn together(namespace: &str, files: &[PolicyFile], platform: &Platform, today: Date, problems: &mut Problems, warnings: &mut Vec<String>) {
    let surroundings = Surroundings::stand_in(today);
    let all: Vec<PolicyFile> = files.iter().chain(platform.file()).cloned().collect();
    let mut kinds: Vec<(Pod, Option<Policy>, Option<Policy>)> = Vec::new();
    for file in files {
        problems.extend(file.warnings_on(today));
        let pod = pod_of(file, namespace, warnings);
        let known = kinds.iter().position(|(kind, ..)| *kind == pod);
        if known.is_none() && kinds.len() >= MOST_KINDS {
            warnings
                .push(format!("{}: its [select] is one of more than {MOST_KINDS} here, so it was checked by itself alone", file.path()));
            continue;
        }
        if known.is_none() {
            let held = Policy::compile(&all, &pod, &surroundings).map_err(|more| problems.extend(more)).ok();
            let alone = platform.file().and_then(|_| Policy::compile(files, &pod, &surroundings).ok());
            kinds.push((pod, held, alone));
        }
        let Some((_, Some(held), alone)) = known.map_or(kinds.last(), |index| kinds.get(index)) else { continue };
        problems.extend(held.warnings().clone());
        warnings.extend(alone.iter().flat_map(|alone| taken::by_platform(file, alone, held)));
        if file.mode() == Mode::Audit && held.mode() == Mode::Enforce && platform.file().is_some() {
            warnings.push(format!("{}: mode = \"audit\" has no effect: the platform's policy holds the pod", file.path()));
        }
    }
    if files.iter().filter(|file| !file.expectations().is_empty()).count() > MOST_KINDS {
        warnings.push(format!("more than {MOST_KINDS} files have an [[expect]]: none was judged; `portreeve policy test` does"));
        return;
    }
    // An expectation may rest on a file of another ConfigMap: so it is told, not refused.
    for report in run_expectations(&all, &surroundings).unwrap_or_default().iter().filter(|report| !report.met) {
        warnings.push(format!("{}:{}: not as expected: {}", report.file, report.line, report.explanation.because));
    }
}

/// A pod of this namespace that the file selects.
fn pod_of(file: &PolicyFile, namespace: &str, warnings: &mut Vec<String>) -> Pod {
    let selected = &file.select().namespaces;
    let mut pod = Pod { name: String::new(), ..file.selected_pod() };
    if selected.is_empty() || selected.iter().any(|one| one == namespace) {
        pod.namespace = namespace.to_owned();
    } else {
        let names = selected.join(", ");
        warnings.push(format!("{}: selects pods of {names}, and this ConfigMap is in {namespace}: nothing reads it", file.path()));
    }
    pod
}

fn told(problem: &Problem) -> String {
    let severity = match problem.severity() {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    format!("{severity}: {}:{}: {}", problem.path(), problem.line(), problem.message())
}
