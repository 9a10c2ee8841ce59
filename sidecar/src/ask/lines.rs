//! Lines of the running sidecar's log: which of them are wanted, read as they come.

pub mod reading;

use std::io::{BufRead, BufReader};
use std::time::{Duration, SystemTime};

use self::reading::{Heard, Reading, passed_over};
use crate::ask::table::Table;
use crate::cli::LinesArgs;
use crate::control::client::{self, AskError};
use crate::exit::{Exit, Failure};
use crate::output;
use crate::record::{DnsVerdict, Line, Record, Timestamp, Verdict};

/// Whose view lines are that are kept.
const KEPT: &str = "(as the sidecar remembers it: the last half mebibyte; the whole log is on its stdout)";
/// Whose view lines are that come.
const COMING: &str = "(as the sidecar tells it from here on; the whole log is on its stdout)";

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

/// A command that shows lines: what it asks for, and the columns of its table.
#[derive(Debug)]
pub struct View {
    /// The question to the sidecar.
    pub question: &'static str,
    /// The head; the second column is the verdict.
    pub head: &'static [&'static str],
    /// The cells of a line.
    pub cells: fn(&Line) -> Vec<String>,
    /// What stands instead of a table without rows.
    pub none: &'static str,
}

impl View {
    /// The table, and whose view it is.
    pub fn render<'a>(&self, lines: impl Iterator<Item = &'a Line>) -> String {
        let mut lines = lines.peekable();
        match lines.peek() {
            Some(_) => format!("{}\n{KEPT}", self.table(lines).render()),
            None => format!("{}\n{KEPT}", self.none),
        }
    }

    fn table<'a>(&self, lines: impl Iterator<Item = &'a Line>) -> Table {
        let mut table = Table::new(self.head).verdicts_in(1);
        lines.for_each(|line| table.row((self.cells)(line)));
        table
    }

    /// Shows the lines that are wanted: as a table, as they are (`--json`), or as they come (`--follow`).
    pub fn show(&self, args: &LinesArgs) -> Result<Exit, Failure> {
        let wanted = Wanted::new(args.denied, args.name.as_deref(), args.since.as_deref())?;
        let follow = if args.follow { " follow marked" } else { "" };
        let patience = (!args.follow).then_some(Duration::from_secs(5));
        let question = format!("{}{follow}", self.question);
        let stream = client::question(&args.running.control, &question, patience).map_err(Failure::usage)?;
        let mut reading = Reading::new(BufReader::new(stream));
        let show = |text: &str| output::people(text);
        let told = match args.follow {
            true => self.follow(&mut reading, &wanted, args, show),
            false => self.kept(&mut reading, &wanted, args).and_then(|text| if text.is_empty() { Ok(()) } else { show(&text) }),
        };
        if reading.unknown() > 0 {
            output::complain(&format!("portreeve: {}", passed_over(reading.unknown())));
        }
        told?;
        if args.follow {
            output::complain("portreeve: the sidecar has ended, or this command did not keep up with it");
            return Ok(Exit::Refused);
        }
        Ok(Exit::Success)
    }

    /// What is kept, up to the mark or the end.
    fn kept(&self, reading: &mut Reading<impl BufRead>, wanted: &Wanted, args: &LinesArgs) -> Result<String, Failure> {
        let found = self.last_kept(reading, wanted, args)?;
        Ok(match args.running.json {
            true => found.into_iter().map(|(text, _)| text).collect::<Vec<_>>().join("\n"),
            false => self.render(found.iter().map(|(_, line)| line)),
        })
    }

    fn last_kept(&self, reading: &mut Reading<impl BufRead>, wanted: &Wanted, args: &LinesArgs) -> Result<Vec<(String, Line)>, Failure> {
        let mut found = Vec::new();
        loop {
            match reading.hear().map_err(|error| talk(args, error))? {
                Heard::Line(text, line) if wanted.takes(&line) => found.push((text, *line)),
                Heard::Line(..) => {}
                Heard::Mark | Heard::End => break,
            }
        }
        found.drain(..found.len().saturating_sub(args.last.unwrap_or(usize::MAX)));
        Ok(found)
    }

    /// What is kept, under a head and whose view it is, and then each line as it comes.
    fn follow(
        &self,
        reading: &mut Reading<impl BufRead>,
        wanted: &Wanted,
        args: &LinesArgs,
        mut show: impl FnMut(&str) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let kept = self.last_kept(reading, wanted, args)?;
        let json = args.running.json;
        let table = self.table(kept.iter().map(|(_, line)| line));
        match json {
            true => kept.iter().try_for_each(|(text, _)| show(text))?,
            false => show(&format!("{COMING}\n{}", table.render()))?,
        }
        let mut columns = table.into_columns();
        loop {
            match reading.hear().map_err(|error| talk(args, error))? {
                Heard::Line(text, line) if wanted.takes(&line) => show(&if json { text } else { columns.next(&(self.cells)(&line)) })?,
                Heard::Line(..) | Heard::Mark => {}
                Heard::End => return Ok(()),
            }
        }
    }
}

