//! The one task that touches the fence: answers in batches, reloads, and a look every second. Dropping the last handle stops it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use nft::InstallError;
use policies::Policy;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;

use crate::fence::{Fence, FenceView, Wanted};
use crate::gate::Request;

/// The most answers in one batch; the rest take the next one.
const BATCH: usize = 128;
/// How often the fence is tended.
const TEND: Duration = Duration::from_secs(1);

/// What to put in force, and where the outcome goes.
struct Load {
    /// `None`: the one in force stays.
    policy: Option<Arc<Policy>>,
    /// `None`: as before.
    upstreams: Option<Vec<SocketAddr>>,
    outcome: oneshot::Sender<Result<(), InstallError>>,
}

/// The handle on the keeper.
#[derive(Debug, Clone)]
pub struct Keeper {
    loads: mpsc::Sender<Load>,
    view: watch::Receiver<FenceView>,
}

/// Why a policy is not in force.
#[derive(Debug, thiserror::Error)]
pub enum LoadPolicyError {
    /// The kernel did not take it.
    #[error("the kernel did not take the new ruleset; the one before stays in force")]
    Install(#[source] InstallError),
    /// The keeper is gone: the worker is ending.
    #[error("the worker is ending")]
    Ending,
}

impl Keeper {
    /// Starts the task. `current` is what the proxy judges by: it changes at the same instant as the ruleset, as nothing else
    /// runs on the event loop between the two.
    pub fn start(fence: Fence, requests: mpsc::Receiver<Request>, current: Arc<ArcSwap<Policy>>) -> Self {
        let (loads, load_queue) = mpsc::channel(4);
        let (view_sender, view) = watch::channel(FenceView::default());
        tokio::spawn(keep(fence, requests, load_queue, current, view_sender));
        Keeper { loads, view }
    }

    /// Puts a policy in force.
    pub async fn load(&self, policy: Arc<Policy>) -> Result<(), LoadPolicyError> {
        self.put(Some(policy), None).await
    }

    /// Lets other resolvers be asked, and puts a policy in force if one is given, in one step.
    pub async fn load_upstreams(&self, upstreams: Vec<SocketAddr>, policy: Option<Arc<Policy>>) -> Result<(), LoadPolicyError> {
        self.put(policy, Some(upstreams)).await
    }

    async fn put(&self, policy: Option<Arc<Policy>>, upstreams: Option<Vec<SocketAddr>>) -> Result<(), LoadPolicyError> {
        let (outcome, told) = oneshot::channel();
        self.loads.send(Load { policy, upstreams, outcome }).await.map_err(|_| LoadPolicyError::Ending)?;
        told.await.map_err(|_| LoadPolicyError::Ending)?.map_err(LoadPolicyError::Install)
    }

    /// How the fence stood within the last second.
    pub fn view(&self) -> FenceView {
        self.view.borrow().clone()
    }
}

async fn keep(
    mut fence: Fence,
    mut requests: mpsc::Receiver<Request>,
    mut loads: mpsc::Receiver<Load>,
    current: Arc<ArcSwap<Policy>>,
    view: watch::Sender<FenceView>,
) {
    let mut waiting = Vec::with_capacity(BATCH);
    let mut second = tokio::time::interval(TEND);
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            load = loads.recv() => {
                let Some(Load { policy, upstreams, outcome }) = load else { return };
                let result = match (upstreams, policy) {
                    (Some(upstreams), policy) => fence.load_upstreams(upstreams, policy),
                    (None, Some(policy)) => fence.load(policy),
                    (None, None) => Ok(()),
                };
                current.store(fence.policy().clone());
                view.send_replace(fence.view());
                // Who asked may be gone; the policy is in force all the same.
                let _ = outcome.send(result);
            }
            count = requests.recv_many(&mut waiting, BATCH) => {
                if count == 0 {
                    return;
                }
                let wanted: Vec<Wanted<'_>> = waiting.iter().map(|r| Wanted { grant: &r.grant, addresses: &r.addresses, ttl: r.ttl }).collect();
                let outcomes = fence.open(wanted.iter().copied());
                for (request, outcome) in waiting.drain(..).zip(outcomes) {
                    let _ = request.outcome.send(outcome);
                }
            }
            _ = second.tick() => {
                fence.tend();
                view.send_replace(fence.view());
            }
        }
    }
}
