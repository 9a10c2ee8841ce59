//! Promise: whoever kills Portreeve, permitted traffic does not stop, and the one that comes after knows every lease with its name and
//! the time it has left.
//!
//! Under the policy that was in force before; what a start under another one does is the same as a reload.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout, reason = "tests")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use integration::clients::{connect, getent};
use integration::kernel::Lease;
use integration::stream::{ConnectStream, UdpSink, UdpStream};
use integration::{Authority, Pod, Portreeve, Setup, TcpTarget, World, kernel, wait_until};

const SECOND: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(20);

fn policy(hosts: &str) -> String {
    format!("version = 1\nname = \"web\"\n[[allow]]\nname = \"api\"\nhosts = [{hosts}]\nports = [\"443\", \"9000/udp\"]\n")
}

/// What is not asked for before a restart.
const LATE: [&str; 3] = ["198.51.100.20", "198.51.100.21", "198.51.100.22"];

const ALL: &str = "\"api.example.com\", \"also.example.com\", \"old.example.com\", \"*.late.example.com\"";

struct Scene {
    pod: Pod,
    authority: Authority,
    web: TcpTarget,
    world: World,
}

/// Two names share one address; another has one of its own.
fn scene() -> Scene {
    let world = World::new();
    let authority = world.authority();
    for (name, address) in [
        ("api", "198.51.100.7"),
        ("also", "198.51.100.7"),
        ("old", "198.51.100.8"),
        ("0.late", LATE[0]),
        ("1.late", LATE[1]),
        ("2.late", LATE[2]),
    ] {
        authority.a(&format!("{name}.example.com"), &[address], 600);
    }
    authority.aaaa("api.example.com", &["2001:db8:ffff::7"], 600);
    let web = TcpTarget::on(world.outside(), "198.51.100.7:443", "");
    Scene { pod: world.pod("app"), authority, web, world }
}

/// One connection over which words go to and fro until it is stopped; it counts them, and panics when they stop.
struct Conversation {
    stop: Arc<AtomicBool>,
    words: Arc<AtomicU64>,
    speaker: JoinHandle<()>,
}

impl Conversation {
    fn start(pod: &Pod, target: SocketAddr) -> Self {
        let (stream, _) = connect(pod, target, SECOND).expect("a connection");
        Self::over(stream)
    }

    fn over(mut stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(5 * SECOND)).unwrap();
        let (stop, words) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counter) = (Arc::clone(&stop), Arc::clone(&words));
        let speaker = std::thread::spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                let mut heard = [0; 4];
                stream.write_all(b"word").expect("the connection goes on");
                stream.read_exact(&mut heard).expect("the connection goes on");
                counter.fetch_add(1, Ordering::AcqRel);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self { stop, words, speaker }
    }

    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Release);
        self.speaker.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause));
        self.words.load(Ordering::Acquire)
    }
}

/// The same leases, names and all, with the time that passed taken off and nothing else.
fn expect_the_same_leases(before: &[Lease], passed: Duration, after: &[Lease], portreeve: &Portreeve<'_>) {
    let place = |lease: &Lease| {
        let mut names = lease.names.clone();
        names.sort();
        (lease.key.clone(), lease.address, names)
    };
    let places = |leases: &[Lease]| leases.iter().map(place).collect::<Vec<_>>();
    assert_eq!(places(after), places(before), "{}", portreeve.log());
    for (one, other) in before.iter().zip(after) {
        assert!(other.left <= one.left && other.left + passed + 3 * SECOND > one.left, "{one:?}, after {passed:?}: {other:?}");
    }
}

