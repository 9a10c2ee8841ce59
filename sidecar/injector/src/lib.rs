//! What a cluster is told so that every pod of a labelled namespace is held: the pure injection, the webhook around it, and the manifests.
#![forbid(unsafe_code)]

pub mod cli;
pub mod fence;
pub mod install;
pub mod settings;

use std::process::ExitCode;

/// Acts on the parsed command line. 0 done, 1 refused, 2 bad input, 70 failed while running, 78 this machine cannot.
pub fn run(cli: cli::Cli) -> ExitCode {
    match cli.command {
        cli::Command::Install(args) => install::install(&args),
        cli::Command::Uninstall(args) => install::uninstall(&args),
    }
}
