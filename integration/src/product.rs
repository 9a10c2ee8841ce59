//! The product itself, as PID 1 of its own PID namespace in a pod: started, asked, killed in every way.

mod flows;
pub(crate) mod processes;
mod schema;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use self::processes::{Whole, alive, child_of, send};
use crate::{Cmd, Finished, Pod, PolicyDir, Running};

/// How long a start may take before a test gives up (not the budget: machines that test are busy).
const START_LIMIT: Duration = Duration::from_secs(10);

/// The uid that the worker runs as unless the test says otherwise.
pub const UID: u32 = 4242;

/// Finds the product's binary: `PORTREEVE_BIN`, else next to the test's own executable.
///
/// # Panics
/// With the command that builds it, when there is none.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("PORTREEVE_BIN").map(PathBuf::from) {
        assert!(path.is_file(), "PORTREEVE_BIN={} is no file", path.display());
        return path;
    }
    let own = std::env::current_exe().expect("own executable");
    let beside =
        own.ancestors().skip(1).take(4).flat_map(|dir| ["portreeve", "debug/portreeve", "release/portreeve"].map(|name| dir.join(name)));
    let mut candidates = beside.filter(|path| path.is_file());
    candidates.next().unwrap_or_else(|| {
        panic!("there is no portreeve binary near {}. Type:\n\n    cargo build -p sidecar\n\n(or set PORTREEVE_BIN)", own.display())
    })
}

/// How the product is to be started in a pod.
#[derive(Debug)]
#[must_use]
pub struct Setup<'a> {
    pod: &'a Pod,
    policies: Vec<(String, String)>,
    plain: bool,
    missing: bool,
    args: Vec<String>,
    envs: Vec<(String, String)>,
    uid: Option<u32>,
    serial: u32,
    program: Option<PathBuf>,
}

impl<'a> Setup<'a> {
    /// With an empty policy directory, a control socket of its own, uid [`UID`], and upstreams from the pod's resolv.conf.
    pub fn new(pod: &'a Pod) -> Self {
        Self {
            pod,
            policies: Vec::new(),
            plain: false,
            missing: false,
            args: Vec::new(),
            envs: Vec::new(),
            uid: Some(UID),
            serial: 0,
            program: None,
        }
    }

    /// One more policy file.
    pub fn policy(mut self, file: &str, text: &str) -> Self {
        self.policies.push((file.to_owned(), text.to_owned()));
        self
    }

    /// Ordinary files instead of a ConfigMap's links.
    pub fn plain_files(mut self) -> Self {
        self.plain = true;
        self
    }

    /// A policy directory that is not there.
    pub fn missing_directory(mut self) -> Self {
        self.missing = true;
        self
    }

    /// One more upstream: `IP` or `IP:PORT`.
    pub fn upstream(self, address: impl ToString) -> Self {
        self.option("--upstream", address)
    }

    /// Where the proxy listens.
    pub fn listen(self, address: impl ToString) -> Self {
        self.option("--listen", address)
    }

    /// The Kubernetes namespace that files select by.
    pub fn namespace(self, namespace: &str) -> Self {
        self.option("--namespace", namespace)
    }

    /// The pod's labels, written as the downward API writes them.
    ///
    /// # Panics
    /// When the file system refuses.
    pub fn labels(self, labels: &[(&str, &str)]) -> Self {
        let text: String = labels.iter().map(|(key, value)| format!("{key}={value:?}\n")).collect();
        let path = self.pod.files().join("labels");
        fs::write(&path, text).expect("labels file");
        self.option("--labels", path.display())
    }

    /// Any other option with its value.
    pub fn option(mut self, key: &str, value: impl ToString) -> Self {
        self.args.extend([key.to_owned(), value.to_string()]);
        self
    }

    /// One environment variable.
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.envs.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Another uid for the worker; `None` leaves `--uid` away.
    pub fn uid(mut self, uid: Option<u32>) -> Self {
        self.uid = uid;
        self
    }

    /// A directory of its own for policies and control socket: needed for a second one in the same pod.
    pub fn serial(mut self, serial: u32) -> Self {
        self.serial = serial;
        self
    }

