//! The worker: puts the fence up before anything else, then steps down to its own uid, then answers questions.

mod kept;
pub mod reload;
pub mod report;
pub mod resolvers;
pub mod selftest;

use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use arc_swap::ArcSwap;
use dnsproxy::{Config, Identity, Limits, Proxy};
use nft::{Firewall, InstallError, Log, RawGuard, Sizes};
use policies::{Pod, Policy, Surroundings};
use tokio::sync::watch;

use self::kept::KeepResolvConfError;
use self::reload::{Followed, Reloader};
use self::report::{Given, Report};
use self::resolvers::ResolverFile;
use crate::cli::{FlowLogArg, RawGuardArg, RunArgs};
use crate::control::answers::Answers;
use crate::exit::{Exit, Failure};
use crate::fence::ruleset::Frame;
use crate::fence::{EstablishError, Fence, MOST_LEASES_OF_A_RULE};
use crate::flows::{self, Sources};
use crate::keeper::Keeper;
use crate::loader::{LoadError, Loader, today};
use crate::metrics::{Metrics, http};
use crate::questions::{Listener, Questions};
use crate::record::Origin;
use crate::surroundings::{ReadSurroundingsError, ResolvConf, api_server, host_ips, read_labels};
use crate::telling::{Telling, output::Output};
use crate::{control, log, privileges, refusals};

/// How long the last lines of the log may take to be written at the end.
const LAST_LINES: std::time::Duration = std::time::Duration::from_secs(1);

/// How often, and after what pause, a table that another process owns is tried again: five seconds in all, for a machine that is busy.
const OWNED_TRIES: u32 = 100;
const OWNED_PAUSE: std::time::Duration = std::time::Duration::from_millis(50);

