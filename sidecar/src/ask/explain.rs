//! `portreeve explain`: what the running sidecar does with a target, and why.

use crate::ask::NotYet;
use crate::cli::ExplainRunningArgs;
use crate::exit::{Exit, Failure};

/// Runs it.
pub fn run(_: &ExplainRunningArgs) -> Result<Exit, Failure> {
    Err(Failure::usage(NotYet("explain")))
}
