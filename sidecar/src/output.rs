//! Standard output that may go away: `| head` ends a command quietly, a full disk is said.

use std::io::{self, ErrorKind, IsTerminal, Write};

use serde::Serialize;

use crate::exit::Failure;

/// Why the output is not whole.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the output")]
struct WriteOutputError(#[source] io::Error);

/// Writes `text` and a line end to stdout. A reader that has gone is no error.
pub fn line(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.write_all(b"\n")).and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::failed(WriteOutputError(error))),
        _ => Ok(()),
    }
}

/// Writes `value` as indented JSON.
pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    line(&serde_json::to_string_pretty(value).map_err(Failure::failed)?)
}

/// Writes `text` and a line end to stderr. Where that is gone too there is nobody left to tell.
pub fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Whether somebody looks at stdout and has nothing against colour (<https://no-color.org>).
pub fn styled() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}