    /// Another program than [`binary`].
    pub fn program(mut self, path: &Path) -> Self {
        self.program = Some(path.to_owned());
        self
    }

    /// Starts it and waits until it says that it is ready.
    ///
    /// # Panics
    /// With its log, when it is not ready within 10 s.
    #[must_use]
    pub fn start(self) -> Portreeve<'a> {
        let portreeve = self.launch();
        portreeve.expect_ready(START_LIMIT);
        portreeve
    }

    /// Starts it and does not wait.
    #[must_use]
    pub fn launch(self) -> Portreeve<'a> {
        let files = self.pod.files().join(format!("portreeve-{}", self.serial));
        let path = files.join("policies");
        let policies = if self.plain { PolicyDir::plain(path) } else { PolicyDir::config_map(path) };
        policies.replace(&self.policies);
        if self.missing {
            fs::remove_dir_all(policies.path()).expect("the policy directory");
        }
        // The worker has a uid of its own when it makes or removes the socket.
        let run = self.pod.world().scratch().make_dir(&format!("run-{}-{}", self.pod.wire(), self.serial), 0o777);
        let control = run.join("control.sock");
        let mut args = self.args;
        args.extend(["--policies".to_owned(), policies.path().display().to_string()]);
        args.extend(["--control".to_owned(), control.display().to_string()]);
        args.extend(self.uid.iter().flat_map(|uid| ["--uid".to_owned(), uid.to_string()]));
        let program = self.program.unwrap_or_else(binary).display().to_string();
        let launch = Launch { program, args, envs: self.envs };
        let running = Whole(launch.spawn(self.pod));
        Portreeve { pod: self.pod, policies, control, launch, running, started: Instant::now(), checked: AtomicUsize::new(0) }
    }
}

#[derive(Debug)]
struct Launch {
    program: String,
    args: Vec<String>,
    envs: Vec<(String, String)>,
}

impl Launch {
    /// `unshare --kill-child` ends the whole PID namespace when the test dies, whatever the worker does about its own parent.
    fn spawn(&self, pod: &Pod) -> Running {
        let mut command =
            pod.command("unshare").args(["--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--propagation=unchanged", "--"]);
        command = command.arg(&self.program).arg("run").args(&self.args);
        for (key, value) in &self.envs {
            command = command.env(key, value);
        }
        command.spawn()
    }
}

/// The running product; it is killed when this value is dropped. Its rules stay in the pod's kernel.
#[derive(Debug)]
pub struct Portreeve<'a> {
    pod: &'a Pod,
    policies: PolicyDir,
    control: PathBuf,
    launch: Launch,
    running: Whole,
    started: Instant,
    /// Lines of its log that were held against the schema.
    checked: AtomicUsize,
}

