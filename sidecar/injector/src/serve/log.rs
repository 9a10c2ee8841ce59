//! The injector's log: stderr, text on a terminal and one JSON object a line otherwise.

use std::io::IsTerminal;

/// Starts the log. A second call changes nothing.
pub(super) fn start() {
    let builder = tracing_subscriber::fmt().with_max_level(tracing::level_filters::LevelFilter::INFO).with_writer(std::io::stderr);
    // An error here means a log stands already.
    let _ =
        if std::io::stderr().is_terminal() { builder.try_init() } else { builder.json().flatten_event(true).with_ansi(false).try_init() };
}