fn talk(args: &LinesArgs, error: AskError) -> Failure {
    match error {
        AskError::Talk { source, .. } => Failure::failed(AskError::Talk { path: args.running.control.clone(), source }),
        other => Failure::usage(other),
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

    const HEAD: &str = r#"{"time":"2026-11-26T08:00:00.000Z","schema.version":1"#;

    fn lost(count: u64) -> String {
        format!(r#"{HEAD},"event.name":"portreeve.lost","lost.what":"questions","lost.why":"queue-full","lost.count":{count}}}"#)
    }

    const VIEW: View = View {
        question: "flows",
        head: &["time", "what", "count"],
        cells: |line| match &line.record {
            Record::Lost(lost) => vec!["TIME".to_owned(), "lost".to_owned(), lost.count.to_string()],
            _ => Vec::new(),
        },
        none: "nothing",
    };

    fn args(last: Option<usize>, json: bool) -> LinesArgs {
        let running = crate::cli::RunningArgs { json, control: "/nowhere".into() };
        LinesArgs { follow: true, denied: false, name: None, since: None, last, running }
    }

    fn followed(told: &[String], args: &LinesArgs) -> (Vec<String>, u64) {
        let text = told.iter().map(|line| format!("{line}\n")).collect::<String>();
        let mut reading = Reading::new(text.as_bytes());
        let mut shown = Vec::new();
        let show = |text: &str| {
            shown.push(output::plain(text));
            Ok(())
        };
        VIEW.follow(&mut reading, &Wanted::default(), args, show).unwrap();
        (shown, reading.unknown())
    }

    #[test]
    fn who_follows_sees_the_last_n_first_under_a_head_and_whose_view_it_is() {
        let told = [lost(1), lost(2), lost(3), String::new(), lost(4), lost(5)];
        let (shown, _) = followed(&told, &args(Some(2), false));
        assert_eq!(shown[0], format!("{COMING}\ntime  what  count\nTIME  lost  2\nTIME  lost  3"));
        assert_eq!(shown[1..], ["TIME  lost  4", "TIME  lost  5"]);
        assert_eq!(followed(&told, &args(Some(0), true)).0, [lost(4), lost(5)]);
        assert_eq!(followed(&told, &args(None, true)).0.len(), 5);
    }

    #[test]
    fn a_line_of_a_newer_sidecar_is_counted_and_the_others_are_shown() {
        let newer = format!(r#"{HEAD},"event.name":"portreeve.later"}}"#);
        let told = [newer.clone(), lost(1), String::new(), newer, lost(2)];
        assert_eq!(followed(&told, &args(None, true)), (vec![lost(1), lost(2)], 2));
    }

    #[test]
    fn a_complaint_of_the_sidecars_is_no_line() {
        let mut reading = Reading::new(&b"{\"error\":\"four follow already\"}\n"[..]);
        let told = VIEW.last_kept(&mut reading, &Wanted::default(), &args(None, true)).unwrap_err();
        assert_eq!(told.error.to_string(), "the sidecar says: four follow already");
    }
}
