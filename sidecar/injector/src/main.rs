//! The `portreeve-injector` binary: parse, act, map the outcome to an exit code.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    injector::run(injector::cli::Cli::parse())
}
