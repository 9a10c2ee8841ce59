//! `portreeve dns`: what was asked and answered.

use crate::ask::NotYet;
use crate::cli::DnsArgs;
use crate::exit::{Exit, Failure};

/// Runs it.
pub fn run(_: &DnsArgs) -> Result<Exit, Failure> {
    Err(Failure::usage(NotYet("dns")))
}
