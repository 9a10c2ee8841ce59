//! What a cluster is told so that every pod of a labelled namespace is held: the pure injection, the webhook around it, and the manifests.
#![forbid(unsafe_code)]

pub mod ca;
pub mod certificates;
pub mod cli;
pub mod serve;
pub mod settings;

use std::io::Write;
use std::process::ExitCode;

/// Acts on the parsed command line. 0 done, 1 refused, 2 bad input, 70 failed while running, 78 this machine cannot.
pub fn run(cli: cli::Cli) -> ExitCode {
    match cli.command {
        cli::Command::Ca(args) => match ca::command(&args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tell(&error);
                ExitCode::from(70)
            }
        },
    }
}

/// The error and what caused it, each said once. Where stderr is gone nobody listens.
fn tell(error: &dyn std::error::Error) {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let chain: Vec<String> = causes.map(ToString::to_string).collect();
    let _ = writeln!(std::io::stderr().lock(), "error: {}", chain.join(": "));
}
