//! `portreeve map`: which workloads use which names.

use crate::ask::NotYet;
use crate::cli::MapArgs;
use crate::exit::{Exit, Failure};

/// Runs it.
pub fn run(_: &MapArgs) -> Result<Exit, Failure> {
    Err(Failure::usage(NotYet("map")))
}
