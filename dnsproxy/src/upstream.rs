//! Asking the resolvers the pod would have asked: over several of them, for less time than a stub resolver waits.

mod exchange;
pub(crate) mod message;
mod server;

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use tokio::time::{Instant, timeout};

use crate::{
    config::{Config, Identity},
    query::Query,
    stats::Counters,
};
use message::UpstreamReply;
use server::{AskError, Server};
pub use server::{Trouble, UpstreamHealth};

/// Rounds over all servers: the first for those that answer, two more for what the network lost.
const ROUNDS: u32 = 3;

/// The upstream resolvers, the last good one first.
#[derive(Debug)]
pub(crate) struct Upstreams {
    servers: Vec<Server>,
    /// Index of the server that answered last.
    preferred: AtomicUsize,
    identity: Option<Identity>,
    first_wait: Duration,
    total: Duration,
}

impl Upstreams {
    /// Takes the servers and bounds of `config`.
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            servers: config.upstreams.iter().copied().map(Server::new).collect(),
            preferred: AtomicUsize::new(0),
            identity: config.identity,
            first_wait: config.limits.upstream_try,
            total: config.limits.upstream_total,
        }
    }

    /// Asks for `query` until a server says NOERROR or NXDOMAIN.
    ///
    /// A server that says anything else (SERVFAIL, REFUSED, …) is not asked again for this query, and the next one is; `None` when all
    /// have failed or the time is over.
    pub(crate) async fn ask(&self, query: &Query, counters: &Counters) -> Option<UpstreamReply> {
        let begun = Instant::now();
        let mut wait = self.first_wait;
        let mut spoken = vec![false; self.servers.len()];
        for _ in 0..ROUNDS {
            for index in self.order() {
                let (Some(server), Some(spoken)) = (self.servers.get(index), spoken.get_mut(index)) else { continue };
                let left = self.total.saturating_sub(begun.elapsed());
                if *spoken || left.is_zero() {
                    continue;
                }
                let asked = Instant::now();
                let result = timeout(wait.min(left), server.ask(query, self.identity, counters)).await;
                match result.unwrap_or(Err(AskError::TimedOut)) {
                    Ok(reply) => {
                        server.answered(asked.elapsed());
                        self.preferred.store(index, Relaxed);
                        return Some(reply);
                    }
                    Err(error) => {
                        tracing::debug!(upstream = %server.address(), %error, "an upstream gave no answer");
                        counters.upstream_errors.one();
                        *spoken = matches!(error, AskError::Code(_) | AskError::Broken);
                        server.failed(&error);
                    }
                }
            }
            wait = wait.saturating_mul(2);
        }
        None
    }

    /// The order in which servers are asked now.
    fn order(&self) -> impl Iterator<Item = usize> + use<> {
        let preferred = self.preferred.load(Relaxed);
        std::iter::once(preferred).chain((0..self.servers.len()).filter(move |index| *index != preferred))
    }

    /// What is known of each server, in the configured order.
    pub(crate) fn health(&self) -> Vec<UpstreamHealth> {
        self.servers.iter().map(Server::health).collect()
    }

    /// The servers' addresses.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.servers.iter().map(Server::address)
    }
}
