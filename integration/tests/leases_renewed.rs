//! Promise: an app that resolved once and goes on connecting is never refused; what it no longer uses closes.
//!
//! # Limitations
//! Leases are of 10 s. A note of use lives for 90 s: where a test needs its end, the note is taken out of the kernel while the worker is
//! dead ([`integration::age`]). That the worker may die is a promise of its own, and tested here by the same means.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout, reason = "tests")]

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use integration::authority::Type;
use integration::clients::{connect, dig, echo};
use integration::{Authority, Behaviour, Pod, Portreeve, Setup, TcpTarget, UdpTarget, World, age, leases, wait_until};

const SECOND: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(10);

/// A lease lasts 10 s.
const LEASE: Duration = Duration::from_secs(10);
const POLICY: &str = r#"
version = 1
name = "pool"
[lease]
min = "8s"
max = "1h"
grace = "2s"
[[allow]]
name = "web"
hosts = ["*.example.com"]
ports = ["443", "9000/udp"]
"#;

struct Scene {
    authority: Authority,
    _targets: (TcpTarget, Vec<UdpTarget>),
    pod: Pod,
    _world: World,
}

fn scene() -> Scene {
    let world = World::new();
    let authority = world.authority();
    let web = TcpTarget::on(world.outside(), "[::]:443", "");
    let echoes = ["198.51.100.7:9000", "[2001:db8:ffff::7]:9000"].map(|address| UdpTarget::on(world.outside(), address));
    Scene { authority, _targets: (web, echoes.into()), pod: world.pod("app"), _world: world }
}

impl Scene {
    /// Looks up both kinds of the name, as an app at its start does.
    fn look_up(&self, name: &str) {
        for kind in ["A", "AAAA"] {
            let answer = dig(&self.pod, &[name, kind]);
            assert_eq!(answer.status, "NOERROR", "{name}: {}", answer.raw);
        }
    }

    fn asked(&self, name: &str) -> u64 {
        self.authority.asked(name, Type::A)
    }

    fn try_connect(&self, address: &str) -> std::io::Result<TcpStream> {
        connect(&self.pod, SocketAddr::new(address.parse().unwrap(), 443), 5 * SECOND).map(|(stream, _)| stream)
    }

    fn is_open(&self, address: &str) -> bool {
        match self.try_connect(address) {
            Ok(_) => true,
            Err(cause) if cause.kind() == std::io::ErrorKind::ConnectionRefused => false,
            Err(cause) => panic!("{address}: neither open nor refused: {cause}"),
        }
    }

    fn is_leased(&self, address: &str) -> bool {
        !leases::of(&self.pod, address).is_empty()
    }
}

/// Where an app that resolved `api.example.com` connects to, over TCP and UDP.
const USED: [&str; 2] = ["198.51.100.7", "2001:db8:ffff::7"];

/// An app that keeps connecting, and what became of it.
#[derive(Default)]
struct Connects {
    made: u64,
    failed: Vec<String>,
    /// What the kernel had left of each address, at each look.
    left: HashMap<&'static str, Vec<Duration>>,
}

impl Connects {
    /// New connections to both addresses, over TCP and UDP, some times a second until `end`.
    fn go_on(&mut self, scene: &Scene, end: Instant) {
        while Instant::now() < end {
            for address in USED {
                let ip: IpAddr = address.parse().unwrap();
                let tcp = scene.try_connect(address).map(drop);
                let udp = echo(&scene.pod, SocketAddr::new(ip, 9000), b"used", 5 * SECOND).map(drop);
                for (what, result) in [("tcp", tcp), ("udp", udp)] {
                    self.made += 1;
                    self.failed.extend(result.err().map(|cause| format!("{what} {address}: {cause}")));
                }
                let found = leases::of(&scene.pod, address);
                assert_eq!(found.len(), 1, "{address} is not leased");
                self.left.entry(address).or_default().push(found[0].left);
            }
            std::thread::sleep(SECOND / 4);
        }
    }

    fn expect_no_refusal(&self, least: u64, log: &str) {
        assert!(self.failed.is_empty(), "{} of {} failed, the first: {}\n{log}", self.failed.len(), self.made, self.failed[0]);
        assert!(self.made >= least, "{} connections", self.made);
    }

