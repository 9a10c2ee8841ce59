//! Policies follow their files: every change is read whole and put in force in one step, or said and left alone.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::exit::chain;
use crate::keeper::Keeper;
use crate::loader::{LoadError, Loaded, Loader};
use crate::watch::PolicyWatch;
use crate::worker::report::Report;
use crate::worker::resolvers::ResolverFile;

/// How often it is looked whether resolv.conf is another one.
const LOOK: Duration = Duration::from_secs(1);

/// resolv.conf, and whom to tell of other resolvers.
pub struct Followed {
    /// The file.
    pub file: ResolverFile,
    /// Told when the ruleset lets them be asked; whether that was taken.
    pub tell: Box<dyn Fn(Vec<SocketAddr>) -> bool + Send>,
}

/// The task that reloads.
pub struct Reloader {
    resolvers: Option<Followed>,
    loader: Loader,
    dirs: Vec<PathBuf>,
    keeper: Keeper,
    report: Report,
}

impl Reloader {
    /// To be run.
    pub fn new(loader: Loader, dirs: Vec<PathBuf>, keeper: Keeper, report: Report, resolvers: Option<Followed>) -> Self {
        Reloader { resolvers, loader, dirs, keeper, report }
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
        let mut second = tokio::time::interval(LOOK);
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            {
                // Kept over the seconds: begun anew each time, it would never come to its own end.
                let mut changed = pin!(watch.changed());
                loop {
                    tokio::select! {
                        () = &mut changed => break,
                        _ = second.tick() => self.look_at_resolvers().await,
                    }
                }
            }
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

    /// Reads resolv.conf if it is another one than at the last look.
    async fn look_at_resolvers(&mut self) {
        if self.resolvers.as_mut().is_some_and(|followed| followed.file.may_have_changed()) {
            self.follow_resolvers().await;
        }
    }

    /// Where resolv.conf says something else than before: one step to the other resolvers and to the policy compiled for them.
    async fn follow_resolvers(&mut self) {
        let Some(Followed { file, tell }) = &mut self.resolvers else { return };
        let conf = match file.look() {
            None => return,
            Some(Ok(conf)) => conf,
            Some(Err(error)) => {
                tracing::error!("{}", chain(&error));
                return self.report.set_reload_error(chain(&error));
            }
        };
        let upstreams = file.upstreams(&conf);
        self.loader.set_resolvers(&conf, upstreams.as_deref());
        let loaded = match self.loader.load() {
            Some(Ok(loaded)) => Some(loaded),
            Some(Err(error)) => {
                // The resolvers of before may be gone: the others are asked under the policy in force.
                tracing::error!("the policy in force stays: {}", chain(&error));
                self.report.set_reload_error(chain(&error));
                None
            }
            None => None,
        };
        let policy = loaded.as_ref().map(|loaded| loaded.policy.clone());
        let outcome = match (&upstreams, policy) {
            (Some(upstreams), policy) => self.keeper.load_upstreams(upstreams.clone(), policy).await,
            (None, Some(policy)) => self.keeper.load(policy).await,
            (None, None) => Ok(()),
        };
        if let Err(error) = outcome {
            tracing::error!("{}", chain(&error));
            self.report.set_reload_error(chain(&error));
            // Tried again at the next look.
            file.look_again();
            return self.loader.forget();
        }
        if upstreams.is_some_and(|upstreams| !tell(upstreams)) {
            // The ruleset lets only the others be asked by now: again at the next look, until they are.
            return self.loader.forget();
        }
        let servers = conf.nameservers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        tracing::info!(servers, search = conf.search.len(), "resolv.conf has changed, and is followed");
        file.took(conf);
        if let Some(loaded) = loaded {
            self.told(&loaded);
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
