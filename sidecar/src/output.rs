//! Standard output that may go away: `| head` ends a command quietly, a full disk is said.

use std::io::{self, ErrorKind, Write};

use anstream::{AutoStream, ColorChoice};
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

/// Writes what people read: the colours in it stay where somebody looks at stdout and has nothing against them, see [`styled`].
pub fn people(text: &str) -> Result<(), Failure> {
    if styled() { line(text) } else { line(&plain(text)) }
}

/// The text without colours.
pub fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

/// Writes `value` as indented JSON.
pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    line(&serde_json::to_string_pretty(value).map_err(Failure::failed)?)
}

/// Writes `text` and a line end to stderr. Where that is gone too there is nobody left to tell.
pub fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Whether somebody looks at stdout who has nothing against colour (<https://no-color.org>), on a terminal that can show it.
pub fn styled() -> bool {
    AutoStream::choice(&io::stdout()) != ColorChoice::Never
}
