//! Programs inside a namespace: each has a time limit, and none outlives the test.

use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::Namespace;

/// What a container runtime gives a root container by default (Docker's and containerd's list).
const CONTAINER_CAPS: &str = "+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,+net_bind_service,+net_raw,\
                              +sys_chroot,+mknod,+audit_write,+setfcap";

/// How much of a program's output is kept, in bytes.
const KEPT: usize = 16 << 20;

#[derive(Clone, Copy, Debug)]
enum Privilege {
    Full,
    ContainerRoot,
    User(u32),
}

/// A program to be run inside a namespace.
#[derive(Clone, Debug)]
#[must_use]
pub struct Cmd {
    namespace: Arc<Namespace>,
    program: String,
    args: Vec<String>,
    envs: Vec<(String, String)>,
    privilege: Privilege,
    limit: Duration,
    input: Option<String>,
}

/// A program that has ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Exit code, or 128 + the signal as a shell says it.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
    /// From start to end.
    pub took: Duration,
    /// It was killed because its time was up.
    pub timed_out: bool,
}

impl Finished {
    /// Exit code 0.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.code == 0
    }

    /// Gives its output, or panics with everything it said.
    ///
    /// # Panics
    /// When the exit code is not 0.
    #[must_use]
    pub fn expect_ok(self, what: &str) -> String {
        assert!(self.ok(), "{what}: exit {} after {:?}\n{}{}", self.code, self.took, self.stdout, self.stderr);
        self.stdout
    }
}

impl Cmd {
    /// `program` in `namespace`, with the test's own rights and 10 s of time.
    pub fn new(namespace: &Arc<Namespace>, program: &str) -> Self {
        Self {
            namespace: Arc::clone(namespace),
            program: program.to_owned(),
            args: Vec::new(),
            envs: Vec::new(),
            privilege: Privilege::Full,
            limit: Duration::from_secs(10),
            input: None,
        }
    }

    /// One more argument.
    pub fn arg(mut self, arg: impl ToString) -> Self {
        self.args.push(arg.to_string());
        self
    }

    /// More arguments.
    pub fn args<T: ToString>(mut self, args: impl IntoIterator<Item = T>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.to_string()));
        self
    }

    /// One environment variable.
    pub fn env(mut self, key: &str, value: impl ToString) -> Self {
        self.envs.push((key.to_owned(), value.to_string()));
        self
    }

    /// As this uid, without any capability and with no way to get one back.
    pub fn as_user(mut self, uid: u32) -> Self {
        crate::rights::require_uid(uid);
        self.privilege = Privilege::User(uid);
        self
    }

    /// As root with the capabilities that container runtimes give by default (NET_RAW is among them).
    pub fn as_container_root(mut self) -> Self {
        self.privilege = Privilege::ContainerRoot;
        self
    }

    /// Another time limit for [`Cmd::output`].
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Text for its standard input.
    pub fn input(mut self, text: impl Into<String>) -> Self {
        self.input = Some(text.into());
        self
    }

    /// Starts it, waits for its end (at most the limit, then it is killed) and gives what it said.
    #[must_use]
    pub fn output(self) -> Finished {
        let (start, limit) = (Instant::now(), self.limit);
        let mut running = self.spawn();
        let status = running.wait(limit);
        let timed_out = status.is_none();
        let status = status.unwrap_or_else(|| running.kill());
        running.drain();
        let took = start.elapsed();
        Finished { code: code(status), stdout: running.stdout(), stderr: running.stderr(), took, timed_out }
    }

    /// Starts it and goes on.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn(self) -> Running {
        let label = format!("{} {}", self.program, self.args.first().map_or("", String::as_str));
        let input = self.input.clone();
        let namespace = Arc::clone(&self.namespace);
        let mut child = namespace
            .on_keeper(move || self.build().spawn())
            .unwrap_or_else(|cause| panic!("cannot start {label} in {}: {cause} (is util-linux installed?)", namespace.name()));
        if let (Some(text), Some(mut stdin)) = (input, child.stdin.take()) {
            let _closed_early = stdin.write_all(text.as_bytes());
        }
        let (stdout, stderr) = (Collected::default(), Collected::default());
        stdout.follow(child.stdout.take());
        stderr.follow(child.stderr.take());
        Running { child, stdout, stderr, ended: None, _namespace: namespace }
    }

    fn build(&self) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        match self.privilege {
            Privilege::Full => {}
            Privilege::ContainerRoot => {
                let bounding = format!("--bounding-set=-all,{CONTAINER_CAPS}");
                command.args(["--clear-groups", "--inh-caps=-all", &bounding]);
            }
            Privilege::User(uid) => {
                command.args(["--clear-groups", "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]);
                command.args([format!("--reuid={uid}"), format!("--regid={uid}")]);
            }
        }
        // What a developer's shell sets for the product must not change what is tested.
        for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("PORTREEVE_")) {
            command.env_remove(key);
        }
        command.arg(&self.program).args(&self.args).envs(self.envs.iter().map(|(key, value)| (key, value)));
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin:/sbin")).env("LC_ALL", "C.UTF-8");
        command.stdin(if self.input.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        command
    }
}

/// A program that runs; it and its process group are killed when this value is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: Collected,
    stderr: Collected,
    ended: Option<ExitStatus>,
    _namespace: Arc<Namespace>,
}

impl Running {
    /// Its process id, as this test sees it.
    #[must_use]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    /// What it has printed so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it has complained about so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// Sends a signal to it alone.
    pub fn signal(&self, signal: Signal) {
        if self.ended.is_none() {
            let _already_gone = kill(Pid::from_raw(self.pid()), signal);
        }
    }

    /// Waits for its end; `None` when it still runs after `limit`.
    ///
    /// # Panics
    /// When the kernel does not know the child.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = crate::wait_until(limit, || self.child.try_wait().expect("own child"));
        }
        self.ended
    }

    /// Kills it and its process group, and waits.
    ///
    /// # Panics
    /// When the kernel does not know the child.
    pub fn kill(&mut self) -> ExitStatus {
        if let Some(status) = self.ended {
            return status;
        }
        let _already_gone = killpg(Pid::from_raw(self.pid()), Signal::SIGKILL);
        let status = self.child.wait().expect("own child");
        self.ended = Some(status);
        status
    }

    /// Waits until its output is read to the end; a grandchild that holds the pipe is waited for 1 s.
    pub(crate) fn drain(&self) {
        for side in [&self.stdout, &self.stderr] {
            let _held_by_a_grandchild = crate::wait_until(Duration::from_secs(1), || side.finished().then_some(()));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _status = self.kill();
    }
}

/// The exit code as a shell says it.
fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

#[derive(Clone, Debug, Default)]
struct Collected {
    bytes: Arc<Mutex<Vec<u8>>>,
    readers: Arc<AtomicUsize>,
}

impl Collected {
    fn follow(&self, pipe: Option<impl Read + Send + 'static>) {
        let Some(mut pipe) = pipe else { return };
        self.readers.store(1, Ordering::Release);
        let (bytes, readers) = (Arc::clone(&self.bytes), Arc::clone(&self.readers));
        std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                let mut kept = bytes.lock().unwrap();
                let room = KEPT.saturating_sub(kept.len()).min(count);
                kept.extend_from_slice(&buffer[..room]);
            }
            readers.store(0, Ordering::Release);
        });
    }

    fn finished(&self) -> bool {
        self.readers.load(Ordering::Acquire) == 0
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }
}
