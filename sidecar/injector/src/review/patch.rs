//! The least JSON patch (RFC 6902) that people can read: fields one by one, a list of another length as a whole.

use serde_json::{Value, json};

/// What turns `came` into `wanted`, as operations; none if they are the same. What is wanted moves into them: a third copy of a large pod
/// would be what the webhook's memory is measured by.
pub fn diff(came: &Value, wanted: Value) -> Vec<Value> {
    let mut operations = Vec::new();
    walk(came, wanted, "", &mut operations);
    operations
}

fn walk(came: &Value, wanted: Value, at: &str, operations: &mut Vec<Value>) {
    match (came, wanted) {
        (Value::Object(came), Value::Object(wanted)) => {
            for key in came.keys().filter(|key| !wanted.contains_key(*key)) {
                operations.push(json!({"op": "remove", "path": step(at, key)}));
            }
            for (key, wanted) in wanted {
                match came.get(&key) {
                    Some(came) => walk(came, wanted, &step(at, &key), operations),
                    None => operations.push(operation("add", step(at, &key), wanted)),
                }
            }
        }
        // Of another length: element by element it would be many moves, and one list is read at a glance.
        (Value::Array(came), Value::Array(wanted)) if came.len() == wanted.len() => {
            for (index, (came, wanted)) in came.iter().zip(wanted).enumerate() {
                walk(came, wanted, &format!("{at}/{index}"), operations);
            }
        }
        (came, wanted) if *came == wanted => {}
        (_, wanted) => operations.push(operation("replace", at.to_owned(), wanted)),
    }
}

/// `json!` would copy the value.
fn operation(op: &str, path: String, value: Value) -> Value {
    let entries = [("op", Value::from(op)), ("path", Value::from(path)), ("value", value)];
    Value::Object(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// One step further: `~` and `/` are written `~0` and `~1` in a JSON pointer.
fn step(at: &str, key: &str) -> String {
    format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"))
}
