//! The proxy as a whole: bound first, so that its addresses are known, then run until it is told to end.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use arc_swap::ArcSwap;
use mio::{Poll, Token, Waker};
use policies::{Name, Policy};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, oneshot, watch},
    task::JoinSet,
    time::timeout,
};

use crate::{
    asking::{Asking, Setup, Streams, UpstreamHealth},
    config::{BindError, Config},
    engine::{
        Engine, FIRST_DOOR, WAKER,
        core::Core,
        door::Door,
        errand::{Desk, Errand, NotTaken, Taken},
        outbox::Outbox,
    },
    gate::Gate,
    listener::{self, Endpoint, tcp},
    observer::Observer,
    stats::{Counters, Stats},
};

/// How long the resolver's thread may take to say how its upstreams have fared: it is in the midst of a round, or of a change of policy.
const PATIENCE: Duration = Duration::from_secs(1);

/// A bound proxy. Questions that come before [`Proxy::run`] wait in the sockets' buffers.
pub struct Proxy<G, O> {
    endpoints: Vec<Endpoint>,
    addresses: Vec<SocketAddr>,
    config: Config,
    poll: Poll,
    taken: Taken<G>,
    core: Core<G, O>,
    handle: Handle<G>,
}

/// A view of a proxy, and what can be asked of it while it runs.
pub struct Handle<G> {
    counters: Arc<Counters>,
    desk: Desk<G>,
}

/// Why a bound proxy could not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// An event loop would not take a socket.
    #[error("cannot wait for queries on {address}")]
    Register {
        /// The address of the socket.
        address: SocketAddr,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// There is no thread for it, or what it needs to wait.
    #[error("cannot start the resolver's thread")]
    Thread(#[source] io::Error),
    /// Its thread ended unasked.
    #[error("the resolver's thread ended unasked")]
    Ended,
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
        if let Some(&address) = config.upstreams.iter().find(|upstream| addresses.contains(upstream)) {
            return Err(BindError::OwnUpstream { address });
        }
        let poll = Poll::new().map_err(BindError::Wait)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER).map_err(BindError::Wait)?);
        let (desk, taken) = Desk::new(waker);
        let counters = Arc::new(Counters::default());
        let core = Core::new(policy, gate, observer, Arc::clone(&counters), config.limits);
        Ok(Self { endpoints, addresses, config, poll, taken, core, handle: Handle { counters, desk } })
    }

    /// The addresses it answers on, UDP and TCP each; the first listed first, a twin after its address.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// A view that stays valid while the proxy runs and after.
    pub fn handle(&self) -> Handle<G> {
        self.handle.clone()
    }

    /// Answers until `cancel` is done, then takes no more and finishes what is in flight, at most for
    /// [`Limits::drain`](crate::Limits::drain). Datagrams are answered on a thread of their own, connections on the event loop that this
    /// is called on. Dropping the future asks for the end.
    ///
    /// # Errors
    ///
    /// [`RunError`] if the sockets cannot be waited for; then nothing was answered.
    pub async fn run(self, cancel: impl Future<Output = ()>) -> Result<(), RunError> {
        let Self { endpoints, config, poll, taken, core, handle, .. } = self;
        let limits = config.limits;
        let Handle { counters, desk } = handle;
        let end = EndWithMe(desk.clone());
        let (stop, stopped) = watch::channel(false);
        let connections = Arc::new(Semaphore::new(limits.connections.clamp(1, Semaphore::MAX_PERMITS)));
        let shared = tcp::Shared { desk: desk.clone(), counters: Arc::clone(&counters), limits, connections, stop: stopped };
        let mut tasks = JoinSet::new();
        let mut sockets = Vec::new();
        for Endpoint { address, udp, tcp } in endpoints {
            let listener = TcpListener::from_std(tcp).map_err(|source| RunError::Register { address, source })?;
            tasks.spawn(tcp::serve(listener, shared.clone()));
            sockets.push((address, udp));
        }
        let waker = Arc::clone(desk.waker());
        let wake = Arc::new(move || drop(waker.wake()));
        let (streams, streamed) = Streams::new(tokio::runtime::Handle::current(), wake);
        let registry = poll.registry().try_clone().map_err(RunError::Thread)?;
        let servers = config.upstreams;
        let first_token = FIRST_DOOR + sockets.len();
        let setup = Setup { servers, identity: config.identity, limits, registry, first_token, streams, counters };
        let (ended, mut ending) = oneshot::channel();
        let resolver = thread::Builder::new().name("resolver".into());
        let started = resolver.spawn(move || {
            // Made here: the buffers of the sockets stay on the thread that uses them.
            let doors = sockets.into_iter().enumerate().map(|(number, (address, udp))| {
                Door::open(udp, poll.registry(), Token(FIRST_DOOR + number)).map_err(|source| RunError::Register { address, source })
            });
            // Who waited for the word may be gone.
            let _ = ended.send(doors.collect::<Result<Vec<_>, _>>().map(|doors| {
                let outboxes = doors.iter().map(|_| Outbox::default()).collect();
                let (asking, drain) = (Asking::new(setup), limits.drain);
                Engine { poll, doors, outboxes, asking, core, errands: taken, streams: streamed, drain }.run();
            }));
        });
        started.map_err(RunError::Thread)?;
        tokio::select! {
            early = &mut ending => return early.unwrap_or(Err(RunError::Ended)).and(Err(RunError::Ended)),
            () = cancel => {}
        }
        stop.send_replace(true);
        drop(end);
        // Both bound their own drain; a little more, for the thread to see that its time is over.
        let drained = timeout(limits.drain + PATIENCE, async {
            let _ = ending.await;
            while tasks.join_next().await.is_some() {}
        });
        if drained.await.is_err() {
            tracing::info!("connections were given up at the end");
        }
        Ok(())
    }
}