    /// How often more was left of each address than at the look before.
    fn renewed(&self) -> Vec<usize> {
        self.left.values().map(|left| left.windows(2).filter(|pair| pair[1] > pair[0]).count()).collect()
    }
}

/// The longest time between two questions for a name and type.
fn longest_gap(authority: &Authority, name: &str, kind: Type) -> Duration {
    let mut at: Vec<SystemTime> =
        authority.questions().into_iter().filter(|q| q.name == name && q.record_type == kind).map(|q| q.at).collect();
    at.sort_unstable();
    at.windows(2).map(|pair| pair[1].duration_since(pair[0]).unwrap()).max().unwrap_or_default()
}

#[test]
fn an_app_that_resolved_once_is_never_refused_and_what_nobody_uses_ends() {
    let scene = scene();
    for (name, last) in [("api.example.com", 7), ("idle.example.com", 8)] {
        scene.authority.a(name, &[&format!("198.51.100.{last}")], 1);
        scene.authority.aaaa(name, &[&format!("2001:db8:ffff::{last}")], 1);
    }
    let portreeve = Setup::new(&scene.pod).policy("pool.toml", POLICY).start();
    scene.look_up("idle.example.com");
    scene.look_up("api.example.com");
    let mut connects = Connects::default();
    connects.go_on(&scene, Instant::now() + 5 * LEASE / 2);
    connects.expect_no_refusal(30, &portreeve.log());
    for kind in [Type::A, Type::AAAA] {
        let asked = scene.authority.asked("api.example.com", kind);
        assert!(asked >= 3, "asked {asked} times in two and a half leases");
        let gap = longest_gap(&scene.authority, "api.example.com", kind);
        assert!(gap < LEASE, "asked again after {gap:?}, when the lease was over");
        assert_eq!(scene.authority.asked("idle.example.com", kind), 1, "nobody uses it, so nobody but the app asks");
    }
    assert!(connects.renewed().iter().all(|times| *times >= 2), "in the kernel: {:?}", connects.left);
    assert!(!scene.is_leased("198.51.100.8") && !scene.is_leased("2001:db8:ffff::8"), "what is not used ends");

    let status = portreeve.status();
    let renewals = &status["renewals"];
    assert!(renewals["asked"].as_u64() >= Some(4) && renewals["waiting"].is_u64(), "{status:#}");
    assert_eq!((&renewals["kept"], &renewals["ended-looked-up"]), (&0.into(), &0.into()), "{status:#}");
    let round_trip = status["upstreams"][0]["round-trip-us"].as_u64().unwrap_or_else(|| panic!("{status:#}"));
    assert!((1..1_000_000).contains(&round_trip), "{status:#}");
}

#[test]
fn after_sigkill_of_the_worker_the_names_in_use_are_renewed_by_its_successor_until_the_use_ends() {
    let scene = scene();
    scene.authority.a("api.example.com", &["198.51.100.7"], 1);
    scene.authority.aaaa("api.example.com", &["2001:db8:ffff::7"], 1);
    let portreeve = Setup::new(&scene.pod).policy("pool.toml", POLICY).start();
    scene.look_up("api.example.com");
    let mut connects = Connects::default();
    // Early in a lease, and when half of it is over: a successor that waits before it looks at what is in use would be too late then.
    for most_left in [9500, 5500, 5500, 5500] {
        let due = |left: Duration| left < Duration::from_millis(most_left);
        let end = Instant::now() + 6 * SECOND;
        while Instant::now() < end && !connects.left.get(USED[0]).and_then(|left| left.last()).is_some_and(|left| due(*left)) {
            connects.go_on(&scene, Instant::now() + SECOND / 10);
        }
        connects.expect_no_refusal(1, &portreeve.log());
        let old = portreeve.kill_worker();
        assert!(wait_until(LIMIT, || (portreeve.worker() != old).then_some(())).is_some(), "{}", portreeve.log());
        portreeve.expect_ready(LIMIT);
    }
    let before = scene.asked("api.example.com");
    connects.go_on(&scene, Instant::now() + 3 * LEASE / 2);
    connects.expect_no_refusal(30, &portreeve.log());
    assert!(scene.asked("api.example.com") > before && portreeve.status()["renewals"]["asked"].as_u64() >= Some(2));

    // The same death, and nothing is in use any more: now the lease ends.
    age::without_worker(&portreeve, || age::forget_use(&scene.pod, "pool.web"));
    let (before, start) = (scene.asked("api.example.com"), Instant::now());
    let closed = wait_until(2 * LEASE, || (!scene.is_leased(USED[0]) && !scene.is_leased(USED[1])).then(|| start.elapsed()));
    assert!(closed.expect("the lease of what is not used goes on") <= LEASE + SECOND, "{closed:?}");
    assert_eq!(scene.asked("api.example.com"), before, "asked though nobody uses it");
}

