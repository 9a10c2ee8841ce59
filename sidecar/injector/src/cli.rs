//! The command line of `portreeve-injector`: what each command takes, with its help.

use clap::{Parser, Subcommand};

use crate::ca::CaArgs;

/// Injects Portreeve's sidecar, and prints what a cluster needs for it.
#[derive(Debug, Parser)]
#[command(name = "portreeve-injector", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands, each in a module of its own.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print a new CA as a Secret, for `kubectl create -f -`.
    Ca(CaArgs),
}
