//! `portreeve policy diff`: a change of policy in meaning, not in text.

use crate::ask::NotYet;
use crate::cli::DiffArgs;
use crate::exit::{Exit, Failure};

/// Runs it.
pub fn run(_: &DiffArgs) -> Result<Exit, Failure> {
    Err(Failure::usage(NotYet("policy diff")))
}
