//! Problems that no file has alone: between files, and between a file and the place it is used in.
use crate::{
    file::PolicyFile,
    parse::takes_dns,
    preset::Preset,
    problem::{Problem, Problems, Severity},
    surroundings::Surroundings,
};

/// All of them, warnings included.
pub(super) fn check(files: &[&PolicyFile], surroundings: &Surroundings) -> Problems {
    let mut found = Vec::new();
    for (number, file) in files.iter().enumerate() {
        if let Some(earlier) = files.iter().take(number).find(|earlier| earlier.name == file.name) {
            found.push(file.problem(
                Severity::Error,
                file.name_span.clone(),
                format!("two policies for this pod are named `{}`", file.name),
                format!("{} has this name already", earlier.path()),
                Some("a policy's name is its identity in sets, logs and metrics: give each its own".to_owned()),
            ));
        }
        found.extend(denied_resolvers(file, surroundings));
        found.extend(empty_presets(file, surroundings));
    }
    let mut problems = Problems::from_list(found);
    for file in files {
        problems.extend(file.warnings_on(surroundings.today));
    }
    problems
}

fn denied_resolvers(file: &PolicyFile, surroundings: &Surroundings) -> Vec<Problem> {
    let denies = file.denies.iter().filter(|deny| deny.ports.as_ref().is_none_or(takes_dns));
    let ranges = denies.flat_map(|deny| deny.cidrs.iter().zip(&deny.cidr_spans));
    let hits =
        ranges.filter_map(|(range, span)| surroundings.resolvers.iter().find(|resolver| range.contains(*resolver)).map(|hit| (hit, span)));
    hits.map(|(resolver, span)| {
        file.problem(
            Severity::Error,
            span.clone(),
            format!("this deny covers {resolver}, the pod's resolver: no name could be resolved any more"),
            "covers a resolver".to_owned(),
            Some("split the range around it, or deny ports other than 53".to_owned()),
        )
    })
    .collect()
}

fn empty_presets(file: &PolicyFile, surroundings: &Surroundings) -> Vec<Problem> {
    let empty = file.uses.iter().filter(|used| used.preset.openings(surroundings).is_empty());
    empty
        .map(|used| {
            let wants = match used.preset {
                Preset::KubernetesApi => "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set",
                Preset::NodeAgents => "the node's addresses are not known",
                _ => "the cluster's domain is not known",
            };
            file.problem(
                Severity::Warning,
                used.span.clone(),
                format!("{} opens nothing here: {wants}", used.preset),
                "opens nothing".to_owned(),
                None,
            )
        })
        .collect()
}
