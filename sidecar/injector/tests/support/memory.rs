//! Reviews that are made to take memory.

use serde_json::{Value, json};

use super::cluster::request;

/// Each with what it is: as many values as fit in a body of its size, in the list that a patch
/// repeats, and texts as long as the API server takes them.
pub(super) fn hostile_reviews() -> Vec<(String, Vec<u8>)> {
    let body = |init: &str| {
        let pod = json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "app"}], "initContainers": "HERE"}});
        request("pods", "", "CREATE", "shop", &pod, &Value::Null).to_string().replace("\"HERE\"", init).into_bytes()
    };
    let mut all: Vec<(String, Vec<u8>)> = Vec::new();
    // An opening brace, a colon and a comma each; and two each, in stacks that are less deep than the JSON reader's bound.
    let flat = |count: usize| vec!["{\"\":0}"; count].join(",");
    let stack = "{\"\":".repeat(100) + "0" + &"}".repeat(100);
    let deep = |count: usize| format!("{{\"name\":\"a\",\"x\":[{}]}}", vec![stack.as_str(); count / 100].join(","));
    // These weigh next to nothing until their rights are written out.
    all.push(("20,000 empty init containers".to_owned(), body(&format!("[{}]", vec!["{}"; 20_000].join(",")))));
    all.push(("16,000 init containers".to_owned(), body(&format!("[{}]", flat(16_000)))));
    for count in [16_000, 5_900] {
        all.push((format!("{count} stacked objects"), body(&format!("[{}]", deep(count)))));
    }
    for count in [16_000, 5_200] {
        all.push((format!("{count} objects in a row"), body(&format!("[{{\"name\":\"a\",\"x\":[{}]}}]", flat(count)))));
    }
    all.push(("40,000 short texts".to_owned(), body(&format!("[{{\"x\":[{}]}}]", vec!["\"a\""; 40_000].join(",")))));
    all.push(("15,000 lists".to_owned(), body(&format!("[{{\"x\":[{}]}}]", vec!["[0]"; 15_000].join(",")))));
    let init = |bytes: usize| format!("[{{\"name\":\"a\",\"image\":\"{}\"}}]", "x".repeat(bytes));
    all.push(("1.5 MiB of text, as much as etcd takes".to_owned(), body(&init(3 << 19))));
    all.push(("3 MiB of text, as much as the API server takes".to_owned(), body(&init(3 << 20))));
    all
}