/// Why the worker could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What is known of the pod could not be read.
    #[error("cannot learn about the pod")]
    Surroundings(#[source] ReadSurroundingsError),
    /// resolv.conf could not be read, or not be kept.
    #[error("cannot learn about the pod")]
    Kept(#[source] KeepResolvConfError),
    /// Nobody to ask.
    #[error("no upstream resolver: {0} names none, and --upstream was not given")]
    NoUpstream(String),
    /// The ruleset needs the port beforehand, and loopback.
    #[error("cannot listen on {0}: it must be a loopback address with a port other than 0 and 53, to which questions can be turned")]
    Listen(SocketAddr),
    /// No randomness for the marks.
    #[error("the kernel gives no random numbers")]
    Random(#[source] getrandom::Error),
    /// The firewall cannot be used.
    #[error("cannot hold this network namespace")]
    Firewall(#[source] nft::OpenError),
    /// The fence did not go up.
    #[error("cannot put up the fence")]
    Establish(#[source] EstablishError),
    /// The control socket.
    #[error("cannot be asked for its status")]
    Control(#[source] control::BindControlError),
    /// Stepping down.
    #[error("cannot step down from root")]
    Privileges(#[source] privileges::DropPrivilegesError),
    /// The resolver.
    #[error("cannot answer questions")]
    Bind(#[source] dnsproxy::BindError),
    /// The metrics' port.
    #[error("cannot be watched")]
    BindMetrics(#[source] http::BindMetricsError),
    /// The metrics themselves.
    #[error("cannot count")]
    Metrics(#[source] prometheus::Error),
    /// The event loop.
    #[error("cannot start the event loop")]
    Runtime(#[source] std::io::Error),
    /// The signal handlers.
    #[error("cannot listen for signals")]
    Signals(#[source] std::io::Error),
    /// The resolver ended by itself.
    #[error("the resolver ended")]
    Ended,
}

/// Runs the worker until SIGTERM.
pub fn run(args: RunArgs) -> Result<Exit, Failure> {
    log::start(args.log);
    let started = std::time::Instant::now();
    let prepared = Prepared::new(args).map_err(|error| match error {
        StartError::Listen(_) | StartError::NoUpstream(_) | StartError::Surroundings(_) | StartError::Kept(_) => Failure::usage(error),
        // Whoever owns the table goes one day: on a machine that is too busy, a killed predecessor takes longer than was waited for.
        StartError::Establish(EstablishError::Install(InstallError::Owned(_))) => Failure::failed(error),
        _ => Failure::unable(error),
    })?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| Failure::failed(StartError::Runtime(error)))?;
    runtime.block_on(prepared.serve(started)).map_err(|error| match error {
        StartError::Bind(_) => Failure::unable(error),
        _ => Failure::failed(error),
    })
}

/// Everything that needs root is done; the fence stands.
struct Prepared {
    fence: Fence,
    identity: Identity,
    upstreams: Vec<SocketAddr>,
    listen: SocketAddr,
    control: UnixListener,
    uid: u32,
    loader: Loader,
    resolvers: ResolverFile,
    /// Where flows are heard of, and what the ruleset had counted then.
    told: Option<(Sources, Option<nft::Counters>)>,
    flow_log: FlowLogArg,
    metrics: Option<std::net::TcpListener>,
    origin: Origin,
    dirs: Vec<std::path::PathBuf>,
    first: Result<crate::loader::Loaded, LoadError>,
}

impl Prepared {
    fn new(args: RunArgs) -> Result<Self, StartError> {
        if !args.listen.ip().is_loopback() || matches!(args.listen.port(), 0 | 53) {
            return Err(StartError::Listen(args.listen));
        }
        let nothing = Arc::new(Policy::nothing());
        let identity = Identity { mark: random()?, priority: random()? };
        // The fence before all else: whatever fails from here on, the pod is closed. Also when there is nobody to ask.
        let asked = whom_to_ask(&args);
        let frame = frame(&args, identity, asked.as_ref().map(|(_, upstreams)| upstreams.as_slice()).unwrap_or_default());
        let mut fence = establish(&frame, &nothing)?;
        let (resolv_conf, upstreams) = asked?;
        let surroundings = Surroundings {
            resolvers: upstreams.iter().map(SocketAddr::ip).collect(),
            cluster_domain: resolv_conf.cluster_domain(),
            search: resolv_conf.search.clone(),
            api_server: api_server(),
            host_ips: host_ips(),
            today: today(),
        };
        let labels = args.labels.as_deref().map(read_labels).transpose().map_err(StartError::Surroundings)?.unwrap_or_default();
        let control = control::bind(&args.control).map_err(StartError::Control)?;
        let metrics = args.metrics.map(http::bind).transpose().map_err(StartError::BindMetrics)?;
        let app_label = ["app.kubernetes.io/name", "app"].into_iter().find(|label| labels.contains_key(*label)).map(str::to_owned);
        let app = app_label.as_ref().and_then(|label| labels.get(label)).cloned();
        let origin = Origin {
            namespace: args.namespace.clone(),
            pod: args.pod.clone(),
            node: args.node.clone(),
            service_account: args.service_account.clone(),
            app,
            app_label,
        };
        let pod = Pod { namespace: args.namespace.clone().unwrap_or_default(), name: args.pod.clone().unwrap_or_default(), labels };
        privileges::drop_to(args.uid).map_err(StartError::Privileges)?;

        let mut loader = Loader::new(args.policies.clone(), pod, surroundings);
        let first = loader.load_first();
        // A policy that cannot be loaded opens nothing: what an earlier worker had opened closes now.
        let policy = first.as_ref().map_or(&nothing, |loaded| &loaded.policy).clone();
        // Where a table stands, this is the first to write to it.
        unowned(|| fence.load(policy.clone()).map_err(|error| StartError::Establish(EstablishError::Install(error))))?;
        let resolvers = match args.kept_resolv_conf {
            Some(_) => ResolverFile::kept(args.resolv_conf.clone(), resolv_conf),
            None => ResolverFile::new(args.resolv_conf.clone(), !args.upstream.is_empty(), resolv_conf),
        };
        let told = match args.flow_log {
            FlowLogArg::Off => None,
            _ => Sources::listen(Log::default()).map_or_else(
                |error| {
                    // What just ended is not opened again by itself then either.
                    tracing::warn!(error = crate::exit::chain(&error), "flows are not heard of");
                    None
                },
                |sources| Some((sources, fence.counters())),
            ),
        };
        let (listen, uid, dirs) = (args.listen, args.uid, args.policies);
        let flow_log = args.flow_log;
        Ok(Prepared { fence, identity, upstreams, listen, control, uid, loader, resolvers, told, flow_log, metrics, origin, dirs, first })
    }

    async fn serve(self, started: std::time::Instant) -> Result<Exit, StartError> {
        let current = Arc::new(ArcSwap::new(self.fence.policy().clone()));
        let config =
            Config { listen: vec![self.listen], upstreams: self.upstreams, identity: Some(self.identity), limits: Limits::default() };
        let mut fence = self.fence;
        let view = fence.view();
        let questions = Arc::new(Questions::default());
        let gathered = self.told.is_some().then(|| questions.clone());
        let listener = Listener::new(refusals::RefusalLog::new(&self.dirs), gathered);
        let output = match self.flow_log {
            FlowLogArg::Stdout => Some(Output::start().map_err(StartError::Runtime)?),
            FlowLogArg::None | FlowLogArg::Off => None,
        };
        let metrics = Metrics::new().map_err(StartError::Metrics)?;
        let telling = Telling::new(self.origin, metrics.clone(), output);
        let proxy = Proxy::bind(config, current.clone(), fence, listener).map_err(StartError::Bind)?;
        let keeper = Keeper::start(proxy.handle(), current.clone(), view);
        let served = self.metrics.as_ref().and_then(|listener| listener.local_addr().ok());
        let given = Given { metrics: served, flow_log: self.flow_log, flows_heard: self.told.is_some() };
        let told = self.told.map(|(sources, before)| flows::start(sources, before, proxy.handle(), telling.clone(), questions));
        let told = told.transpose().map_err(StartError::Runtime)?;
        let addresses = proxy.addresses().to_vec();
        let (report, ready) = Report::new(current, keeper.clone(), proxy.handle(), given);
        let (end, mut ending) = watch::channel(false);

        let asked = proxy.handle();
        let tell = Box::new(move |upstreams| {
            let taken = asked.set_upstreams(upstreams);
            taken.inspect_err(|error| tracing::error!(%error, "the resolvers of before go on being asked")).is_ok()
        });
        let followed = Followed { file: self.resolvers, tell };
        let reloader = Reloader::new(self.loader, self.dirs, keeper, report.clone(), Some(followed));
        reloader.note_first(self.first);
        tokio::spawn(reloader.run());
        if let Some(listener) = self.metrics {
            let report = report.clone();
            tokio::spawn(async move {
                if let Err(error) = http::serve(listener, metrics, report).await {
                    tracing::error!(%error, "the metrics port is gone");
                }
            });
        }
        let answers = Answers::new(report.clone(), telling.clone(), proxy.handle());
        tokio::spawn(async move {
            if let Err(error) = control::serve(self.control, self.uid, answers).await {
                tracing::error!(%error, "the control socket is gone");
            }
        });
        tokio::spawn(selftest::run(addresses, ready, started));
        let mut proxy = tokio::spawn(proxy.run(async move {
            // An error is the sender's end, which is the worker's end too.
            let _ = ending.changed().await;
        }));

        let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).map_err(StartError::Signals)?;
        let mut interrupt = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()).map_err(StartError::Signals)?;
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
            _ = &mut proxy => return Err(StartError::Ended),
        }
        tracing::info!("ending: answering what was asked already; the ruleset stays");
        // While the resolver still runs: it knows the names.
        if let Some(flows) = told {
            let _ = tokio::task::spawn_blocking(move || flows.end()).await;
        }
        end.send_replace(true);
        // The proxy bounds its own drain. An error is a panic inside, which ended it all the same.
        let _ = proxy.await;
        telling.finish(LAST_LINES);
        Ok(Exit::Success)
    }
}

/// The fence goes up.
fn establish(frame: &Frame, nothing: &Arc<Policy>) -> Result<Fence, StartError> {
    unowned(|| {
        let firewall = Firewall::open().map_err(StartError::Firewall)?;
        Fence::establish(firewall, frame.clone(), nothing.clone()).map_err(StartError::Establish)
    })
}

/// What needs the table. A process that was just killed owns it until the kernel has closed all that it had: that is waited for.
fn unowned<R>(mut attempt: impl FnMut() -> Result<R, StartError>) -> Result<R, StartError> {
    let mut tries = OWNED_TRIES;
    loop {
        match attempt() {
            Err(StartError::Establish(EstablishError::Install(InstallError::Owned(_)))) if tries > 0 => std::thread::sleep(OWNED_PAUSE),
            outcome => return outcome,
        }
        tries -= 1;
    }
}

/// resolv.conf, and the resolvers to ask: those of the command line, else its own.
fn whom_to_ask(args: &RunArgs) -> Result<(ResolvConf, Vec<SocketAddr>), StartError> {
    let read = match &args.kept_resolv_conf {
        Some(kept) => kept::read(&args.resolv_conf, kept).map_err(StartError::Kept),
        None => ResolvConf::read(&args.resolv_conf).map_err(StartError::Surroundings),
    };
    let resolv_conf = match read {
        Ok(conf) => conf,
        // Only the search list is missed then.
        Err(error) if !args.upstream.is_empty() => {
            tracing::warn!(error = crate::exit::chain(&error), "going on without a search list");
            ResolvConf::default()
        }
        Err(error) => return Err(error),
    };
    let upstreams: Vec<SocketAddr> = match args.upstream.is_empty() {
        true => resolv_conf.nameservers.clone(),
        false => args.upstream.iter().map(|upstream| upstream.0).collect(),
    };
    if upstreams.is_empty() {
        return Err(StartError::NoUpstream(args.resolv_conf.display().to_string()));
    }
    Ok((resolv_conf, upstreams))
}

/// The part of the ruleset that no policy changes.
fn frame(args: &RunArgs, identity: Identity, upstreams: &[SocketAddr]) -> Frame {
    let Identity { mark, priority } = identity;
    Frame {
        proxy: nft::Proxy { uid: args.uid, mark, priority, port: args.listen.port(), upstreams: upstreams.to_vec() },
        raw_guard: match args.raw_guard {
            RawGuardArg::Require => RawGuard::Require,
            RawGuardArg::Prefer => RawGuard::Prefer,
            RawGuardArg::Off => RawGuard::Off,
        },
        log: Log::default(),
        sizes: Sizes { leases: MOST_LEASES_OF_A_RULE, ..Sizes::default() },
    }
}

/// 32 random bits, above what can be set without the capability (SO_PRIORITY up to 6) and never 0.
fn random() -> Result<u32, StartError> {
    loop {
        let mut bytes = [0; 4];
        getrandom::fill(&mut bytes).map_err(StartError::Random)?;
        let number = u32::from_ne_bytes(bytes);
        if number > 6 {
            return Ok(number);
        }
    }
}
