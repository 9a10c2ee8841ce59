//! `portreeve flows`: who the pod talked to.

use crate::ask::NotYet;
use crate::cli::FlowsArgs;
use crate::exit::{Exit, Failure};

/// Runs it.
pub fn run(_: &FlowsArgs) -> Result<Exit, Failure> {
    Err(Failure::usage(NotYet("flows")))
}
