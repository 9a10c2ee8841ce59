//! Single values: names, ports, spans of time, days.
use std::{collections::HashMap, ops::Range, time::Duration};

use toml::{Spanned, de::DeValue};

use super::{
    fields::{Fields, Text, wrong_type},
    report::{Report, did_you_mean},
};
use crate::{
    date::Date,
    ports::{PortRange, Ports, Protocol},
    problem::{is_obeyed, quoted},
};

/// Names stand in sets, comments and metrics: long enough to be told apart, short enough for all of them.
const LONGEST_NAME: usize = 48;
/// Owners and tickets are for people, and are told along.
const LONGEST_NOTE: usize = 200;

/// The name of a policy or a rule.
pub(super) fn name(report: &mut Report, text: &Text<'_>) -> Option<String> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let hint = |text: &str| {
        let tame: String =
            text.to_ascii_lowercase().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(LONGEST_NAME).collect();
        let tame = tame.trim_matches('-');
        if tame.is_empty() {
            "a name is made of a-z, 0-9 and -".to_owned()
        } else {
            format!("a name is made of a-z, 0-9 and -; for instance `{tame}`")
        }
    };
    if text.text.is_empty() || !text.text.bytes().all(allowed) || text.text.starts_with('-') {
        report.error(text.span.clone(), format!("{} is no name", quoted(text.text)), "not made of a-z, 0-9 and -", Some(hint(text.text)));
        return None;
    }
    if text.text.len() > LONGEST_NAME {
        report.error(
            text.span.clone(),
            format!("the name has {} characters, {LONGEST_NAME} is the most", text.text.len()),
            "too long",
            None,
        );
        return None;
    }
    Some(text.text.to_owned())
}

/// A word out of a few.
pub(super) fn choice<T: Copy>(report: &mut Report, text: &Text<'_>, key: &str, words: &[(&str, T)]) -> Option<T> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text.text) {
        return Some(*value);
    }
    let list: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
    let hint = did_you_mean(text.text, words.iter().map(|(word, _)| *word));
    report.error(text.span.clone(), format!("`{key}` cannot be {}", quoted(text.text)), format!("expected {}", list.join(" or ")), hint);
    None
}

/// A line for people.
pub(super) fn note(report: &mut Report, fields: &Fields<'_, '_>, key: &str) -> Option<String> {
    let text = fields.string(report, key)?;
    if text.text.len() > LONGEST_NOTE || text.text.chars().any(is_obeyed) {
        report.error(
            text.span,
            format!("`{key}` is one line of at most {LONGEST_NOTE} bytes"),
            "too long, or has characters that are obeyed instead of shown",
            None,
        );
        return None;
    }
    Some(text.text.to_owned())
}

/// A span of time, between two bounds.
pub(super) fn duration(report: &mut Report, text: &Text<'_>, key: &str, bounds: std::ops::RangeInclusive<Duration>) -> Option<Duration> {
    let Ok(duration) = humantime::parse_duration(text.text) else {
        let hint = Some("a number with its unit: \"90s\", \"5m\", \"1h\"".to_owned());
        report.error(text.span.clone(), format!("{} is no span of time", quoted(text.text)), "cannot be read", hint);
        return None;
    };
    if !bounds.contains(&duration) {
        let (least, most) = (humantime::format_duration(*bounds.start()), humantime::format_duration(*bounds.end()));
        report.error(text.span.clone(), format!("`{key}` must be between {least} and {most}"), "out of bounds", None);
        return None;
    }
    Some(duration)
}

/// A day, without a time of day.
pub(super) fn day(report: &mut Report, key: &str, value: &Spanned<DeValue<'_>>) -> Option<Date> {
    let DeValue::Datetime(datetime) = value.get_ref() else {
        return wrong_type(report, value.span(), key, "a date, as 2027-01-31 without quotes", value.get_ref());
    };
    let date = match (datetime.date, datetime.time, datetime.offset) {
        (Some(date), None, None) => Date::new(date.year, date.month, date.day),
        _ => None,
    };
    if date.is_none() {
        report.error(value.span(), format!("`{key}` is a day, without a time"), "not a day", Some("write it as 2027-01-31".to_owned()));
    }
    date
}

/// The ports of a rule. `None` where the key is missing; an empty set where nothing in it could be read.
pub(super) fn ports(report: &mut Report, fields: &Fields<'_, '_>) -> Option<Ports> {
    let texts = match fields.value("ports") {
        None => return None,
        Some(_) => fields.strings(report, "ports").unwrap_or_default(),
    };
    if let Some(value) = fields.value("ports")
        && matches!(value.get_ref(), DeValue::Array(list) if list.is_empty())
    {
        report.error(
            value.span(),
            "`ports` is empty: nothing would be opened",
            "no port",
            Some("name the ports: \"443\", \"53/udp\", \"8000-8100/tcp\", \"*/tcp\", \"icmp\"".to_owned()),
        );
    }
    let mut ports = Ports::none();
    for text in texts {
        match port(text.text) {
            Ok((protocol, range)) => ports.add(protocol, range),
            Err((label, hint)) => report.error(text.span, format!("{} is no port", quoted(text.text)), label, Some(hint)),
        }
    }
    Some(ports)
}

fn port(text: &str) -> Result<(Protocol, PortRange), (&'static str, String)> {
    if text == "icmp" {
        return Ok((Protocol::Icmp, PortRange::ALL));
    }
    let (numbers, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "icmp" => return Err(("ICMP has no ports", "write \"icmp\"".to_owned())),
        _ => return Err(("the protocol is neither tcp nor udp", "write /tcp or /udp behind the port".to_owned())),
    };
    if numbers == "*" {
        return if text == "*" {
            Err(("all ports of which protocol?", "write \"*/tcp\", \"*/udp\", or both".to_owned()))
        } else {
            Ok((protocol, PortRange::ALL))
        };
    }
    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|&port: &u16| digits && port > 0)
    };
    let examples = || "as in \"443\", \"53/udp\", \"8000-8100/tcp\", \"*/tcp\", \"icmp\"".to_owned();
    match (number(first), number(last)) {
        (Some(first), Some(last)) => match PortRange::new(first, last) {
            Some(range) => Ok((protocol, range)),
            None => Err(("the range runs backwards", format!("write \"{last}-{first}/{protocol}\""))),
        },
        _ => Err(("ports are numbers from 1 to 65535", examples())),
    }
}

/// Names that were given already, with the line of each: names must differ within a file.
#[derive(Default)]
pub(super) struct Taken {
    names: HashMap<String, u32>,
}

impl Taken {
    pub(super) fn take(&mut self, report: &mut Report, name: &str, span: &Range<usize>) {
        match self.names.get(name) {
            Some(line) => {
                report.error(
                    span.clone(),
                    format!("two rules are named `{name}`"),
                    format!("line {line} has this name already"),
                    Some("a rule's name is its identity in sets, logs and metrics: give each its own".to_owned()),
                );
            }
            None => {
                self.names.insert(name.to_owned(), report.line(span));
            }
        }
    }
}
