//! All of the `portreeve` binary: the fence, the resolver's gate to it, policies that follow their files, and the command line.
//!
//! `portreeve run` is two processes: a [`supervisor`] that starts a [`worker`] and starts it again when it dies. The worker puts up
//! the [`fence`], steps down to its own uid ([`privileges`]), and from then on one event loop does everything: the resolver (crate
//! `dnsproxy`) hands each answer to the [`gate`], the [`keeper`] commits all that wait in one batch, and policies are reloaded
//! ([`worker::reload`]) by the same keeper, so that nothing ever sees half of a change.
#![forbid(unsafe_code)]

pub mod addressbook;
pub mod bounded;
pub mod cli;
pub mod control;
pub mod exit;
pub mod fence;
pub mod gate;
pub mod keeper;
pub mod loader;
pub mod log;
pub mod output;
pub mod policycmd;
pub mod privileges;
pub mod refusals;
pub mod sources;
pub mod status;
pub mod supervisor;
pub mod surroundings;
pub mod watch;
pub mod worker;

use std::process::ExitCode;

use crate::cli::{Cli, Command};

/// Does what the command line says. Nothing below this ends the process.
pub fn run(cli: Cli) -> ExitCode {
    let outcome = match cli.command {
        Command::Run(args) => supervisor::run(&args),
        Command::Worker(args) => worker::run(*args),
        Command::Status(args) => control::client::print_status(&args),
        Command::Policy(command) => policycmd::run(command),
    };
    outcome.unwrap_or_else(|failure| exit::report(&failure)).into()
}
