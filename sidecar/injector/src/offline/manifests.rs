//! YAML of several documents to JSON values and back, read as kubectl reads it.

use serde_json::Value;

/// Why a text is no manifest.
#[derive(Debug, thiserror::Error)]
pub enum ReadManifestsError {
    /// No YAML.
    #[error("{0}")]
    Yaml(String),
    /// A document that is no object of Kubernetes.
    #[error("document {number} has no apiVersion and kind")]
    NoObject {
        /// Counted from 1.
        number: usize,
    },
    /// Nothing in it.
    #[error("there is no document in it")]
    Empty,
}

/// Every document.
pub(super) fn read(text: &str) -> Result<Vec<Value>, ReadManifestsError> {
    // `defaultMode: 0444` is octal to kubectl.
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    let objects: Vec<Value> =
        serde_saphyr::from_multiple_with_options(text, options).map_err(|error| ReadManifestsError::Yaml(error.to_string()))?;
    if objects.is_empty() {
        return Err(ReadManifestsError::Empty);
    }
    let is_object = |object: &Value| ["apiVersion", "kind"].iter().all(|key| object.get(key).is_some_and(Value::is_string));
    match objects.iter().position(|object| !is_object(object)) {
        Some(index) => Err(ReadManifestsError::NoObject { number: index + 1 }),
        None => Ok(objects),
    }
}

/// All of them as one text.
pub(super) fn write(objects: &[Value]) -> Result<String, ReadManifestsError> {
    let mut text = String::new();
    for object in objects {
        let document = serde_saphyr::to_string(object).map_err(|error| ReadManifestsError::Yaml(error.to_string()))?;
        if !text.is_empty() {
            text.push_str("---\n");
        }
        text.push_str(&document);
    }
    Ok(text)
}
