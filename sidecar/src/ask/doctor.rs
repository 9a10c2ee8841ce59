//! `portreeve doctor`: what keeps the sidecar from its work.

use crate::ask::NotYet;
use crate::cli::DoctorArgs;
use crate::exit::{Exit, Failure};

/// Runs it.
pub fn run(_: &DoctorArgs) -> Result<Exit, Failure> {
    Err(Failure::usage(NotYet("doctor")))
}
