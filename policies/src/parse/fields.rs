//! The keys of one TOML table: every key that is not known and every value of the wrong type is told.
use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::report::{Report, did_you_mean};
use crate::problem::quoted;

/// A text of the file and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Text<'a> {
    pub(super) text: &'a str,
    pub(super) span: Range<usize>,
}

/// One table, after its keys were checked.
pub(super) struct Fields<'a, 'i> {
    table: &'a DeTable<'i>,
    /// Where the table is announced: what is missing is told there.
    pub(super) span: Range<usize>,
    /// What the table is to people: `[[allow]]`.
    what: &'static str,
}

impl<'a, 'i> Fields<'a, 'i> {
    pub(super) fn new(report: &mut Report, table: &'a DeTable<'i>, span: Range<usize>, what: &'static str, known: &[&'static str]) -> Self {
        for key in table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
            let hint = did_you_mean(key.get_ref(), known.iter().copied());
            let hint = hint.unwrap_or_else(|| format!("the keys here are {}", known.join(", ")));
            report.error(key.span(), format!("unknown key {} in {what}", quoted(key.get_ref())), "not a key of the language", Some(hint));
        }
        Self { table, span, what }
    }

    pub(super) fn value(&self, key: &str) -> Option<&'a Spanned<DeValue<'i>>> {
        self.table.get(key)
    }

    /// A key that must be there and is not.
    pub(super) fn missing(&self, report: &mut Report, key: &str, hint: &str) {
        report.missing(self.span.clone(), format!("{} has no `{key}`", self.what), format!("`{key}` is missing"), Some(hint.to_owned()));
    }

    pub(super) fn string(&self, report: &mut Report, key: &str) -> Option<Text<'a>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::String(text) => Some(Text { text, span: value.span() }),
            other => wrong_type(report, value.span(), key, "a string", other),
        }
    }

    pub(super) fn boolean(&self, report: &mut Report, key: &str) -> Option<bool> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Boolean(boolean) => Some(*boolean),
            other => wrong_type(report, value.span(), key, "true or false", other),
        }
    }

    /// The strings of an array; those that are none are told and left out.
    pub(super) fn strings(&self, report: &mut Report, key: &str) -> Option<Vec<Text<'a>>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Array(_) => Some(strings(report, key, value)),
            other => wrong_type(report, value.span(), key, "an array of strings", other),
        }
    }

    pub(super) fn table(&self, report: &mut Report, key: &str) -> Option<(&'a DeTable<'i>, Range<usize>)> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Table(table) => Some((table, value.span())),
            other => wrong_type(report, value.span(), key, "a table", other),
        }
    }

    /// The tables of `[[key]]`; what is no table is told and left out.
    pub(super) fn tables(&self, report: &mut Report, key: &str) -> Vec<(&'a DeTable<'i>, Range<usize>)> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let DeValue::Array(list) = value.get_ref() else {
            let hint = Some(format!("write [[{key}]], with two brackets"));
            report.error(
                value.span(),
                format!("`{key}` is {}, not a list of tables", name_of(value.get_ref())),
                format!("not [[{key}]]"),
                hint,
            );
            return Vec::new();
        };
        let tables = list.iter().filter_map(|item| match item.get_ref() {
            DeValue::Table(table) => Some((table, item.span())),
            other => wrong_type(report, item.span(), key, "a list of tables", other),
        });
        tables.collect()
    }

    /// Each key with its text; values of other types are told and left out.
    pub(super) fn entries(report: &mut Report, table: &'a DeTable<'i>) -> Vec<(&'a str, &'a str)> {
        let entries = table.iter().filter_map(|(key, value)| match value.get_ref() {
            DeValue::String(text) => Some((key.get_ref().as_ref(), text.as_ref())),
            other => wrong_type(report, value.span(), key.get_ref(), "a string", other),
        });
        entries.collect()
    }
}

/// The strings of an array value.
pub(super) fn strings<'a>(report: &mut Report, key: &str, value: &'a Spanned<DeValue<'_>>) -> Vec<Text<'a>> {
    let DeValue::Array(list) = value.get_ref() else { return Vec::new() };
    let texts = list.iter().filter_map(|item| match item.get_ref() {
        DeValue::String(text) => Some(Text { text, span: item.span() }),
        other => wrong_type(report, item.span(), key, "an array of strings", other),
    });
    texts.collect()
}

/// Says that a value has the wrong type. Returns nothing, in the type that is wanted where it is called.
pub(super) fn wrong_type<T>(report: &mut Report, span: Range<usize>, key: &str, wanted: &str, found: &DeValue<'_>) -> Option<T> {
    let hint = match found {
        DeValue::Integer(number) if wanted.contains("string") => Some(format!("put it in quotes: \"{number}\"")),
        DeValue::String(text) if wanted == "an array of strings" => Some(format!("put it in brackets: [{}]", quoted_toml(text))),
        DeValue::String(text) if wanted == "true or false" && matches!(text.as_ref(), "true" | "false") => {
            Some(format!("without quotes: {text}"))
        }
        _ => None,
    };
    report.error(span, format!("{} must be {wanted}, not {}", quoted(key), name_of(found)), format!("expected {wanted}"), hint);
    None
}

fn quoted_toml(text: &str) -> String {
    format!("\"{}\"", text.chars().take(80).flat_map(char::escape_debug).collect::<String>())
}

fn name_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}