#[test]
fn while_no_upstream_answers_what_is_in_use_stays_open() {
    let scene = scene();
    scene.authority.a("api.example.com", &["198.51.100.7"], 1);
    scene.authority.aaaa("api.example.com", &["2001:db8:ffff::7"], 1);
    // Long enough for a question that is tried for 4.5 s.
    let text = POLICY.replace("\"8s\"", "\"16s\"").replace("\"2s\"", "\"4s\"");
    let portreeve = Setup::new(&scene.pod).policy("pool.toml", &text).start();
    scene.look_up("api.example.com");
    scene.authority.behave_always(&[Behaviour::Drop]);
    let mut connects = Connects::default();
    connects.go_on(&scene, Instant::now() + 3 * LEASE);
    connects.expect_no_refusal(30, &portreeve.log());
    for kind in [Type::A, Type::AAAA] {
        assert!(scene.authority.asked("api.example.com", kind) >= 2, "it was asked again, in vain");
    }
    assert!(connects.renewed().iter().all(|times| *times >= 1), "in the kernel: {:?}", connects.left);
}

/// Words that go to and fro over one connection until it is dropped.
struct Flow {
    stop: Arc<AtomicBool>,
    words: Arc<AtomicU64>,
    speaker: Option<JoinHandle<()>>,
}

impl Flow {
    fn over(mut stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(5 * SECOND)).unwrap();
        let (stop, words) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counter) = (Arc::clone(&stop), Arc::clone(&words));
        let speaker = std::thread::spawn(move || {
            let mut heard = [0; 4];
            while !stopped.load(Ordering::Acquire) && stream.write_all(b"word").is_ok() && stream.read_exact(&mut heard).is_ok() {
                counter.fetch_add(1, Ordering::AcqRel);
                std::thread::sleep(SECOND / 5);
            }
        });
        Self { stop, words, speaker: Some(speaker) }
    }

    fn words(&self) -> u64 {
        self.words.load(Ordering::Acquire)
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(speaker) = self.speaker.take() {
            let _reported_already = speaker.join();
        }
    }
}

#[test]
fn new_addresses_are_open_before_the_app_asks_and_an_old_one_while_a_flow_to_it_lives() {
    let scene = scene();
    scene.authority.a("moving.example.com", &["198.51.100.17"], 1);
    scene.authority.a("quiet.example.com", &["198.51.100.27"], 1);
    let portreeve = Setup::new(&scene.pod).policy("pool.toml", POLICY).start();
    for name in ["moving.example.com", "quiet.example.com"] {
        assert_eq!(dig(&scene.pod, &[name]).answers.len(), 1);
    }
    let start = Instant::now();
    let flow = Flow::over(scene.try_connect("198.51.100.17").expect("leased"));
    // Both names move. A flow lives to the one, nothing to the other.
    scene.authority.a("moving.example.com", &["198.51.100.18", "198.51.100.19"], 1);
    scene.authority.a("quiet.example.com", &["198.51.100.28"], 1);
    let opened = wait_until(LEASE, || ["198.51.100.18", "198.51.100.19"].iter().all(|new| scene.is_leased(new)).then_some(()));
    assert!(opened.is_some(), "the new addresses are not open: {}", portreeve.log());
    assert!(scene.is_open("198.51.100.18") && scene.is_open("198.51.100.19"));
    assert!(scene.is_leased("198.51.100.17"), "there is no moment without the old one");
    // Far beyond the lease that the old address had; nobody connects to it anew meanwhile.
    while start.elapsed() < 2 * LEASE {
        assert!(scene.is_leased("198.51.100.17"), "after {:?}: {}", start.elapsed(), portreeve.log());
        std::thread::sleep(SECOND / 4);
    }
    assert!(scene.is_open("198.51.100.17"), "in use, so another connection may be made");
    assert!(flow.words() > 50, "the flow goes on: {} words", flow.words());
    assert!(portreeve.status()["renewals"]["kept"].as_u64() >= Some(1), "{:#}", portreeve.status());
    assert!(!scene.is_leased("198.51.100.27") && !scene.is_leased("198.51.100.28"), "what nobody used ended with its lease");
    assert_eq!(scene.asked("quiet.example.com"), 1);

    // The flow ends, and time passes.
    drop(flow);
    let passing = || {
        age::forget_use(&scene.pod, "pool.web");
        age::shorten(&scene.pod, "198.51.100.17", 4 * SECOND);
    };
    age::without_worker(&portreeve, passing);
    assert!(scene.is_leased("198.51.100.17"), "it has some seconds left");
    assert!(wait_until(LIMIT, || (!scene.is_leased("198.51.100.17")).then_some(())).is_some(), "out of the answer and unused, yet open");
    assert!(!scene.is_open("198.51.100.17"));
}

