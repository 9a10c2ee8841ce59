//! The command line of `portreeve-injector`: what each command takes, with its help.

use clap::{Parser, Subcommand};

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
    /// Answer the API server's reviews of pods and of policy ConfigMaps
    Serve(Box<crate::serve::ServeArgs>),
    /// Inject without a cluster: manifests in, manifests out; exit 1 if one is refused
    Inject(crate::offline::InjectArgs),
    /// Print the injector's namespace and a new CA as a Secret in it, for `kubectl create -f -`
    Ca(crate::ca::CaArgs),
    /// Print all that the cluster needs, for `kubectl apply -f -`
    Install(crate::install::InstallArgs),
    /// Print what `install` made, in the order in which it must go, for `kubectl delete --ignore-not-found -f -`
    Uninstall(crate::install::UninstallArgs),
}
