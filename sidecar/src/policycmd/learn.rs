//! `portreeve policy learn`: the least policy that permits what was seen.

use crate::ask::NotYet;
use crate::cli::LearnArgs;
use crate::exit::{Exit, Failure};

/// Runs it.
pub fn run(_: &LearnArgs) -> Result<Exit, Failure> {
    Err(Failure::usage(NotYet("policy learn")))
}
