//! The `portreeve` binary: parse, act, map the outcome to an exit code.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    sidecar::run(sidecar::cli::Cli::parse())
}
