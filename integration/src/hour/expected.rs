//! What must be told: alike flows and questions with their numbers, in the form that told lines are brought to as well.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// The fields of a flow that are compared. Times, folding and volumes are looked at elsewhere.
const FLOW: [&str; 15] = [
    "flow.event",
    "flow.verdict",
    "flow.mode",
    "flow.direction",
    "flow.names",
    "flow.shared-address",
    "flow.rule",
    "flow.policy",
    "flow.cause",
    "network.transport",
    "network.type",
    "source.address",
    "destination.address",
    "destination.port",
    "process.user.id",
];

/// The fields of a question that are compared.
const DNS: [&str; 10] = [
    "dns.question.name",
    "dns.question.type",
    "dns.verdict",
    "dns.reason",
    "dns.response_code",
    "dns.rule",
    "dns.policy",
    "dns.chain",
    "dns.answers",
    "network.transport",
];

/// What makes flows or questions alike, as one text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(String);

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Key {
    /// Of a line of the log, or of an expectation written like one. `None` for what is neither the beginning of a flow, nor a refusal,
    /// nor a question: ends are compared by [`Key::of_end`].
    #[must_use]
    pub fn of(line: &Value) -> Option<Self> {
        let (kind, fields): (&str, &[&str]) = match line["event.name"].as_str()? {
            "portreeve.flow" if line["flow.event"] != "ended" => ("flow", &FLOW),
            "portreeve.dns" => ("question", &DNS),
            _ => return None,
        };
        Some(Self::pick(kind, line, fields))
    }

    /// Of the beginning or the end of a flow: what both must say alike.
    #[must_use]
    pub fn of_life(line: &Value) -> Self {
        let same: Vec<&str> = FLOW.into_iter().filter(|field| !matches!(*field, "flow.event" | "process.user.id")).collect();
        Self::pick("life", line, &same)
    }

    fn pick(kind: &str, line: &Value, fields: &[&str]) -> Self {
        let mut picked = Map::new();
        for field in fields {
            let Some(mut value) = line.get(*field).cloned() else { continue };
            // How long ago a lease ended is no matter of the script's.
            if let Some(cause) = value.as_object_mut() {
                let _seconds = cause.remove("seconds");
            }
            let _none = picked.insert((*field).to_owned(), value);
        }
        Self(format!("{kind} {}", Value::Object(picked)))
    }
}

/// What must be told, and how often.
#[derive(Clone, Debug, Default)]
pub struct Expected(BTreeMap<Key, u64>);

impl Expected {
    /// One more of what the line says.
    ///
    /// # Panics
    /// When the line is nothing that is compared.
    pub fn add(&mut self, line: &Value) {
        *self.0.entry(Key::of(line).expect("a flow or a question")).or_default() += 1;
    }

    /// How often each kind must be told.
    #[must_use]
    pub fn counts(&self) -> &BTreeMap<Key, u64> {
        &self.0
    }

    /// How many flows and questions that are.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }
}
