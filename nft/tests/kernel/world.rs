//! A network namespace for each test, gone with its thread, and the tools that look at it from outside.

use std::{
    net::IpAddr,
    panic::resume_unwind,
    process::Command,
    sync::mpsc::{Receiver, Sender, channel},
    thread::JoinHandle,
    time::Duration,
};

use nft::{
    Answers, Change, CommitError, Firewall, Kind, Lease, Log, Opening, Options, Ownership, Ports, Posture, Proxy, RawGuard, RuleId,
    Ruleset, Sizes,
};
use nix::{sched::CloneFlags, unistd::gettid};

/// Runs the test in a thread with a network namespace of its own, lo up.
pub(crate) fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let body = move || {
        enter();
        test();
    };
    if let Err(panic) = std::thread::spawn(body).join() {
        resume_unwind(panic);
    }
}

fn enter() {
    let made = nix::sched::unshare(CloneFlags::CLONE_NEWNET);
    assert!(made.is_ok(), "these tests make network namespaces: sudo -E env PATH=\"$PATH\" cargo nextest run -p nft");
    run("ip", &["link", "set", "lo", "up"]);
}

/// Runs a tool in this thread's namespace and gives back what it printed.
pub(crate) fn run(tool: &str, arguments: &[&str]) -> String {
    let (ok, out, err) = attempt(tool, arguments);
    assert!(ok, "{tool} {arguments:?}: {err}");
    out
}

