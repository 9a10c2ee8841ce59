//! Where what is ours goes: one container, before all others; the volumes, once each; the annotation. What is so already stays.

use serde_json::{Map, Value, json};

use super::same::is_same;
use crate::names::{self, CONTAINER, STATUS_ANNOTATION, is_our_volume};

/// The version that the status annotation tells.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Writes the status annotation, and takes out what would set an AppArmor profile for the sidecar by its name.
pub(super) fn annotate(metadata: &mut Map<String, Value>, policies: &[String]) {
    let status = json!({"version": VERSION, "policies": policies}).to_string();
    let annotations = metadata.entry("annotations").or_insert_with(|| Value::Object(Map::new()));
    // `annotations: null` is none.
    if annotations.is_null() {
        *annotations = Value::Object(Map::new());
    }
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.insert(STATUS_ANNOTATION.to_owned(), Value::String(status));
        annotations.remove(&format!("container.apparmor.security.beta.kubernetes.io/{CONTAINER}"));
    }
}

/// Makes the sidecar the first init container, and the only one of its name.
pub(super) fn container_first(spec: &mut Map<String, Value>, wanted: Value) {
    let Some(containers) = list_at(spec, "initContainers") else { return };
    let came: Vec<Value> = containers.extract_if(.., |container| names::name_of(container) == CONTAINER).collect();
    // As it came only if it is as it would be made: the API server's defaults and additions are kept, and the patch is empty.
    let first = came.into_iter().find(|container| is_same(container, &wanted)).unwrap_or(wanted);
    containers.insert(0, first);
}

/// Puts the volumes in. If they are all there as they should be, the list is not touched: others may have appended to it.
pub(super) fn volumes(spec: &mut Map<String, Value>, wanted: Vec<Value>) {
    let Some(volumes) = list_at(spec, "volumes") else { return };
    let ours: Vec<&Value> = volumes.iter().filter(|volume| is_our_volume(names::name_of(volume))).collect();
    if ours.len() == wanted.len() && ours.iter().zip(&wanted).all(|(came, wanted)| is_same(came, wanted)) {
        return;
    }
    volumes.retain(|volume| !is_our_volume(names::name_of(volume)));
    volumes.extend(wanted);
}

fn list_at<'a>(spec: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Vec<Value>> {
    let list = spec.entry(key).or_insert_with(|| Value::Array(Vec::new()));
    if list.is_null() {
        *list = Value::Array(Vec::new());
    }
    list.as_array_mut()
}
