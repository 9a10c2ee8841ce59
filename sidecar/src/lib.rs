//! All of the `portreeve` binary: the fence, the resolver's gate to it, policies that follow their files, and the command line.
//!
//! `portreeve run` is two processes: a [`supervisor`] that starts a [`worker`] and starts it again when it dies. The worker puts up
//! the [`fence`], steps down to its own uid ([`privileges`]), and hands it to the resolver (crate `dnsproxy`), whose own thread opens it for
//! all answers of a round at once ([`gate`]). Whatever else is done with it (policies that are reloaded, [`worker::reload`]; leases that are
//! renewed; the look of every second) is a job that the [`keeper`] has done on that thread between two rounds, so that nothing ever sees half
//! of a change.
#![forbid(unsafe_code)]

pub mod addressbook;
pub mod ask;
pub mod bounded;
pub mod cli;
pub mod control;
pub mod exit;
pub mod fence;
pub mod flows;
pub mod gate;
pub mod keeper;
pub mod loader;
pub mod log;
pub mod map;
pub mod metrics;
pub mod output;
pub mod policycmd;
pub mod privileges;
pub mod questions;
pub mod record;
pub mod refusals;
pub mod sources;
pub mod status;
pub mod supervisor;
pub mod surroundings;
pub mod telling;
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
        Command::Leases(args) => ask::leases::run(&args),
        Command::Flows(args) => ask::flows::run(&args),
        Command::Dns(args) => ask::dns::run(&args),
        Command::Explain(args) => ask::explain::run(&args),
        Command::Doctor(args) => ask::doctor::run(&args),
        Command::Map(args) => map::run(&args),
        Command::Policy(command) => policycmd::run(command),
    };
    log::finish();
    outcome.unwrap_or_else(|failure| exit::report(&failure)).into()
}