fn run(kill: impl Fn(&mut Portreeve<'_>)) {
    let scene = scene();
    let pod = &scene.pod;
    let mut portreeve = Setup::new(pod).policy("web.toml", &policy(ALL)).start();
    for (name, count) in [("api", 2), ("also", 1), ("old", 1)] {
        assert_eq!(getent(pod, &format!("{name}.example.com")).len(), count, "{name}: {}", portreeve.log());
    }
    let sink = UdpSink::start(scene.world.outside(), "198.51.100.7:9000");
    let watcher = pod.watch();
    let datagrams = UdpStream::start(pod, sink.address(), 1_000);
    let connects = ConnectStream::start(pod, scene.web.address(), Duration::from_millis(50));
    let conversation = Conversation::start(pod, scene.web.address());
    let inside = TcpTarget::start(pod.namespace(), (pod.v4(), 8080), "");
    let inbound = scene.world.outside().run(|| TcpStream::connect_timeout(&inside.address(), SECOND)).expect("inbound");
    let inbound = Conversation::over(inbound);
    let (before, at) = (kernel::leases(pod), Instant::now());
    assert_eq!(before.len(), 3, "{before:?}");
    portreeve.wait_status("three leases", LIMIT, |status| status["leases"] == 3);

    for round in 0..3 {
        std::thread::sleep(SECOND);
        let old = portreeve.worker();
        let start = Instant::now();
        kill(&mut portreeve);
        // A name that was not asked before, so that neither cache nor luck answers for it.
        let name = format!("{round}.late.example.com");
        let again = wait_until(10 * SECOND, || (!getent(pod, &name).is_empty()).then(|| start.elapsed()));
        let again = again.unwrap_or_else(|| panic!("look-ups do not work again: {}", portreeve.log()));
        portreeve.expect_ready(LIMIT);
        println!("look-ups work again after {again:?}");
        assert!(again < 2 * SECOND, "{again:?}: {}", portreeve.log());
        assert_ne!(portreeve.worker(), old);
        let after: Vec<Lease> =
            kernel::leases(pod).into_iter().filter(|lease| !LATE.contains(&lease.address.to_string().as_str())).collect();
        expect_the_same_leases(&before, at.elapsed(), &after, &portreeve);
        portreeve.wait_status("it knows the leases", LIMIT, |status| status["leases"] == 4 + round && status["ready"] == true);
    }

    let (sent, connected, words) = (datagrams.stop(), connects.stop(), conversation.stop());
    let arrived = sink.stop(&sent);
    println!("{} datagrams, {} connects, {words} words", sent.taken, connected.established);
    assert!(inbound.stop() > 100, "inbound");
    assert!(sent.taken > 2_000 && connected.established > 20 && words > 100);
    assert_eq!((sent.refused.len(), arrived.lost), (0, 0), "{sent:?} {arrived:?}");
    assert!(connected.failed.is_empty(), "{connected:?}");
    let on_the_wire = watcher.left_pod(|packet| packet.is_udp() && packet.is_to(([198, 51, 100, 7], 9000).into()));
    assert_eq!(on_the_wire.len() as u64, sent.taken);

    // It knows the names, not just the addresses: what a later policy takes from them goes, the rest stays.
    let loads = portreeve.status()["loads"].as_u64();
    portreeve.swap_policies(&[("web.toml", &policy("\"also.example.com\""))]);
    portreeve.wait_status("the reload is counted", LIMIT, |status| status["loads"].as_u64() > loads);
    let left = kernel::leases(pod);
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!((left[0].address.to_string().as_str(), left[0].names.join(" ").as_str()), ("198.51.100.7", "also.example.com"));
    drop(scene.authority);
}

#[test]
fn sigkill_of_the_worker_stops_nothing_and_its_successor_knows_the_leases() {
    run(|portreeve| {
        let _old = portreeve.kill_worker();
    });
}

#[test]
fn sigkill_of_all_of_it_and_a_new_start_stop_nothing_and_the_leases_are_known() {
    run(|portreeve| {
        portreeve.kill();
        portreeve.relaunch();
    });
}

/// An established connection whose lease is over is known by its rule's id, which a restart keeps.
#[test]
fn an_established_connection_without_a_lease_outlives_a_restart() {
    let scene = scene();
    let pod = &scene.pod;
    scene.authority.a("api.example.com", &["198.51.100.7"], 1);
    let short = policy(ALL).replace("[[allow]]", "[lease]\nmin = \"1s\"\nmax = \"1h\"\ngrace = \"0s\"\n[[allow]]");
    let mut portreeve = Setup::new(pod).policy("web.toml", &short).start();
    assert_eq!(getent(pod, "api.example.com").len(), 2);
    let conversation = Conversation::start(pod, scene.web.address());
    let over = wait_until(LIMIT, || connect(pod, scene.web.address(), SECOND).is_err().then_some(()));
    assert!(over.is_some(), "the lease goes on");
    let _old = portreeve.kill_worker();
    std::thread::sleep(SECOND / 5);
    portreeve.expect_ready(LIMIT);
    portreeve.kill();
    portreeve.relaunch();
    portreeve.expect_ready(LIMIT);
    let before = conversation.words.load(Ordering::Acquire);
    let goes_on = wait_until(LIMIT, || (conversation.words.load(Ordering::Acquire) > before + 20).then_some(()));
    assert!(goes_on.is_some() && conversation.stop() > 20, "{}", portreeve.log());
}

/// The predecessor's processes may end later than the container is made anew: what stands is its own until then.
#[test]
fn one_that_starts_while_the_last_is_about_to_end_waits_for_it() {
    let scene = scene();
    let mut first = Setup::new(&scene.pod).policy("web.toml", &policy(ALL)).start();
    let second = Setup::new(&scene.pod).serial(1).policy("web.toml", &policy(ALL)).launch();
    std::thread::sleep(SECOND);
    first.kill();
    second.expect_ready(LIMIT);
    assert!(!second.log().contains("the worker ended"), "{}", second.log());
}

/// However long that takes.
#[test]
fn a_second_one_in_the_pod_tries_until_the_first_has_gone() {
    let scene = scene();
    let mut first = Setup::new(&scene.pod).policy("web.toml", &policy(ALL)).start();
    let second = Setup::new(&scene.pod).serial(1).policy("web.toml", &policy(ALL)).launch();
    assert!(second.wait_for_log("another process owns the table", LIMIT), "{}", second.log());
    assert!(!second.is_ready());
    assert_eq!(getent(&scene.pod, "api.example.com").len(), 2, "the first is not disturbed");
    first.kill();
    second.expect_ready(LIMIT);
    assert_eq!(getent(&scene.pod, "api.example.com").len(), 2, "{}", second.log());
}
