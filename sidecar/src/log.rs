//! Where the sidecar's own log goes: stderr, as text on a terminal and as one JSON object a line otherwise.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use tracing::level_filters::LevelFilter;

use crate::cli::LogLevel;

/// Starts the log of this process. A second call changes nothing.
pub fn start(level: LogLevel) {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    let builder = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr);
    // Stderr, since stdout is the flow log's. An error here means a log stands already.
    let _ =
        if std::io::stderr().is_terminal() { builder.try_init() } else { builder.json().flatten_event(true).with_ansi(false).try_init() };
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
