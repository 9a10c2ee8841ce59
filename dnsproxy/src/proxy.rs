//! The proxy as a whole: bound first, so that its addresses are known, then run until it is told to end.

use std::{future::Future, io, net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;
use policies::Policy;
use tokio::{
    net::{TcpListener, UdpSocket},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::timeout,
};

use crate::{
    config::{BindError, Config},
    gate::Gate,
    listener::{self, Endpoint, tcp, udp},
    observer::Observer,
    resolve::Resolver,
    stats::{Counters, Stats},
    upstream::{UpstreamHealth, Upstreams},
};

/// A bound proxy. Questions that come before [`Proxy::run`] wait in the sockets' buffers.
#[derive(Debug)]
pub struct Proxy<G, O> {
    endpoints: Vec<Endpoint>,
    addresses: Vec<SocketAddr>,
    resolver: Arc<Resolver<G, O>>,
}

/// A view of a proxy that runs, for status and metrics.
#[derive(Clone, Debug)]
pub struct Handle {
    counters: Arc<Counters>,
    upstreams: Arc<Upstreams>,
}

/// Why a bound proxy could not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The event loop would not take a socket.
    #[error("cannot wait for queries on {address}")]
    Register {
        /// The address of the socket.
        address: SocketAddr,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
}

impl<G: Gate, O: Observer> Proxy<G, O> {
    /// Binds UDP and TCP on every listen address. Needs no event loop yet.
    ///
    /// The policy is read anew for each query, so whoever stores another one into `policy` needs to tell nobody.
    ///
    /// # Errors
    ///
    /// [`BindError`] if the configuration makes no sense or a socket cannot be had.
    pub fn bind(config: Config, policy: Arc<ArcSwap<Policy>>, gate: G, observer: O) -> Result<Self, BindError> {
        if config.listen.is_empty() {
            return Err(BindError::NoListen);
        }
        if config.upstreams.is_empty() {
            return Err(BindError::NoUpstream);
        }
        let endpoints = listener::bind(&config.listen)?;
        let addresses: Vec<_> = endpoints.iter().map(|endpoint| endpoint.address).collect();
        let upstreams = Upstreams::new(&config);
        if let Some(address) = upstreams.addresses().find(|upstream| addresses.contains(upstream)) {
            return Err(BindError::OwnUpstream { address });
        }
        let resolver = Resolver {
            policy,
            gate,
            observer,
            upstreams: Arc::new(upstreams),
            counters: Arc::new(Counters::default()),
            limits: config.limits,
        };
        Ok(Self { endpoints, addresses, resolver: Arc::new(resolver) })
    }

    /// The addresses it answers on, UDP and TCP each; the first listed first, a twin after its address.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// A view that stays valid while the proxy runs and after.
    pub fn handle(&self) -> Handle {
        Handle { counters: Arc::clone(&self.resolver.counters), upstreams: Arc::clone(&self.resolver.upstreams) }
    }

    /// Answers until `cancel` is done, then takes no more and finishes what is in flight, at most for
    /// [`Limits::drain`](crate::Limits::drain). Dropping the future ends everything at once.
    ///
    /// # Errors
    ///
    /// [`RunError`] if the event loop would not take the sockets; then nothing was answered.
    pub async fn run(self, cancel: impl Future<Output = ()>) -> Result<(), RunError> {
        let Self { endpoints, resolver, .. } = self;
        let limits = resolver.limits;
        let in_flight = Arc::new(Semaphore::new(permits(limits.in_flight)));
        let connections = Arc::new(Semaphore::new(permits(limits.connections)));
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for Endpoint { address, udp, tcp } in endpoints {
            let register = |source| RunError::Register { address, source };
            let udp = Arc::new(UdpSocket::from_std(udp).map_err(register)?);
            let tcp = TcpListener::from_std(tcp).map_err(register)?;
            tasks.spawn(udp::serve(udp, Arc::clone(&resolver), Arc::clone(&in_flight), stopped.clone()));
            let (resolver, in_flight, connections) = (Arc::clone(&resolver), Arc::clone(&in_flight), Arc::clone(&connections));
            tasks.spawn(tcp::serve(tcp, resolver, in_flight, connections, stopped.clone()));
        }
        cancel.await;
        stop.send_replace(true);
        let drained = timeout(limits.drain, async { while tasks.join_next().await.is_some() {} }).await;
        if drained.is_err() {
            tracing::info!("queries in flight were given up at the end");
        }
        Ok(())
    }
}

/// A number of permits that a semaphore can hold: with none nothing would ever be answered.
pub(crate) fn permits(limit: usize) -> usize {
    limit.clamp(1, Semaphore::MAX_PERMITS)
}

impl Handle {
    /// The counters since the start.
    pub fn stats(&self) -> Stats {
        self.counters.snapshot()
    }

    /// How each upstream has fared, in the configured order.
    pub fn upstreams(&self) -> Vec<UpstreamHealth> {
        self.upstreams.health()
    }
}
