//! A network namespace (with its own mounts) that lives exactly as long as this value, or as the process.
//!
//! It is held by a thread and by file descriptors, never by a name in the file system: SIGKILL of the test leaves nothing.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::gettid;
use tokio::runtime::Runtime;

type Job = Box<dyn FnOnce() + Send>;

/// A handle on the namespaces of one pod, or of the network outside.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    tid: i32,
    doors: Doors,
    jobs: Mutex<Option<Sender<Job>>>,
    keeper: Mutex<Option<JoinHandle<()>>>,
    runtime: OnceLock<Runtime>,
}

/// The two file descriptors through which a thread enters.
#[derive(Clone, Debug)]
struct Doors {
    net: Arc<File>,
    mounts: Arc<File>,
}

impl Doors {
    fn enter(&self) {
        // setns to a mount namespace wants a working directory and root that no other thread shares.
        unshare(CloneFlags::CLONE_FS).expect("unshare of the working directory");
        setns(self.mounts.as_fd(), CloneFlags::CLONE_NEWNS).expect("setns to the mounts");
        setns(self.net.as_fd(), CloneFlags::CLONE_NEWNET).expect("setns to the network");
    }
}

impl Namespace {
    /// Makes one and runs `prepare` in it, on the thread that keeps it.
    ///
    /// # Panics
    /// With the command to type when the rights are missing, and when `prepare` panics.
    #[must_use]
    pub fn new(name: &str, prepare: impl FnOnce() + Send + 'static) -> Arc<Self> {
        crate::rights::require();
        Self::kept(name, || unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace"), prepare)
    }

    /// The network namespace that somebody else made (a container runtime), with mounts of our own; then the same.
    ///
    /// # Panics
    /// When it cannot be entered, and when `prepare` panics.
    #[must_use]
    pub fn entered(name: &str, net: File, prepare: impl FnOnce() + Send + 'static) -> Arc<Self> {
        crate::rights::require();
        Self::kept(name, move || setns(net.as_fd(), CloneFlags::CLONE_NEWNET).expect("setns to a container's network"), prepare)
    }

    fn kept(name: &str, net: impl FnOnce() + Send + 'static, prepare: impl FnOnce() + Send + 'static) -> Arc<Self> {
        let (jobs, inbox) = channel::<Job>();
        let (ready, made) = channel();
        let keeper = std::thread::Builder::new()
            .name(format!("ns-{name}"))
            .spawn(move || {
                net();
                let made = own();
                prepare();
                ready.send(made).expect("the maker waits");
                keep(&inbox);
            })
            .expect("a thread");
        let Ok((tid, doors)) = made.recv() else {
            match keeper.join() {
                Err(cause) => std::panic::resume_unwind(cause),
                Ok(()) => panic!("the keeper of {name} ended early"),
            }
        };
        Arc::new(Self {
            name: name.to_owned(),
            tid,
            doors,
            jobs: Mutex::new(Some(jobs)),
            keeper: Mutex::new(Some(keeper)),
            runtime: OnceLock::new(),
        })
    }

    /// The name in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The thread that keeps the namespace: `ip link set DEV netns TID` and `nsenter --net=/proc/TID/ns/net` take it.
    #[must_use]
    pub fn tid(&self) -> i32 {
        self.tid
    }

    /// Runs `work` inside, on a thread of its own, and gives back what it returns. A panic in it is passed on.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let inside = || {
            self.doors.enter();
            work()
        };
        std::thread::scope(|scope| scope.spawn(inside).join()).unwrap_or_else(|cause| std::panic::resume_unwind(cause))
    }

    /// Starts a thread inside that goes on by itself.
    ///
    /// # Panics
    /// When no thread can be had.
    pub fn thread<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let doors = self.doors.clone();
        std::thread::Builder::new()
            .name(format!("in-{}", self.name))
            .spawn(move || {
                doors.enter();
                work()
            })
            .expect("a thread")
    }

    /// Runs `work` on the keeping thread. Children must be started here: a parent-death signal follows the *thread* that
    /// started them, and this one lives as long as the namespace.
    ///
    /// # Panics
    /// When the keeper is gone.
    pub fn on_keeper<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = channel();
        let job: Job = Box::new(move || {
            let _nobody_waits = done.send(work());
        });
        self.jobs.lock().unwrap().as_ref().expect("the namespace is alive").send(job).expect("the keeper runs");
        result.recv().expect("the keeper finishes its job")
    }

    /// An event loop with one thread inside, made at first use: sockets made by its tasks belong to this namespace.
    ///
    /// # Panics
    /// When no thread can be had.
    pub fn runtime(&self) -> &Runtime {
        self.runtime.get_or_init(|| {
            let doors = self.doors.clone();
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .thread_name(format!("rt-{}", self.name))
                .on_thread_start(move || doors.enter())
                .enable_all()
                .build()
                .expect("an event loop")
        })
    }

    /// Runs one future on the event loop inside and waits for it. Not for use on an event loop's own thread.
    ///
    /// # Panics
    /// When the future panics.
    pub fn wait_for<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> T {
        let (done, result) = channel();
        self.runtime().spawn(async move {
            let _nobody_waits = done.send(work.await);
        });
        result.recv().expect("the future ends")
    }

    /// Writes a value below /proc/sys/net, for this namespace alone.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn sysctl(&self, key: &str, value: &str) {
        self.run(|| set_sysctl(key, value));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        drop(self.jobs.lock().unwrap().take());
        if let Some(keeper) = self.keeper.lock().unwrap().take() {
            let _reported_already = keeper.join();
        }
    }
}

/// Writes a value below /proc/sys/net in the namespace of the calling thread.
///
/// # Panics
/// When the kernel refuses.
pub fn set_sysctl(key: &str, value: &str) {
    let path = format!("/proc/sys/net/{key}");
    std::fs::write(&path, value).unwrap_or_else(|cause| panic!("{path} = {value}: {cause}"));
}

/// Gives the calling thread mounts of its own, and opens the doors to where it is.
fn own() -> (i32, Doors) {
    unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    match mount(None::<&str>, "/", None::<&str>, private, None::<&str>) {
        Ok(()) => {}
        // The root of a chroot is no mount: what is mounted below it is made private one by one.
        Err(Errno::EINVAL) => own_mounts().iter().for_each(|path| {
            mount(None::<&str>, path.as_str(), None::<&str>, private, None::<&str>).expect("a private mount");
        }),
        Err(errno) => panic!("private mounts: {errno}"),
    }
    let door = |kind: &str| Arc::new(File::open(format!("/proc/thread-self/ns/{kind}")).expect("own namespace"));
    (gettid().as_raw(), Doors { net: door("net"), mounts: door("mnt") })
}

/// Where something is mounted, as far as it can be seen from here.
fn own_mounts() -> Vec<String> {
    let table = std::fs::read_to_string("/proc/self/mounts").expect("/proc is mounted");
    table.lines().filter_map(|line| line.split(' ').nth(1)).map(str::to_owned).collect()
}

fn keep(inbox: &Receiver<Job>) {
    while let Ok(job) = inbox.recv() {
        job();
    }
}
