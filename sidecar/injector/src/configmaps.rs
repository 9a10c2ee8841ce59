//! A ConfigMap with policies is checked when it is applied: a broken one is refused with each problem under its line.

use std::collections::BTreeSet;

use policies::{
    Date, HostPattern, Mode, Name, Policy, PolicyFile, Ports, Problem, Problems, Severity, Source, Style, Surroundings, Verdict,
};
use policies::{parse, run_expectations};
use serde_json::Value;

use crate::names::{self, CONFIG_MAP_PREFIX};
use crate::platform::Platform;

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
    for file in files {
        let mut pod = file.selected_pod();
        let selected = &file.select().namespaces;
        if !selected.is_empty() && !selected.iter().any(|one| one == namespace) {
            warnings.push(format!(
                "{}: selects pods of {}, and this ConfigMap is in {namespace}: nothing reads it",
                file.path(),
                selected.join(", ")
            ));
        } else {
            pod.namespace = namespace.to_owned();
        }
        match Policy::compile(&all, &pod, &surroundings) {
            Ok(policy) => {
                problems.extend(policy.warnings().clone());
                if platform.file().is_some() {
                    let alone = Policy::compile(files, &pod, &surroundings);
                    warnings.extend(alone.iter().flat_map(|alone| taken_by_platform(file, alone, &policy)));
                }
                if file.mode() == Mode::Audit && policy.mode() == Mode::Enforce && platform.file().is_some() {
                    warnings.push(format!("{}: mode = \"audit\" has no effect: the platform's policy holds the pod", file.path()));
                }
            }
            Err(more) => problems.extend(more),
        }
        problems.extend(file.warnings_on(today));
    }
    // An expectation may rest on a file of another ConfigMap: so it is told, not refused.
    for report in run_expectations(&all, &surroundings).unwrap_or_default().iter().filter(|report| !report.met) {
        warnings.push(format!("{}:{}: not as expected: {}", report.file, report.line, report.explanation.because));
    }
}

/// What a rule grants and the platform's policy takes away again: it stays shut, which is not seen in the file.
fn taken_by_platform(file: &PolicyFile, alone: &Policy, held: &Policy) -> Vec<String> {
    let mut told = BTreeSet::new();
    for rule in file.allows() {
        for host in &rule.hosts {
            // Below a wildcard any name will do.
            let name = match host {
                HostPattern::Exact(name) => Some(name.clone()),
                HostPattern::Below(zone) => Name::parse(&format!("any-name.{zone}")).ok(),
            };
            let Some(name) = name else { continue };
            let taken = ports_of(alone, &name).intersect(&rule.ports).subtract(&ports_of(held, &name));
            if !taken.is_empty() {
                let rule_at = format!("{}:{}: rule {}", file.path(), rule.line, rule.name);
                told.insert(format!("{rule_at} has no effect for {host} on {taken}: the platform's policy does not let it"));
            }
        }
    }
    told.into_iter().collect()
}

/// What a policy opens for a name.
fn ports_of(policy: &Policy, name: &Name) -> Ports {
    match policy.judge(name) {
        Verdict::Granted(grant) => {
            let openings = grant.openings().iter().filter_map(|index| policy.opening(*index));
            openings.fold(Ports::none(), |ports, opening| ports.union(&opening.ports))
        }
        _ => Ports::none(),
    }
}

fn told(problem: &Problem) -> String {
    let severity = match problem.severity() {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    format!("{severity}: {}:{}: {}", problem.path(), problem.line(), problem.message())
}
