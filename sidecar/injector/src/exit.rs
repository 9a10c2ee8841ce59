//! How an error of a command is told: once, as a chain, with a hint where the reader can act, on stderr.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

/// An error and its causes in one line: `a: b: c`.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    // What draws a problem under its line ends with one.
    causes.map(|cause| cause.to_string().trim_end().to_owned()).collect::<Vec<_>>().join(": ")
}

/// Tells the error; the process ends with `code`. Where stderr is closed there is nobody to tell.
pub(crate) fn failed(error: &(dyn Error + 'static), hint: Option<&str>, code: u8) -> ExitCode {
    let mut text = format!("portreeve-injector: {}\n", chain(error));
    if let Some(hint) = hint {
        text.push_str(&format!("hint: {hint}\n"));
    }
    let _ = io::stderr().lock().write_all(text.as_bytes());
    ExitCode::from(code)
}