/// Asks for the end when it goes.
struct EndWithMe<G>(Desk<G>);

impl<G> Drop for EndWithMe<G> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl<G> Clone for Handle<G> {
    fn clone(&self) -> Self {
        Self { counters: Arc::clone(&self.counters), desk: self.desk.clone() }
    }
}

impl<G> std::fmt::Debug for Handle<G> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("counters", &self.counters).finish_non_exhaustive()
    }
}

impl<G: Gate> Handle<G> {
    /// The counters since the start.
    pub fn stats(&self) -> Stats {
        self.counters.snapshot()
    }

    /// How each upstream has fared, in the configured order; none if the resolver does not run. Waits for the end of a round.
    pub fn upstreams(&self) -> Vec<UpstreamHealth> {
        let (to, from) = mpsc::sync_channel(1);
        match self.desk.hand(Errand::Health(to)) {
            Ok(()) => from.recv_timeout(PATIENCE).unwrap_or_default(),
            Err(_) => Vec::new(),
        }
    }

    /// Does something with the gate, between two rounds: no query sees a half of it. A policy that is to be in force together with what the job
    /// does to the gate is stored by the job.
    ///
    /// # Errors
    ///
    /// [`NotTaken`]; then nothing was done, but where the resolver ended in between.
    pub async fn with_gate<R: Send + 'static>(&self, job: impl FnOnce(&mut G) -> R + Send + 'static) -> Result<R, NotTaken> {
        let (to, from) = oneshot::channel();
        // Who asked may be gone; the job is done all the same.
        self.desk.hand(Errand::Job(Box::new(move |gate| drop(to.send(job(gate))))))?;
        from.await.map_err(|_| NotTaken::Ended)
    }

    /// The same, for who does not wait for it.
    ///
    /// # Errors
    ///
    /// [`NotTaken`]; then nothing will be done.
    pub fn post(&self, job: impl FnOnce(&mut G) + Send + 'static) -> Result<(), NotTaken> {
        self.desk.hand(Errand::Job(Box::new(job)))
    }

    /// Asks for the addresses of a name anew (AAAA if `ipv6`, else A), past what was kept: what comes is verified, opened and kept as ever,
    /// and told to nobody.
    ///
    /// # Errors
    ///
    /// [`NotTaken`].
    pub fn refresh(&self, name: Name, ipv6: bool) -> Result<(), NotTaken> {
        self.desk.hand(Errand::Refresh(name, ipv6))
    }

    /// Asks other upstreams from now on.
    ///
    /// # Errors
    ///
    /// [`NotTaken`].
    pub fn set_upstreams(&self, servers: Vec<SocketAddr>) -> Result<(), NotTaken> {
        self.desk.hand(Errand::Upstreams(servers))
    }

    /// Says whether the pod has a way to IPv6 addresses; without one, AAAA is answered with no data.
    ///
    /// # Errors
    ///
    /// [`NotTaken`].
    pub fn set_ipv6(&self, reachable: bool) -> Result<(), NotTaken> {
        self.desk.hand(Errand::Ipv6(reachable))
    }
}
