//! The schema of the product's log of flows and questions, as it is checked in: every line that a test reads is held against it.

use std::sync::LazyLock;

use serde_json::Value;

const SCHEMA: &str = include_str!("../../../sidecar/schema/flow-log-1.json");

static VALIDATOR: LazyLock<jsonschema::Validator> = LazyLock::new(|| {
    let schema: Value = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    jsonschema::options().should_validate_formats(true).build(&schema).expect("the schema is one")
});

/// What of a line is not as the schema says.
pub(super) fn faults(line: &Value) -> Vec<String> {
    VALIDATOR.iter_errors(line).map(|fault| fault.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_a_field_of_nobody_is_found_out() {
        let line = |more: &str| {
            let text = format!(
                r#"{{"time":"2026-11-26T08:00:00.000Z","schema.version":1,"event.name":"portreeve.lost",
                "lost.what":"questions","lost.why":"queue-full","lost.count":3{more}}}"#
            );
            serde_json::from_str::<Value>(&text).unwrap()
        };
        assert_eq!(faults(&line("")), Vec::<String>::new());
        assert_eq!(faults(&line(r#","lost.else":1"#)).len(), 1);
    }
}
