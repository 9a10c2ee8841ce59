//! Policies follow their files: every change is read whole and put in force in one step, or said and left alone.

use std::path::PathBuf;

use crate::exit::chain;
use crate::keeper::Keeper;
use crate::loader::{LoadError, Loaded, Loader};
use crate::watch::PolicyWatch;
use crate::worker::report::Report;

/// The task that reloads.
pub struct Reloader {
    loader: Loader,
    dirs: Vec<PathBuf>,
    keeper: Keeper,
    report: Report,
}

impl Reloader {
    /// To be run.
    pub fn new(loader: Loader, dirs: Vec<PathBuf>, keeper: Keeper, report: Report) -> Self {
        Reloader { loader, dirs, keeper, report }
    }

    /// Takes note of the load that was made before the event loop.
    pub fn note_first(&self, first: Result<Loaded, LoadError>) {
        match first {
            Ok(loaded) => self.told(&loaded),
            Err(error) => {
                tracing::error!("not ready, nothing leaves: {}", chain(&error));
                self.report.set_broken(chain(&error));
            }
        }
    }

    /// Follows the files until the worker ends.
    pub async fn run(mut self) {
        let mut watch = PolicyWatch::start(&self.dirs);
        loop {
            watch.changed().await;
            match self.loader.load() {
                None => {}
                Some(Ok(loaded)) => self.put_in_force(loaded).await,
                Some(Err(error)) => {
                    let error = chain(&error);
                    tracing::error!("the policy in force stays: {error}");
                    self.report.set_reload_error(error);
                }
            }
        }
    }

    async fn put_in_force(&mut self, loaded: Loaded) {
        match self.keeper.load(loaded.policy.clone()).await {
            Ok(()) => self.told(&loaded),
            Err(error) => {
                tracing::error!("{}", chain(&error));
                self.report.set_reload_error(chain(&error));
                // Tried again at the next look, though the files stay the same.
                self.loader.forget();
            }
        }
    }

    fn told(&self, loaded: &Loaded) {
        let selecting: Vec<&str> = loaded.files.iter().filter(|f| f.selects_this_pod).map(|f| f.path.as_str()).collect();
        let generation = format!("{:016x}", loaded.policy.generation());
        if selecting.is_empty() {
            let looked = self.dirs.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(", ");
            let missing = loaded.missing.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(", ");
            tracing::warn!(looked, missing, "no policy selects this pod: nothing leaves");
        } else {
            tracing::info!(generation, files = selecting.join(" "), rules = loaded.policy.openings().len(), "policy in force");
        }
        self.report.set_loaded(loaded);
    }
}
