//! `portreeve policy explain PATH... HOST[:PORT[/PROTO]]`: permitted or refused, by which rule, in which file and line.

use std::path::PathBuf;

use policies::{Decision, Pod, Policy, PolicyFile, Surroundings, Target};

use super::files::{self, Files};
use crate::ask::paint::leading;
use crate::cli::ExplainArgs;
use crate::exit::{Exit, Failure};
use crate::loader::today;
use crate::output;

/// Why the target cannot be judged.
#[derive(Debug, thiserror::Error)]
#[error("{text} is not HOST[:PORT[/PROTO]] (examples: github.com, github.com:22, 198.51.100.7:53/udp, [2001:db8::1]:443)")]
pub struct TargetNotUnderstood {
    text: String,
    #[source]
    source: policies::TargetError,
}

/// Runs it; exit 0 permitted, 1 refused.
pub fn run(args: &ExplainArgs) -> Result<Exit, Failure> {
    // clap demands two at least.
    let Some((text, paths)) = args.paths_and_target.split_last() else { return Ok(Exit::Usage) };
    let paths: Vec<PathBuf> = paths.iter().map(PathBuf::from).collect();
    let files = Files::read(&paths)?;
    let parsed = files.whole_or_report()?;
    let target: Target = text.parse().map_err(|source| Failure::usage(TargetNotUnderstood { text: text.clone(), source }))?;
    // Without a pod: one that the first app's file selects.
    let first = || parsed.iter().find(|file| !file.is_platform()).or(parsed.first()).map(PolicyFile::selected_pod).unwrap_or_default();
    let pod = files::pod(&args.pod)?.unwrap_or_else(first);
    let policy = Policy::compile(parsed, &pod, &Surroundings::stand_in(today())).map_err(|problems| files::broken(&problems))?;
    let explanation = policies::explain(&policy, &target);
    if args.json {
        output::json(&explanation)?;
    } else {
        output::people(&leading(&explanation.to_string()))?;
        let counted = policy.files().len();
        if counted < parsed.len() {
            let all = parsed.len();
            output::line(&format!(
                "(by the {counted} of {all} files that select a pod {}; --namespace and --label name another)",
                described(&pod)
            ))?;
        }
    }
    Ok(match explanation.verdict {
        Decision::Permitted => Exit::Success,
        Decision::Refused => Exit::Refused,
    })
}

/// The pod in words.
fn described(pod: &Pod) -> String {
    let mut marks: Vec<String> = pod.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if !pod.namespace.is_empty() {
        marks.insert(0, format!("namespace {}", pod.namespace));
    }
    if marks.is_empty() { "without namespace and labels".to_owned() } else { format!("with {}", marks.join(", ")) }
}
