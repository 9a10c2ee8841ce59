//! Lines of the running sidecar's log: which of them are wanted, read as they come.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::cli::LinesArgs;
use crate::control::client::{self, AskError};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::record::{DnsVerdict, Line, Record, Timestamp, Verdict};

/// The longest line that is read.
const LINE_BYTES: u64 = 1 << 20;

/// Which lines are wanted.
#[derive(Debug, Default)]
pub struct Wanted {
    denied: bool,
    name: Option<String>,
    since: Option<Timestamp>,
}

/// Why it is not known which are wanted.
#[derive(Debug, thiserror::Error)]
#[error("--since {0}: neither a span (\"10m\", \"1h 30m\") nor a time (\"2026-11-26T08:00:00Z\")")]
pub struct SinceNotUnderstood(String);

impl Wanted {
    /// As the command line says.
    pub fn new(denied: bool, name: Option<&str>, since: Option<&str>) -> Result<Self, Failure> {
        let since = since.map(|text| moment(text).ok_or_else(|| Failure::usage(SinceNotUnderstood(text.to_owned())))).transpose()?;
        Ok(Wanted { denied, name: name.map(|name| name.trim_end_matches('.').to_ascii_lowercase()), since })
    }

    /// Whether a line is wanted. What was lost is wanted unless it is about a name.
    pub fn takes(&self, line: &Line) -> bool {
        let names = |fits: &dyn Fn(&str) -> bool| match &line.record {
            Record::Flow(flow) => {
                let cause = flow.cause.as_ref().and_then(|cause| match cause {
                    crate::record::Cause::LeaseEnded { name, .. } | crate::record::Cause::RefusedName { name, .. } => Some(name.as_str()),
                    _ => None,
                });
                flow.names.iter().map(String::as_str).chain(cause).any(fits)
            }
            Record::Dns(dns) => fits(&dns.name),
            Record::Lost(_) => false,
        };
        let (denied, last) = match &line.record {
            Record::Flow(flow) => (flow.verdict != Verdict::Permitted, flow.last),
            Record::Dns(dns) => (matches!(dns.verdict, DnsVerdict::Refused | DnsVerdict::WouldDeny), dns.last),
            Record::Lost(_) => (true, line.time),
        };
        (denied || !self.denied)
            && self.name.as_ref().is_none_or(|glob| names(&|name| fits(glob.as_bytes(), name.as_bytes())))
            && self.since.is_none_or(|since| last >= since)
    }
}

/// Whether a name fits a pattern in which `*` is any text. Names come from the network: the last star alone is tried again, so the cost is
/// at most the product of both lengths.
fn fits(glob: &[u8], name: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    // Where the last star stands, and up to where it has taken the name.
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = name.get(read) {
        match (glob.get(at), star) {
            (Some(b'*'), _) => {
                star = Some((at, read));
                at += 1;
            }
            (Some(own), _) if own.eq_ignore_ascii_case(byte) => (at, read) = (at + 1, read + 1),
            (_, Some((place, taken))) => {
                star = Some((place, taken + 1));
                (at, read) = (place + 1, taken + 1);
            }
            _ => return false,
        }
    }
    glob.get(at..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

fn moment(text: &str) -> Option<Timestamp> {
    if let Ok(span) = humantime::parse_duration(text) {
        return Some(Timestamp::from(SystemTime::now().checked_sub(span)?));
    }
    humantime::parse_rfc3339_weak(text).ok().map(Timestamp::from)
}

/// Shows the lines that are wanted: as a table, as they are (`--json`), or as they come (`--follow`).
pub fn show(args: &LinesArgs, question: &str, cells: fn(&Line) -> Vec<String>, render: fn(&[Line]) -> String) -> Result<Exit, Failure> {
    let wanted = Wanted::new(args.denied, args.name.as_deref(), args.since.as_deref())?;
    let (control, json) = (&args.running.control, args.running.json);
    if args.follow {
        each(control, &format!("{question} follow"), true, |text, line| match wanted.takes(&line) {
            true if json => output::line(text),
            true => output::line(&cells(&line).join("  ")),
            false => Ok(()),
        })?;
        output::complain("portreeve: the sidecar has ended, or this command did not keep up with it");
        return Ok(Exit::Refused);
    }
    let mut found = Vec::new();
    each(control, question, false, |text, line| {
        if wanted.takes(&line) {
            found.push((text.to_owned(), line));
        }
        Ok(())
    })?;
    found.drain(..found.len().saturating_sub(args.last.unwrap_or(usize::MAX)));
    let (texts, lines): (Vec<String>, Vec<Line>) = found.into_iter().unzip();
    match json {
        true => texts.iter().try_for_each(|text| output::line(text))?,
        false => output::line(&render(&lines))?,
    }
    Ok(Exit::Success)
}

/// Asks, and hands over each line with its text. With `follow` it goes on until the sidecar ends.
pub fn each(control: &Path, question: &str, follow: bool, mut take: impl FnMut(&str, Line) -> Result<(), Failure>) -> Result<(), Failure> {
    let patience = (!follow).then_some(Duration::from_secs(5));
    let stream = client::question(control, question, patience).map_err(Failure::usage)?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut text = String::new();
        let read = reader.by_ref().take(LINE_BYTES).read_line(&mut text);
        let read = read.map_err(|source| Failure::failed(AskError::Talk { path: control.to_owned(), source }))?;
        if read == 0 {
            return Ok(());
        }
        let text = text.trim_end();
        let line = client::understood(text).map_err(Failure::usage)?;
        take(text, line)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_any_text() {
        for (glob, name, wanted) in [
            ("*.example.com", "a.b.example.com", true),
            ("*.example.com", "example.com", false),
            ("api*", "api.example.com", true),
            ("*", "", true),
            ("a*c", "abd", false),
            ("A.example", "a.example", true),
            ("a*", "a", true),
            ("a**b", "ab", true),
            ("*ab", "aab", true),
        ] {
            assert_eq!(fits(glob.as_bytes(), name.as_bytes()), wanted, "{glob} {name}");
        }
    }

    #[test]
    fn many_stars_cost_no_more_than_a_few() {
        // Tried star by star this would not end within a life.
        assert!(!fits(b"*a*a*a*a*a*a*a*a*a*a*a*a*z", &[b'a'; 250]));
    }

    #[test]
    fn spans_and_times_are_understood() {
        assert!(moment("10m").is_some() && moment("2026-11-26T08:00:00Z").is_some());
        assert!(moment("yesterday").is_none());
    }
}
