//! Where the sidecar's own log goes: stderr, as text on a terminal and as one JSON object a line otherwise; who does not read it holds up nobody.

use std::io::{self, IsTerminal};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tracing::level_filters::LevelFilter;

use crate::cli::LogLevel;
use crate::record::Timestamp;
use crate::telling::output::Output;

/// Lines that wait for whoever reads stderr; beyond them they are left out, and how many is said.
const WAITING: usize = 1024;
/// How long the end of the process waits for the last lines to be written.
const LAST_LINES: Duration = Duration::from_millis(300);

/// The way to stderr: of this process, since the log is.
static STDERR: OnceLock<Output> = OnceLock::new();

/// Starts the log of this process. A second call changes nothing.
pub fn start(level: LogLevel) {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    // Without a thread for it the log is written at once, as by any program.
    let missed = if io::stderr().is_terminal() { missed_for_people } else { missed_as_json };
    if let Ok(output) = Output::to_stderr(WAITING, missed) {
        let _another_stands = STDERR.set(output);
    }
    let builder = tracing_subscriber::fmt().with_max_level(level).with_writer(|| Queued);
    // Stderr, since stdout is the flow log's. An error here means a log stands already.
    let _ = if io::stderr().is_terminal() { builder.try_init() } else { builder.json().flatten_event(true).with_ansi(false).try_init() };
}

fn missed_for_people(count: u64) -> String {
    format!("WARN {count} lines of this log were left out: they were not read in time")
}

fn missed_as_json(count: u64) -> String {
    let timestamp = Timestamp::now().to_string();
    let message = "lines of this log were left out: they were not read in time";
    serde_json::json!({"timestamp": timestamp, "level": "WARN", "message": message, "count": count, "target": module_path!()}).to_string()
}

/// Waits for the last lines, not for long: to be called when the process ends.
pub fn finish() {
    if let Some(output) = STDERR.get() {
        output.finish(LAST_LINES);
    }
}

/// Takes an event of the log, which comes whole and with its end of line, to the thread that writes it.
struct Queued;

impl io::Write for Queued {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let Some(output) = STDERR.get() else { return io::stderr().write(event) };
        let text = String::from_utf8_lossy(event);
        output.line(Arc::from(text.trim_end_matches('\n')));
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Bounds the lines of one kind: it may be an app that makes them be written.
#[derive(Debug, Clone, Default)]
pub struct Lines {
    second: Option<Instant>,
    written: u32,
    left_out: u64,
}

impl Lines {
    /// Whether one more line is due at `now` if `most` are in a second, and how many were left out before it.
    pub fn due(&mut self, now: Instant, most: u32) -> Option<u64> {
        if self.second.is_none_or(|second| now.saturating_duration_since(second) >= Duration::from_secs(1)) {
            (self.second, self.written) = (Some(now), 0);
        }
        if self.written >= most {
            self.left_out += 1;
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_of_a_second_is_counted_in_the_next() {
        let (start, mut lines) = (Instant::now(), Lines::default());
        let told: Vec<_> = (0..5).map(|_| lines.due(start, 2)).collect();
        assert_eq!(told, [Some(0), Some(0), None, None, None]);
        assert_eq!(lines.due(start + Duration::from_secs(1), 2), Some(3));
    }
}
