//! PID 1 of the sidecar: whatever ends the worker, another one runs within 100 ms; orphans are reaped; SIGTERM is passed on.
//!
//! The kubelet's own restart would come after 10 to 160 s of back-off. The ruleset stands meanwhile either way.

use std::process::Command;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, Uid, seteuid};
use signal_hook::consts::signal::{SIGCHLD, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing::{error, info, warn};

use crate::cli::RunArgs;
use crate::exit::{Exit, Failure};
use crate::log;

/// A worker that ends sooner than this after its start has died young.
const YOUNG: Duration = Duration::from_secs(1);
/// Before a worker that died young is started again: long enough not to spin, and within the promised 100 ms.
const PAUSE: Duration = Duration::from_millis(50);
/// After this many young deaths in a row the pause grows, so that the log stays small.
const PATIENCE: u32 = 20;
/// The longest pause between two starts.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long a worker may drain after SIGTERM before it is killed.
const DRAIN: Duration = Duration::from_secs(8);

/// Why the supervisor itself gave up.
#[derive(Debug, thiserror::Error)]
pub enum SuperviseError {
    /// The signal handlers could not be set.
    #[error("cannot listen for signals")]
    Signals(#[source] std::io::Error),
    /// The binary could not be started again.
    #[error("cannot start the worker from /proc/self/exe (is /proc mounted?)")]
    Start(#[source] std::io::Error),
    /// The kernel would not say how a child ended.
    #[error("cannot wait for the worker")]
    Wait(#[source] Errno),
}

/// Runs workers until SIGTERM or SIGINT, or until one says that a restart cannot help.
pub fn run(args: &RunArgs) -> Result<Exit, Failure> {
    log::start(args.log);
    supervise(Uid::from_raw(args.uid)).map_err(Failure::failed)
}

/// The supervisor's state between two signals.
struct Supervisor {
    worker: Pid,
    /// The uid that the worker goes to.
    uid: Uid,
    started: Instant,
    young_deaths: u32,
    ending: bool,
}

fn supervise(uid: Uid) -> Result<Exit, SuperviseError> {
    // Before the first worker: a child that ends at once must find the handler in place.
    let mut signals = Signals::new([SIGCHLD, SIGTERM, SIGINT]).map_err(SuperviseError::Signals)?;
    let mut state = Supervisor { worker: start_worker()?, uid, started: Instant::now(), young_deaths: 0, ending: false };
    for signal in signals.forever() {
        if signal == SIGCHLD {
            if let Some(exit) = state.reap()? {
                return Ok(exit);
            }
        } else {
            state.end();
        }
    }
    Ok(Exit::Failed)
}

impl Supervisor {
    /// Passes the wish to end on, and makes sure that it comes true.
    fn end(&mut self) {
        if self.ending {
            return;
        }
        self.ending = true;
        let worker = self.worker;
        // Without CAP_KILL, which no pod is asked for, root may not signal another uid's process: only its own uid may. Nothing is started
        // from here on, so the other rights that go with this are not needed. A worker still on its way there is root's: that is the
        // real uid, which stays.
        if let Err(errno) = seteuid(self.uid) {
            warn!(uid = self.uid.as_raw(), error = errno.desc(), "cannot take the worker's uid to signal it");
        }
        // The worker may have just ended: then its SIGCHLD is on the way.
        if kill(worker, Signal::SIGTERM) == Err(Errno::EPERM) {
            error!("not permitted to end the worker (needs SETUID or KILL)");
        }
        std::thread::spawn(move || {
            std::thread::sleep(DRAIN);
            // Only a worker that still runs is reached: its pid is not reused before it is reaped, and then this process ends.
            let _ = kill(worker, Signal::SIGKILL);
        });
    }

    /// Takes in every child that ended; `Some` if the supervisor is to end too.
    fn reap(&mut self) -> Result<Option<Exit>, SuperviseError> {
        loop {
            let status = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return Ok(None),
                Ok(status) => status,
                Err(Errno::EINTR) => continue,
                Err(errno) => return Err(SuperviseError::Wait(errno)),
            };
            if status.pid() != Some(self.worker) {
                continue; // an orphan of the container: PID 1 takes it in
            }
            if let Some(exit) = self.worker_ended(status)? {
                return Ok(Some(exit));
            }
        }
    }

    fn worker_ended(&mut self, status: WaitStatus) -> Result<Option<Exit>, SuperviseError> {
        match status {
            WaitStatus::Exited(_, 0) if self.ending => return Ok(Some(Exit::Success)),
            _ if self.ending => return Ok(Some(Exit::Failed)),
            WaitStatus::Exited(_, code) if code == i32::from(Exit::Unable.code()) => return Ok(Some(Exit::Unable)),
            WaitStatus::Exited(_, code) if code == i32::from(Exit::Usage.code()) => return Ok(Some(Exit::Usage)),
            WaitStatus::Exited(_, code) => warn!(code, "the worker ended; the ruleset stands; starting another"),
            WaitStatus::Signaled(_, signal, _) => {
                warn!(signal = signal.as_str(), "the worker was killed; the ruleset stands; starting another");
            }
            _ => return Ok(None), // stopped or continued: it has not ended
        }
        self.pause();
        self.worker = start_worker()?;
        self.started = Instant::now();
        info!(worker = self.worker.as_raw(), "worker started again");
        Ok(None)
    }

    fn pause(&mut self) {
        if self.started.elapsed() >= YOUNG {
            self.young_deaths = 0;
            return;
        }
        self.young_deaths = self.young_deaths.saturating_add(1);
        let Some(beyond) = self.young_deaths.checked_sub(PATIENCE) else {
            std::thread::sleep(PAUSE);
            return;
        };
        if beyond == 0 {
            error!("the worker died {PATIENCE} times in a row within {} s of its start", YOUNG.as_secs());
        }
        std::thread::sleep((PAUSE * 2u32.saturating_pow(beyond.min(16))).min(LONGEST_PAUSE));
    }
}

/// Starts this very binary as the worker, with the same arguments.
fn start_worker() -> Result<Pid, SuperviseError> {
    // `run` is always the first argument: the command line has no global flags.
    let child = Command::new("/proc/self/exe").arg("worker").args(std::env::args_os().skip(2)).spawn().map_err(SuperviseError::Start)?;
    // Reaped by waitpid above, with the orphans; std's handle does nothing when dropped.
    Ok(Pid::from_raw(child.id().cast_signed()))
}
