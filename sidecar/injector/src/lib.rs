//! What a cluster is told so that every pod of a labelled namespace is held: the pure injection, the webhook around it, and the manifests.
#![forbid(unsafe_code)]

pub mod cli;
pub mod configmaps;
pub mod fence;
pub mod inject;
pub mod install;
pub mod names;
pub mod offline;
pub mod platform;
pub mod refusals;
pub mod review;
pub mod settings;

use std::io::Write;
use std::process::ExitCode;

/// Acts on the parsed command line. 0 done, 1 refused, 2 bad input, 70 failed while running, 78 this machine cannot.
pub fn run(cli: cli::Cli) -> ExitCode {
    match cli.command {
        cli::Command::Inject(args) => inject_offline(&args),
        cli::Command::Install(args) => install::install(&args),
        cli::Command::Uninstall(args) => install::uninstall(&args),
    }
}

fn inject_offline(args: &offline::InjectArgs) -> ExitCode {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    match offline::run(args, &mut stdin.lock(), &mut stdout.lock(), &mut stderr.lock()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            tell(&error);
            ExitCode::from(if matches!(error, offline::InjectError::Write(_)) { 70 } else { 2 })
        }
    }
}

/// The error and what caused it, each said once. Where stderr is gone nobody listens.
fn tell(error: &dyn std::error::Error) {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let chain: Vec<String> = causes.map(ToString::to_string).collect();
    let _ = writeln!(std::io::stderr().lock(), "error: {}", chain.join(": "));
}
