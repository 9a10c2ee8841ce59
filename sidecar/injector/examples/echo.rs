//! The server with a reviewer that allows everything: what the tests of signals and `load` run.
#![forbid(unsafe_code)]
#![allow(clippy::indexing_slicing, clippy::print_stderr, reason = "a tool of the tests")]

#[allow(dead_code, reason = "here only the reviewer")]
#[path = "../tests/serve/echo.rs"]
mod echo;

use std::process::ExitCode;

use clap::Parser;
use injector::serve::{self, ServeArgs};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    serve: ServeArgs,
}

fn main() -> ExitCode {
    match serve::command(Cli::parse().serve, echo::reviewers()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
