//! Whether what came is what we would make: the same fields, and beyond them only what an API server adds by itself.

use serde_json::{Value, json};

use crate::quantity::nanos;

/// Whether `came` is `wanted`.
pub(super) fn is_same(came: &Value, wanted: &Value) -> bool {
    is_same_at(came, wanted, "")
}

fn is_same_at(came: &Value, wanted: &Value, at: &str) -> bool {
    match (came, wanted) {
        (Value::Object(came), Value::Object(wanted)) => {
            wanted.iter().all(|(key, wanted)| came.get(key).is_some_and(|came| is_same_at(came, wanted, &format!("{at}/{key}"))))
                && came.iter().all(|(key, value)| wanted.contains_key(key) || is_added(&format!("{at}/{key}"), value))
        }
        (Value::Array(came), Value::Array(wanted)) => {
            came.len() == wanted.len() && came.iter().zip(wanted).all(|(came, wanted)| is_same_at(came, wanted, at))
        }
        (Value::String(came), Value::String(wanted)) if at.starts_with("/resources/") => came == wanted || is_same_quantity(came, wanted),
        _ => came == wanted,
    }
}

/// What an API server adds to a container of ours beyond what we say: defaults of later versions, and a LimitRange's storage.
fn is_added(at: &str, value: &Value) -> bool {
    match at {
        "/resizePolicy" => value
            .as_array()
            .is_some_and(|list| list.iter().all(|policy| policy.get("restartPolicy").and_then(Value::as_str) == Some("NotRequired"))),
        "/securityContext/procMount" => *value == json!("Default"),
        "/resources/requests/ephemeral-storage" | "/resources/limits/ephemeral-storage" => value.is_string(),
        _ => value.is_null(),
    }
}

/// The API server writes quantities in its own way: 1024Mi comes back as 1Gi, 0.5 as 500m.
fn is_same_quantity(one: &str, other: &str) -> bool {
    matches!((nanos(one), nanos(other)), (Some(one), Some(other)) if one == other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_by_their_value() {
        for (one, other) in [
            ("1024Mi", "1Gi"),
            ("0.5", "500m"),
            ("1", "1000m"),
            ("1000k", "1M"),
            ("0.1Mi", "104857600m"),
            ("2048Ki", "2Mi"),
            ("1e3", "1k"),
            ("1E", "1e18"),
        ] {
            assert!(is_same_quantity(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("1Gi", "1G"),
            ("500m", "501m"),
            ("", ""),
            ("x", "x"),
            ("1Zi", "1Zi"),
            (".", "."),
            ("1e99", "1e99"),
            ("1e38", "1e38"),
            ("1e-3", "1e-3"),
        ] {
            assert!(!is_same_quantity(one, other), "{one} {other}");
        }
    }

    #[test]
    fn what_an_api_server_adds_and_nothing_else() {
        let wanted = json!({"name": "portreeve", "resources": {"limits": {"cpu": "0.5"}}, "securityContext": {"privileged": false}});
        let mut came = json!({"name": "portreeve", "resources": {"limits": {"cpu": "500m", "ephemeral-storage": "1Gi"}},
            "securityContext": {"privileged": false, "procMount": "Default"},
            "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "NotRequired"}]});
        assert!(is_same(&came, &wanted));
        came["securityContext"]["procMount"] = json!("Unmasked");
        assert!(!is_same(&came, &wanted));
        came["securityContext"] = json!({"privileged": false});
        came["lifecycle"] = json!({"postStart": {"exec": {"command": ["sh"]}}});
        assert!(!is_same(&came, &wanted));
    }
}
