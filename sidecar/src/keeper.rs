//! Everything that is done with the fence but answering: loads, a look every second, renewals. Each is a job between two rounds of the resolver.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use dnsproxy::{Handle, NotTaken};
use nft::InstallError;
use policies::Policy;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::fence::{Fence, FenceView};
use crate::surroundings::has_ipv6_route;

/// How often the fence is tended.
const TEND: Duration = Duration::from_secs(1);

/// The handle on the fence, which lives on the resolver's thread.
#[derive(Debug, Clone)]
pub struct Keeper {
    resolver: Handle<Fence>,
    /// What the resolver judges by: it changes in the same job as the ruleset, so no query sees one without the other.
    current: Arc<ArcSwap<Policy>>,
    view: watch::Sender<FenceView>,
}

/// Why a policy is not in force.
#[derive(Debug, thiserror::Error)]
pub enum LoadPolicyError {
    /// The kernel did not take it.
    #[error("the kernel did not take the new ruleset; the one before stays in force")]
    Install(#[source] InstallError),
    /// The resolver did not take the job.
    #[error("the policy in force stays")]
    NotTaken(#[source] NotTaken),
}

impl Keeper {
    /// Starts to tend the fence of `resolver`. `view` is how it stands now.
    pub fn start(resolver: Handle<Fence>, current: Arc<ArcSwap<Policy>>, view: FenceView) -> Self {
        let keeper = Keeper { resolver, current, view: watch::Sender::new(view) };
        tokio::spawn(keeper.clone().tend());
        keeper
    }

    /// Puts a policy in force.
    pub async fn load(&self, policy: Arc<Policy>) -> Result<(), LoadPolicyError> {
        self.put(move |fence| fence.load(policy)).await
    }

    /// Lets other resolvers be asked, and puts a policy in force if one is given, in one step.
    pub async fn load_upstreams(&self, upstreams: Vec<SocketAddr>, policy: Option<Arc<Policy>>) -> Result<(), LoadPolicyError> {
        self.put(move |fence| fence.load_upstreams(upstreams, policy)).await
    }

    async fn put(&self, load: impl FnOnce(&mut Fence) -> Result<(), InstallError> + Send + 'static) -> Result<(), LoadPolicyError> {
        let current = Arc::clone(&self.current);
        let job = move |fence: &mut Fence| {
            let result = load(fence);
            current.store(fence.policy().clone());
            (result, fence.view())
        };
        let (result, view) = self.resolver.with_gate(job).await.map_err(LoadPolicyError::NotTaken)?;
        self.view.send_replace(view);
        result.map_err(LoadPolicyError::Install)
    }

    /// How the fence stood within the last second.
    pub fn view(&self) -> FenceView {
        self.view.borrow().clone()
    }

    /// Looks after the fence until the resolver has ended.
    async fn tend(self) {
        let mut second = tokio::time::interval(TEND);
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ipv6 = true;
        loop {
            second.tick().await;
            let reachable = has_ipv6_route();
            // Only what was taken counts as said.
            if reachable != ipv6 && self.resolver.set_ipv6(reachable).is_ok() {
                ipv6 = reachable;
            }
            let job = |fence: &mut Fence| {
                fence.tend();
                (fence.renewals(Instant::now()), fence.view())
            };
            match self.resolver.with_gate(job).await {
                Ok((asks, view)) => {
                    self.view.send_replace(view);
                    for ask in asks {
                        // What is not taken is due again later.
                        let _ = self.resolver.refresh(ask.name, ask.ipv6);
                    }
                }
                Err(NotTaken::Busy) => {}
                Err(_) => return,
            }
        }
    }
}
