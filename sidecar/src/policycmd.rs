//! `portreeve policy …`: what the files say, told without a sidecar and without rights. Every answer names whose view it is.

pub mod diff;
pub mod explain;
pub mod files;
pub mod learn;
pub mod replay;
pub mod seen;

use policies::{Policy, PolicyFile, Style, Surroundings, run_expectations};
use serde::Serialize;

use self::files::{Files, ProblemReport};
use crate::cli::{CheckArgs, PolicyCommand, PresetsArgs, TestArgs};
use crate::exit::{Exit, Failure};
use crate::loader::today;
use crate::output;

/// Runs one of the policy commands.
pub fn run(command: PolicyCommand) -> Result<Exit, Failure> {
    match command {
        PolicyCommand::Check(args) => check(&args),
        PolicyCommand::Test(args) => test(&args),
        PolicyCommand::Explain(args) => explain::run(&args),
        PolicyCommand::Presets(args) => presets(&args),
        PolicyCommand::Diff(args) => diff::run(&args),
        PolicyCommand::Learn(args) => learn::run(&args),
        PolicyCommand::Replay(args) => replay::run(&args),
    }
}

#[derive(Serialize)]
struct CheckReport {
    files: usize,
    errors: usize,
    warnings: usize,
    problems: Vec<ProblemReport>,
}

fn check(args: &CheckArgs) -> Result<Exit, Failure> {
    let files = Files::read(&args.paths)?;
    let mut problems = files.problems.clone();
    if let Some(parsed) = files.whole() {
        let pods = match files::pod(&args.pod)? {
            Some(pod) => vec![pod],
            None => parsed.iter().map(PolicyFile::selected_pod).collect(),
        };
        for pod in pods {
            match Policy::compile(parsed, &pod, &Surroundings::stand_in(today())) {
                Ok(policy) => problems.extend(policy.warnings().clone()),
                Err(more) => problems.extend(more),
            }
        }
    }
    if args.json {
        output::json(&CheckReport {
            files: files.read,
            errors: problems.errors(),
            warnings: problems.warnings(),
            problems: problems.iter().map(ProblemReport::from).collect(),
        })?;
    } else if problems.is_empty() {
        output::line(&format!("{} policy file{}: no problem found", files.read, if files.read == 1 { "" } else { "s" }))?;
    } else {
        output::line(problems.render(if output::styled() { Style::Styled } else { Style::Plain }).trim_end())?;
    }
    Ok(if problems.has_errors() { Exit::Usage } else { Exit::Success })
}

fn test(args: &TestArgs) -> Result<Exit, Failure> {
    let files = Files::read(&args.paths)?;
    let parsed = files.whole_or_report()?;
    let reports = run_expectations(parsed, &Surroundings::stand_in(today())).map_err(|problems| files::broken(&problems))?;
    let failed = reports.iter().filter(|report| !report.met).count();
    if args.json {
        output::json(&reports)?;
    } else {
        for report in reports.iter().filter(|report| !report.met) {
            let expected = serde_json::to_value(report.expected).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
            output::line(&format!(
                "{}:{}: expected {expected} = \"{}\": {}",
                report.file, report.line, report.explanation.target, report.explanation.because
            ))?;
        }
        output::line(&format!("{} expectations, {failed} not met", reports.len()))?;
    }
    if reports.is_empty() {
        // A test of nothing must not look like one that passed.
        output::complain(&format!("portreeve: no [[expect]] in {} file{}", files.read, if files.read == 1 { "" } else { "s" }));
        return Ok(Exit::Usage);
    }
    Ok(if failed == 0 { Exit::Success } else { Exit::Refused })
}

fn presets(args: &PresetsArgs) -> Result<Exit, Failure> {
    let presets: Vec<_> = policies::presets().collect();
    if args.json {
        output::json(&presets)?;
        return Ok(Exit::Success);
    }
    let width = presets.iter().map(|preset| preset.name.len()).max().unwrap_or_default();
    for preset in presets {
        output::line(&format!("{:width$}  {}", preset.name, preset.opens))?;
    }
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::cli::PodArgs;

    /// A deny that covers the stand-in resolver is wrong only together with the pod's surroundings.
    #[test]
    fn check_judges_each_file_for_a_pod_that_it_selects() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, rest: &str| {
            let text = format!("version = 1\nname = \"{name}\"\n[select]\nnamespaces = [\"{name}\"]\n{rest}");
            fs::write(dir.path().join(format!("{name}.toml")), text).unwrap();
        };
        file("a", "[[allow]]\nname = \"web\"\nhosts = [\"a.example\"]\nports = [\"443\"]\n");
        file("b", "[[deny]]\ncidrs = [\"10.96.0.0/16\"]\n");
        let check = |namespace: Option<&str>| {
            let pod = PodArgs { namespace: namespace.map(str::to_owned), label: Vec::new() };
            check(&CheckArgs { paths: vec![dir.path().to_owned()], json: true, pod }).unwrap()
        };
        assert_eq!((check(None), check(Some("a")), check(Some("b"))), (Exit::Usage, Exit::Success, Exit::Usage));
    }
}
