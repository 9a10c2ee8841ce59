//! What is ours in a pod, by name: the container, the volumes, the keys. Nothing of that name that comes with a pod is trusted.

use serde_json::Value;

/// The sidecar's container.
pub const CONTAINER: &str = "portreeve";
/// Every volume that begins like this, and the one that is called just so, is ours.
pub const VOLUME_PREFIX: &str = "portreeve-";
/// Every ConfigMap with a policy begins like this: so it is checked when it is applied.
pub const CONFIG_MAP_PREFIX: &str = "portreeve-";
/// The label by which a pod asks to be left alone, where the settings let it.
pub const INJECT_LABEL: &str = "portreeve.dev/inject";
/// The annotation that names further ConfigMaps, separated by commas.
pub const POLICIES_ANNOTATION: &str = "portreeve.dev/policies";
/// The annotation that says what was injected.
pub const STATUS_ANNOTATION: &str = "portreeve.dev/status";
/// The annotation by which `kubectl portreeve policy apply` makes the kubelet look at a pod's ConfigMaps at once. It says nothing to us.
pub const APPLIED_ANNOTATION: &str = "portreeve.dev/policy-applied";
/// The port of the metrics, as the container names it (15 characters are the most).
pub const METRICS_PORT_NAME: &str = "portreeve-http";

/// Whether a volume of this name is ours.
pub fn is_our_volume(name: &str) -> bool {
    name == CONTAINER || name.starts_with(VOLUME_PREFIX)
}

/// Whether a label or annotation is ours: its prefix is portreeve.dev or a name below it.
pub fn is_our_key(key: &str) -> bool {
    key.split_once('/').is_some_and(|(prefix, _)| prefix == "portreeve.dev" || prefix.ends_with(".portreeve.dev"))
}

/// Whether an object can have this name: a DNS subdomain of at most 253 characters.
pub fn is_object_name(name: &str) -> bool {
    let label = |label: &str| {
        let plain = label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        !label.is_empty() && plain && !label.starts_with('-') && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// Reads the name of a namespace, a DNS label: what is printed of it is YAML, and nothing else may get into it.
///
/// # Errors
/// What a name may hold.
pub fn namespace(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if (1..=63).contains(&text.len()) && text.chars().all(plain) && !text.starts_with('-') && !text.ends_with('-') {
        Ok(text.to_owned())
    } else {
        Err("a namespace has 1 to 63 of a-z, 0-9 and -, and neither begins nor ends with -".to_owned())
    }
}

/// Reads a name that a certificate can be for.
///
/// # Errors
/// What a name may hold.
pub fn service(text: &str) -> Result<String, String> {
    if is_object_name(text) {
        Ok(text.to_owned())
    } else {
        Err("a Service's name is SERVICE.NAMESPACE.svc, of a-z, 0-9, - and dots".to_owned())
    }
}

/// The `name` of a container or volume; empty where it has none.
pub(crate) fn name_of(value: &Value) -> &str {
    text(value, "/name").unwrap_or("")
}

/// The text at a JSON pointer.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str)
}

/// The list at a JSON pointer; empty where there is none.
pub(crate) fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The entries with text values of the object at a JSON pointer (labels, annotations).
pub(crate) fn entries<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let object = value.pointer(pointer).and_then(Value::as_object);
    object.into_iter().flatten().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_a_label_and_nothing_that_yaml_would_read_otherwise() {
        for good in ["a", "portreeve-system", "0x"] {
            assert_eq!(namespace(good).as_deref(), Ok(good));
        }
        for bad in ["", "-a", "a-", "A", "a.b", "a\nb: c", &"a".repeat(64)] {
            assert!(namespace(bad).is_err(), "{bad}");
        }
    }
}
