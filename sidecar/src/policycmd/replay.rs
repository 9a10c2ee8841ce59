//! `portreeve policy replay`: a changed policy tried against recorded flows.

use crate::ask::NotYet;
use crate::cli::ReplayArgs;
use crate::exit::{Exit, Failure};

/// Runs it.
pub fn run(_: &ReplayArgs) -> Result<Exit, Failure> {
    Err(Failure::usage(NotYet("policy replay")))
}