impl Portreeve<'_> {
    /// Its policy directory.
    #[must_use]
    pub fn policies(&self) -> &PolicyDir {
        &self.policies
    }

    /// Replaces all its policy files (by a ConfigMap's swap unless it was set up with plain files).
    pub fn swap_policies(&self, files: &[(&str, &str)]) {
        self.policies.replace(files);
    }

    /// Its control socket.
    #[must_use]
    pub fn control(&self) -> &Path {
        &self.control
    }

    /// Its log for people: all of stderr.
    #[must_use]
    pub fn log(&self) -> String {
        self.running.stderr()
    }

    /// Waits until the log has this text; false when it has not within `limit`.
    #[must_use]
    pub fn wait_for_log(&self, text: &str, limit: Duration) -> bool {
        crate::wait_until(limit, || self.log().contains(text).then_some(())).is_some()
    }

    /// `portreeve ARGS --control PATH`, in the pod.
    #[must_use]
    pub fn ask(&self, args: &[&str]) -> Finished {
        self.pod.command(&self.launch.program).args(args).arg("--control").arg(self.control.display()).output()
    }

    /// Whether `portreeve status --ready` says yes.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.control.exists() && self.ask(&["status", "--ready"]).ok()
    }

    /// Waits until it is ready; gives the time since its start, `None` when it is not within `limit`.
    #[must_use]
    pub fn wait_ready(&self, limit: Duration) -> Option<Duration> {
        crate::wait_until(limit, || self.is_ready().then(|| self.started.elapsed()))
    }

    /// The same, or the report.
    ///
    /// # Panics
    /// With its log, when it is not ready within `limit`.
    pub fn expect_ready(&self, limit: Duration) {
        assert!(self.wait_ready(limit).is_some(), "portreeve is not ready after {limit:?}. Its log:\n{}", self.log());
    }

    /// What `portreeve status --json` says.
    ///
    /// # Panics
    /// With what it said, when that is no JSON.
    #[must_use]
    pub fn status(&self) -> serde_json::Value {
        let said = self.ask(&["status", "--json"]);
        serde_json::from_str(&said.stdout).unwrap_or_else(|cause| panic!("status --json: {cause}\n{}{}", said.stdout, said.stderr))
    }

    /// Waits until `status --json` fits; gives it, or panics with the last one.
    ///
    /// # Panics
    /// With the last status and the log.
    pub fn wait_status(&self, what: &str, limit: Duration, fits: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let found = crate::wait_until(limit, || Some(self.status()).filter(|status| fits(status)));
        found.unwrap_or_else(|| panic!("{what}: not within {limit:?}. Status: {:#}\nLog:\n{}", self.status(), self.log()))
    }

    /// The supervisor's pid, as the test sees it (in its own namespace it is 1).
    ///
    /// # Panics
    /// When there is none within 2 s.
    #[must_use]
    pub fn supervisor(&self) -> i32 {
        child_of(self.running.pid()).expect("a supervisor")
    }

    /// The worker's pid, as the test sees it.
    ///
    /// # Panics
    /// When there is none within 2 s.
    #[must_use]
    pub fn worker(&self) -> i32 {
        child_of(self.supervisor()).expect("a worker")
    }

    /// SIGKILL to the worker; gives the pid that died. The supervisor is to start another.
    #[must_use]
    pub fn kill_worker(&self) -> i32 {
        let worker = self.worker();
        send(worker, Signal::SIGKILL);
        let _reaped_late = crate::wait_until(Duration::from_secs(2), || (!alive(worker)).then_some(()));
        worker
    }

    /// SIGKILL to the supervisor, which takes the whole PID namespace with it, and waits.
    pub fn kill(&mut self) {
        send(self.supervisor(), Signal::SIGKILL);
        let _status = self.running.wait(Duration::from_secs(5)).unwrap_or_else(|| self.running.kill());
    }

    /// SIGTERM to the supervisor, as kubelet sends it; gives the exit status, `None` when it has not ended within `limit`.
    pub fn terminate(&mut self, limit: Duration) -> Option<ExitStatus> {
        send(self.supervisor(), Signal::SIGTERM);
        self.running.wait(limit)
    }

    /// Waits for its own end.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        self.running.wait(limit)
    }

    /// Starts it once more with the same arguments, after [`Portreeve::kill`] or [`Portreeve::terminate`]; does not wait.
    pub fn relaunch(&mut self) {
        self.running.end();
        self.running = Whole(self.launch.spawn(self.pod));
        self.started = Instant::now();
        self.checked.store(0, Relaxed);
    }

    /// Makes the worker deaf to the kernel's netfilter answers, or lets it hear again: the netlink path fails without an error.
    ///
    /// # Panics
    /// When it has no such socket.
    pub fn deafen(&self, deaf: bool) {
        let script = include_str!("../faults/netlink.py");
        let mode = if deaf { "deaf" } else { "hearing" };
        let said = self.pod.command("/usr/bin/python3").args(["-I", "-c", script]).arg(self.worker()).arg(mode).output();
        let changed = said.expect_ok("faults/netlink.py");
        assert_ne!(changed.trim(), "0", "the worker has no netfilter socket");
    }

    /// Resident memory of the worker in bytes.
    ///
    /// # Panics
    /// When /proc does not tell.
    #[must_use]
    pub fn resident(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.worker())).expect("the worker's status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
    }
}

/// A command line of the product in a pod, for its one-shot commands.
pub fn portreeve(pod: &Pod) -> Cmd {
    pod.command(&binary().display().to_string())
}
