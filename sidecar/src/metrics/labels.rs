//! Values of labels: as many different ones as there is room for, the rest is `other`.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// What stands for all that there is no room for.
pub const OTHER: &str = "other";
/// What stands for the names that are not spelt out: `a.example.com and others`.
pub const OTHERS: &str = " and others";
/// The longest value.
pub const MOST_BYTES: usize = 256;

/// The most names of a shared address that are spelt out.
const SPELT: usize = 3;

/// The names that an address is open for, as one value: `a.example.com or b.example.com`, `a.example.com and others`.
pub fn names(names: &[String]) -> String {
    match names {
        [first, ..] if names.len() > SPELT => format!("{first}{OTHERS}"),
        few => few.join(" or "),
    }
}

/// The values that one label has had.
#[derive(Debug)]
pub struct Bounded {
    most: usize,
    seen: Mutex<HashSet<String>>,
}

impl Bounded {
    /// Room for `most` values.
    pub fn new(most: usize) -> Self {
        Bounded { most, seen: Mutex::default() }
    }

    /// The value itself, or `other`. Absence (the empty value) takes no room.
    pub fn label(&self, value: &str) -> String {
        if value.is_empty() {
            return String::new();
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.contains(value) {
            return value.to_owned();
        }
        if seen.len() >= self.most || value.len() > MOST_BYTES {
            return OTHER.to_owned();
        }
        seen.insert(value.to_owned());
        value.to_owned()
    }

    /// Whether a row may be told as it is: it was before, or there is room for one more.
    pub fn has_room(&self, row: &str) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.contains(row) || (seen.len() < self.most && seen.insert(row.to_owned()))
    }
}

/// A value as the log writes it.
pub fn kebab(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text,
        _ => String::new(),
    }
}
