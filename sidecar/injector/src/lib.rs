//! What a cluster is told so that every pod of a labelled namespace is held: the pure injection, the webhook around it, and the manifests.
#![forbid(unsafe_code)]

pub mod answering;
pub mod ca;
pub mod certificates;
pub mod cli;
pub mod configmaps;
mod exit;
pub mod fence;
pub mod inject;
pub mod install;
pub mod names;
pub mod offline;
pub mod platform;
mod quantity;
pub mod refusals;
pub mod review;
pub mod serve;
pub mod settings;

use std::process::ExitCode;

use crate::serve::ServeError;

/// Acts on the parsed command line. 0 done, 1 refused, 2 bad input, 70 failed while running, 78 this machine cannot.
pub fn run(cli: cli::Cli) -> ExitCode {
    match cli.command {
        cli::Command::Inject(args) => inject_offline(&args),
        cli::Command::Serve(args) => match serve::command(*args, answering::reviewers()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                let input = matches!(error, ServeError::Settings(_) | ServeError::Certificates(_) | ServeError::Pair(_));
                exit::failed(&error, None, if input { 2 } else { 78 })
            }
        },
        cli::Command::Ca(args) => match ca::command(&args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => exit::failed(&error, None, 70),
        },
        cli::Command::Install(args) => install::install(&args),
        cli::Command::Uninstall(args) => install::uninstall(&args),
    }
}

fn inject_offline(args: &offline::InjectArgs) -> ExitCode {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    match offline::run(args, &mut stdin.lock(), &mut stdout.lock(), &mut stderr.lock()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => exit::failed(&error, None, if matches!(error, offline::InjectError::Write(_)) { 70 } else { 2 }),
    }
}