/// As [`run`], for tools that may fail.
pub(crate) fn attempt(tool: &str, arguments: &[&str]) -> (bool, String, String) {
    let output = Command::new(tool).args(arguments).output().unwrap_or_else(|error| panic!("{tool}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

type Job = Box<dyn FnOnce() + Send>;

/// A second namespace, at the other end of the device eth0.
pub(crate) struct Peer {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

pub(crate) const POD4: &str = "198.51.100.2";
pub(crate) const PEER4: &str = "198.51.100.1";
pub(crate) const POD6: &str = "2001:db8::2";
pub(crate) const PEER6: &str = "2001:db8::1";
/// A second address of the peer, that nothing opens.
pub(crate) const OTHER4: &str = "203.0.113.1";
pub(crate) const OTHER6: &str = "2001:db8:ffff::1";

impl Peer {
    /// Makes eth0 here and its other end there, both with addresses, and the peer as the default route.
    pub(crate) fn new() -> Self {
        let (jobs, queue): (Sender<Job>, Receiver<Job>) = channel();
        let (tell, tid) = channel();
        let thread = std::thread::spawn(move || {
            enter();
            tell.send(gettid()).unwrap();
            for job in queue {
                job();
            }
        });
        let peer = Self { jobs: Some(jobs), thread: Some(thread) };
        let tid = tid.recv().expect("the peer's namespace").to_string();
        run("ip", &["link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", &tid]);
        for (address, family) in [(format!("{POD4}/24"), "-4"), (format!("{POD6}/64"), "-6")] {
            let nodad: &[&str] = if family == "-6" { &["nodad"] } else { &[] };
            run("ip", &[&[family, "addr", "add", &address, "dev", "eth0"], nodad].concat());
        }
        run("ip", &["link", "set", "eth0", "up"]);
        run("ip", &["route", "add", "default", "via", PEER4]);
        peer.there(|| {
            for address in [PEER4, OTHER4] {
                run("ip", &["addr", "add", &format!("{address}/24"), "dev", "eth0"]);
            }
            for address in [PEER6, OTHER6] {
                run("ip", &["-6", "addr", "add", &format!("{address}/64"), "dev", "eth0", "nodad"]);
            }
            run("ip", &["link", "set", "eth0", "up"]);
        });
        run("ip", &["-6", "route", "add", "default", "via", PEER6]);
        // Both ends are up once the first neighbour has answered.
        // ping is content with one answer of four: with another test's stream on the same cores a packet can be lost between the two.
        run("ping", &["-c", "4", "-i", "0.3", "-W", "2", PEER4]);
        run("ping", &["-c", "4", "-i", "0.3", "-W", "2", PEER6]);
        peer
    }

    /// Runs a job in the peer's namespace and waits for its result.
    pub(crate) fn there<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, result) = channel();
        let job = Box::new(move || {
            let _ = tell.send(job());
        });
        self.jobs.as_ref().unwrap().send(job).unwrap();
        result.recv().expect("the job in the peer's namespace panicked")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A firewall whose table the test's tools can change too.
pub(crate) fn shared() -> Firewall {
    Firewall::open_with(Options { ownership: Ownership::Shared, ..Options::default() }).expect("open")
}

pub(crate) fn proxy() -> Proxy {
    Proxy {
        uid: 0,
        mark: 0x1122_3344,
        priority: 0xa1b2_c3d4,
        port: 5453,
        upstreams: vec!["10.96.0.10:53".parse().unwrap(), "[2001:db8::53]:53".parse().unwrap()],
    }
}

pub(crate) fn ruleset(openings: Vec<Opening>) -> Ruleset {
    Ruleset {
        proxy: proxy(),
        denies: Vec::new(),
        openings,
        retained: Vec::new(),
        raw_guard: RawGuard::Require,
        posture: Posture::Enforce,
        log: Log::default(),
        sizes: Sizes::default(),
    }
}

pub(crate) fn opening(id: u16, key: &str, ports: Ports) -> Opening {
    Opening {
        id: RuleId::new(id).unwrap(),
        key: key.to_owned(),
        comment: format!("{key}.toml"),
        ports,
        ranges: Vec::new(),
        leased: true,
        fingerprint: 0xfeed_0000 + u64::from(id),
    }
}

pub(crate) fn lease(key: &str, address: &str, name: &str, seconds: u64) -> Lease {
    Lease { key: key.to_owned(), address: ip(address), name: name.to_owned(), left: Duration::from_secs(seconds) }
}

/// A change of the opening with this key, as it stands now.
pub(crate) fn change<'a>(firewall: &Firewall, key: &str, address: &str, name: &'a str, seconds: u64, kind: Kind) -> Change<'a> {
    let opening = firewall.opening(key).expect("the opening stands");
    Change { opening, address: ip(address), name, timeout: Duration::from_secs(seconds), kind }
}

/// Commits answers, each with its changes.
pub(crate) fn commit(firewall: &mut Firewall, batch: &[&[Change<'_>]]) -> Vec<Result<(), CommitError>> {
    let mut answers = Answers::new();
    for changes in batch {
        answers.begin();
        for change in *changes {
            answers.push(*change);
        }
    }
    firewall.commit(&answers)
}

pub(crate) fn ip(address: &str) -> IpAddr {
    address.parse().unwrap()
}

/// The elements of a set as `nft` sees them: address, comment, whole seconds left.
pub(crate) fn elements(set: &str) -> Vec<(String, String, u64)> {
    let json: serde_json::Value = serde_json::from_str(&run("nft", &["-j", "list", "set", "inet", "portreeve", set])).unwrap();
    let set = json["nftables"].as_array().unwrap().iter().find_map(|entry| entry.get("set")).unwrap().clone();
    let mut found: Vec<_> = set["elem"].as_array().map(Vec::as_slice).unwrap_or_default().iter().map(element).collect();
    found.sort();
    found
}

fn element(entry: &serde_json::Value) -> (String, String, u64) {
    let element = &entry["elem"];
    let text = |key: &str| element[key].as_str().unwrap_or_default().to_owned();
    (text("val"), text("comment"), element["expires"].as_u64().unwrap_or_default())
}

/// Makes a device that leads nowhere.
pub(crate) fn device(name: &str) {
    run("ip", &["tuntap", "add", "dev", name, "mode", "tap"]);
}
