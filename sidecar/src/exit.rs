//! What each exit code of `portreeve` means, and how an error is told: once, as a chain, on stderr.

use std::error::Error;
use std::process::ExitCode;

/// The exit codes of every `portreeve` command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done; a query command: permitted, ready, all as expected.
    Success,
    /// A query command: refused, not ready, an expectation failed.
    Refused,
    /// Bad input: an argument, a file, an environment variable.
    Usage,
    /// This machine cannot run it: no nf_tables, no permission, a port taken. A restart does not help.
    Unable,
    /// It ran and failed; a restart may help.
    Failed,
}

impl Exit {
    /// The number handed to the parent process. 2 is clap's own for bad arguments, 78 is EX_CONFIG of sysexits.h.
    pub fn code(self) -> u8 {
        match self {
            Exit::Success => 0,
            Exit::Refused => 1,
            Exit::Usage => 2,
            Exit::Unable => 78,
            Exit::Failed => 70,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// An error together with the exit code it ends the process with.
#[derive(Debug)]
pub struct Failure {
    /// How the process ends.
    pub exit: Exit,
    /// What happened.
    pub error: Box<dyn Error + Send + Sync>,
}

impl Failure {
    /// Bad input from the caller.
    pub fn usage(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Failure { exit: Exit::Usage, error: error.into() }
    }

    /// The machine lacks what is needed.
    pub fn unable(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Failure { exit: Exit::Unable, error: error.into() }
    }

    /// Something went wrong while running.
    pub fn failed(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Failure { exit: Exit::Failed, error: error.into() }
    }
}

/// An error and its causes in one line: `a: b: c`.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// Tells the failure on stderr and gives its exit code.
pub fn report(failure: &Failure) -> Exit {
    crate::output::complain(&format!("portreeve: {}", chain(&*failure.error)));
    failure.exit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read the labels")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn a_chain_is_printed_once_from_the_act_to_the_cause() {
        let error = Outer(std::io::Error::other("disk on fire"));
        assert_eq!(chain(&error), "cannot read the labels: disk on fire");
    }
}
