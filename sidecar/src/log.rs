//! Where the sidecar's own log goes: stderr, as text on a terminal and as one JSON object a line otherwise.

use std::io::IsTerminal;

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
