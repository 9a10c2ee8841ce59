//! What the pod itself says under `portreeve.dev/`: an unknown key is an error, since a typo must not switch anything.

use serde_json::Value;

use crate::names::{self, APPLIED_ANNOTATION, CONFIG_MAP_PREFIX, INJECT_LABEL, POLICIES_ANNOTATION, STATUS_ANNOTATION};
use crate::refusals::{Reason, Refusal};

/// The most ConfigMaps that the annotation may name: each is a volume that the kubelet watches.
const MOST_FURTHER: usize = 16;

/// What was asked for.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// The pod wants to be left alone.
    pub(super) left_alone: bool,
    /// The ConfigMaps whose policies it gets, in the order they are mounted, each once.
    pub(super) policies: Vec<String>,
    /// What its author should know.
    pub(super) warnings: Vec<String>,
}

/// Reads labels and annotations.
pub(super) fn read(pod: &Value) -> (Asked, Vec<Refusal>) {
    let mut asked = Asked::default();
    let mut refused = Vec::new();
    for (key, value) in names::entries(pod, "/metadata/labels").filter(|(key, _)| names::is_our_key(key)) {
        match (key, value) {
            (INJECT_LABEL, "false") => asked.left_alone = true,
            (INJECT_LABEL, "true") => {}
            (INJECT_LABEL, _) => {
                refused.push(unknown(format!("label {INJECT_LABEL}: {value:?} is neither \"true\" nor \"false\"; take it out")))
            }
            _ => refused
                .push(unknown(format!("label {key} is not known: {}", meant(key, &[INJECT_LABEL], POLICIES_ANNOTATION, "annotation")))),
        }
    }
    let mut further = Vec::new();
    for (key, value) in names::entries(pod, "/metadata/annotations").filter(|(key, _)| names::is_our_key(key)) {
        match key {
            // Ours, and written anew: whatever it says.
            STATUS_ANNOTATION => {}
            // The plugin's, of whatever pod this one is made after.
            APPLIED_ANNOTATION => {}
            POLICIES_ANNOTATION => match config_maps(value) {
                Ok(names) => further = names,
                Err(refusal) => refused.push(refusal),
            },
            _ => refused
                .push(unknown(format!("annotation {key} is not known: {}", meant(key, &[POLICIES_ANNOTATION], INJECT_LABEL, "label")))),
        }
    }
    asked.policies = policies(pod, further, &mut asked.warnings);
    (asked, refused)
}

/// The app's ConfigMap, the namespace's, the platform's, and what the annotation names.
fn policies(pod: &Value, further: Vec<String>, warnings: &mut Vec<String>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let labels = ["app.kubernetes.io/name", "app"];
    let app =
        labels.iter().find_map(|label| names::entries(pod, "/metadata/labels").find(|(key, value)| key == label && !value.is_empty()));
    if let Some((label, value)) = app {
        let name = format!("{CONFIG_MAP_PREFIX}{value}");
        match names::is_object_name(&name) {
            true => all.push(name),
            // Labels may have capitals and underscores, names of objects may not.
            false => warnings.push(format!(
                "label {label}: no ConfigMap can be called {name}, so the pod gets no policy of its own by it; name one with annotation {POLICIES_ANNOTATION}"
            )),
        }
    }
    let shared = ["policies", "platform"].map(|name| format!("{CONFIG_MAP_PREFIX}{name}"));
    for name in shared.into_iter().chain(further) {
        if !all.contains(&name) {
            all.push(name);
        }
    }
    all
}

/// Reads `portreeve-a, portreeve-b`.
fn config_maps(text: &str) -> Result<Vec<String>, Refusal> {
    let wrong = |why: String| Err(Refusal::pod(Reason::Policies, format!("annotation {POLICIES_ANNOTATION}"), why));
    let names: Vec<&str> = text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if names.len() > MOST_FURTHER {
        return wrong(format!("names {} ConfigMaps, of at most {MOST_FURTHER}; put several policies into one", names.len()));
    }
    for name in &names {
        if !names::is_object_name(name) {
            return wrong(format!("{name:?} is no name of a ConfigMap; write names of this namespace, separated by commas"));
        }
        if !name.starts_with(CONFIG_MAP_PREFIX) {
            return wrong(format!(
                "{name:?} does not begin with {CONFIG_MAP_PREFIX}, so nobody would check its policy at apply; rename the ConfigMap"
            ));
        }
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}

fn unknown(text: String) -> Refusal {
    Refusal::new(Reason::UnknownKey, text)
}

/// What the author may have meant.
fn meant(key: &str, known: &[&str], elsewhere: &str, kind: &str) -> String {
    if key == elsewhere {
        return format!("it is an {kind}").replace("an label", "a label");
    }
    match known.iter().find(|known| strsim::damerau_levenshtein(known, key) <= 3) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("take it out, or write {}", known.join(" or ")),
    }
}
