//! `portreeve leases`: what is open now, by the kernel and by the sidecar.

use crate::ask::NotYet;
use crate::cli::LeasesArgs;
use crate::exit::{Exit, Failure};

/// Runs it.
pub fn run(_: &LeasesArgs) -> Result<Exit, Failure> {
    Err(Failure::usage(NotYet("leases")))
}