/// Sends to each address four times a second.
fn use_all(pod: &Pod, addresses: &[SocketAddr], end: Instant) {
    pod.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        while Instant::now() < end {
            for address in addresses {
                // Refused where the lease has ended, an ICMP error where nobody listens: neither matters here.
                let _ = socket.send_to(b"used", address);
            }
            std::thread::sleep(SECOND / 4);
        }
    });
}

/// The most of these moments in any span of this length.
fn most_within(at: &[SystemTime], span: Duration) -> usize {
    (0..at.len()).map(|n| at[n..].iter().take_while(|later| later.duration_since(at[n]).unwrap() < span).count()).max().unwrap_or(0)
}

fn renewal_questions(scene: &Scene, since: SystemTime) -> Vec<SystemTime> {
    let watched = scene.authority.questions();
    let mut at: Vec<SystemTime> = watched.into_iter().map(|q| q.at).filter(|at| *at > since).collect();
    at.sort_unstable();
    at
}

#[test]
fn many_names_in_use_are_asked_for_at_most_ten_times_a_second() {
    const NAMES: u8 = 150;
    let scene = scene();
    let addresses: Vec<SocketAddr> = (1..=NAMES).map(|n| SocketAddr::from(([203, 0, 113, n], 9000))).collect();
    for n in 1..=NAMES {
        scene.authority.a(&format!("n{n}.example.com"), &[&format!("203.0.113.{n}")], 1);
    }
    let portreeve: Portreeve<'_> = Setup::new(&scene.pod).policy("pool.toml", POLICY).start();
    let watcher = scene.pod.watch();
    let resolver = (integration::world::RESOLVER, 53).into();
    for n in 1..=NAMES {
        let reply = integration::clients::ask(scene.pod.namespace(), resolver, &format!("n{n}.example.com"), Type::A, 3 * SECOND);
        assert_eq!(reply.expect("an answer").answers.len(), 1);
    }
    let since = SystemTime::now();
    let span = 2 * LEASE;
    use_all(&scene.pod, &addresses, Instant::now() + span);
    let asked = renewal_questions(&scene, since);
    let on_the_wire = watcher.left_pod(|packet| packet.is_to(resolver) && packet.at > since).len();
    let most = most_within(&asked, SECOND);
    println!("{} questions in {span:?}, {on_the_wire} packets, at most {most} within a second", asked.len());
    // Ten a second, and those of one second saved up; a second of the authority's clock is not quite one of the resolver's.
    assert!(most <= 22, "{most} questions within a second");
    assert!(asked.len() <= 10 * 20 + 20, "{} questions in {span:?}", asked.len());
    assert!(on_the_wire <= asked.len() + 5, "{on_the_wire} on the wire, {} arrived", asked.len());
    // And the cap is what holds them: there is more to ask.
    assert!(asked.len() >= 10 * 10, "{} questions in {span:?}: {}", asked.len(), portreeve.log());
}
