//! Promise: an address stays open at least as long as the app was told, is renewed by a new look-up without a gap, and then ends.
//!
//! # Limitations
//! Times are short (leases of seconds), so that minutes of life fit into seconds. The kernel is read after each answer, never at the
//! same instant: what it has left is compared with the time of the question added, which makes the test milder by some milliseconds.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use integration::authority::{Behaviour, ResponseCode, Type};
use integration::clients::{ask, connect, dig};
use integration::leases::{self, Lease};
use integration::world::RESOLVER;
use integration::{Authority, Pod, Setup, TcpTarget, World, wait_until};

#[path = "lease_lives/left.rs"]
mod left;

const SECOND: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(10);

/// Leases last from 1 s to 1 h, and 1 s more.
const SHORT: &str = r#"
version = 1
name = "short"
[lease]
min = "1s"
max = "1h"
grace = "1s"
[[allow]]
name = "web"
hosts = ["*.example.com"]
ports = ["443"]
"#;

struct Scene {
    authority: Authority,
    _web: [TcpTarget; 2],
    pod: Pod,
    _world: World,
}

fn scene() -> Scene {
    let world = World::new();
    let authority = world.authority();
    let web = ["0.0.0.0:443", "0.0.0.0:8443"].map(|address| TcpTarget::on(world.outside(), address, ""));
    Scene { authority, _web: web, pod: world.pod("app"), _world: world }
}

impl Scene {
    /// Looks the name up; gives the TTL told.
    fn look_up(&self, name: &str) -> u32 {
        let answer = dig(&self.pod, &[name]);
        assert!(answer.status == "NOERROR" && !answer.answers.is_empty(), "{name}: {}", answer.raw);
        answer.answers.iter().map(|(_, ttl, _, _)| *ttl).min().unwrap()
    }

    fn is_open(&self, target: &str) -> bool {
        self.connect(target).unwrap_or_else(|cause| panic!("{target}: neither open nor refused: {cause}"))
    }

    fn connect(&self, target: &str) -> std::io::Result<bool> {
        match connect(&self.pod, target.parse().unwrap(), 5 * SECOND) {
            Ok(_) => Ok(true),
            Err(cause) if cause.kind() == std::io::ErrorKind::ConnectionRefused => Ok(false),
            Err(cause) => Err(cause),
        }
    }

    /// The one lease of an address.
    fn lease(&self, address: &str) -> Lease {
        let mut found = leases::of(&self.pod, address);
        assert_eq!(found.len(), 1, "{address}: {found:?}");
        found.remove(0)
    }

    /// Waits until the address is refused; gives the time since `start`.
    fn wait_refused(&self, target: &str, start: Instant) -> Duration {
        // A right that is taken away between the two packets of a handshake resets the connection: it was the last one that opened.
        let refused = || match self.connect(target) {
            Err(cause) if cause.kind() == std::io::ErrorKind::ConnectionReset => false,
            outcome => !outcome.unwrap_or_else(|cause| panic!("{target}: neither open nor refused: {cause}")),
        };
        wait_until(LIMIT, || refused().then(|| start.elapsed())).unwrap_or_else(|| panic!("{target} stays open"))
    }
}

#[test]
fn a_lease_ends_and_the_kernel_forgets_the_address() {
    let scene = scene();
    scene.authority.a("api.example.com", &["198.51.100.7"], 2);
    let _portreeve = Setup::new(&scene.pod).policy("short.toml", SHORT).start();
    assert!(!scene.is_open("198.51.100.7:443"), "closed before anybody asked");
    let watcher = scene.pod.watch();
    for _ in 0..2 {
        scene.authority.behave("api.example.com", &[]);
        let ttl = scene.look_up("api.example.com");
        let answered = Instant::now();
        // The connections that find out when it closes are use, which would have the name asked again and its lease renewed; and so would
        // the first one that is refused.
        scene.authority.behave("api.example.com", &[Behaviour::Code(ResponseCode::ServFail)]);
        assert!(scene.is_open("198.51.100.7:443") && ttl <= 2);
        let open = scene.wait_refused("198.51.100.7:443", answered);
        assert!(open >= Duration::from_secs(ttl.into()), "told {ttl} s, refused after {open:?}");
        assert!(open <= 6 * SECOND, "3 s of lease, refused after {open:?}");
        let gone = wait_until(LIMIT, || leases::leases(&scene.pod).is_empty().then_some(()));
        assert!(gone.is_some(), "still in the kernel: {:?}", leases::leases(&scene.pod));
        watcher.forget();
        assert!(!scene.is_open("198.51.100.7:443"));
        let out = watcher.left_pod(|packet| packet.destination != IpAddr::from(RESOLVER) && !packet.is_housekeeping());
        assert!(out.is_empty(), "after the lease's end: {} packets left the pod, the first {}", out.len(), out[0]);
    }
}

#[test]
fn the_ttl_told_is_never_longer_than_what_is_left_of_the_lease() {
    let scene = scene();
    let ttls = [0, 1, 2, 3, 30, 3600, 86_400, u32::MAX];
    for (n, ttl) in ttls.iter().enumerate() {
        for zone in ["example.com", "example.net"] {
            let name = format!("n{n}.{zone}");
            let last = n + if zone == "example.com" { 10 } else { 30 };
            scene.authority.a(&name, &[&format!("198.51.100.{last}")], *ttl);
            scene.authority.aaaa(&name, &[&format!("2001:db8:ffff::{last}")], *ttl);
        }
    }
    // The same with leases that are capped far below the TTL.
    let capped = SHORT.replace("short", "capped").replace("1h", "3s").replace("example.com", "example.net");
    let portreeve = Setup::new(&scene.pod).policy("short.toml", SHORT).policy("capped.toml", &capped).start();
    let mut checked = 0;
    // When each question went upstream last, and when its answer was there.
    let mut fetched: HashMap<(String, &str), (Instant, Instant)> = HashMap::new();
    for round in 0..4 {
        if round == 2 {
            // The new worker knows the leases by the kernel alone.
            let old = portreeve.kill_worker();
            assert!(wait_until(LIMIT, || (portreeve.worker() != old).then_some(())).is_some(), "{}", portreeve.log());
            portreeve.expect_ready(LIMIT);
        }
        for (n, set) in ttls.iter().enumerate() {
            for name in [format!("n{n}.example.com"), format!("n{n}.example.net")] {
                for (kind, record_type) in [("A", Type::A), ("AAAA", Type::AAAA)] {
                    let before = scene.authority.asked(&name, record_type);
                    let asked = Instant::now();
                    let answer = dig(&scene.pod, &[&name, kind]);
                    let [(_, ttl, _, address)] = answer.answers.as_slice() else { panic!("{}", answer.raw) };
                    let left = scene.lease(address).left + asked.elapsed();
                    assert!(Duration::from_secs((*ttl).into()) <= left, "{name} {kind}: told {ttl} s, the kernel has {left:?}");
                    assert!(*ttl <= 3601 && (name.ends_with("com") || *ttl <= 4), "{name}: told {ttl}");
                    if scene.authority.asked(&name, record_type) > before {
                        fetched.insert((name.clone(), kind), (asked, Instant::now()));
                    }
                    let (sent, answered) = fetched[&(name.clone(), kind)];
                    // What is kept is counted down.
                    let over = asked.saturating_duration_since(answered).as_secs();
                    assert!(u64::from(*ttl) + over <= u64::from(*set), "{name} {kind}: told {ttl} of {set}, {over} s later");
                    // Nothing is lost either: a TTL that fits is told as it is, and later less by no more than the time that has gone.
                    let since = if sent == asked { 0 } else { sent.elapsed().as_secs() + 1 };
                    let least = if name.ends_with("net") || *set > 3600 { 0 } else { u64::from(*set).saturating_sub(since) };
                    assert!(u64::from(*ttl) >= least, "{name} {kind}: told {ttl} of {set}, asked for {since} s ago");
                    checked += 1;
                }
            }
        }
    }
    assert_eq!(checked, 4 * 8 * 2 * 2);
}

/// What an app does that keeps a connection going: looks up again and again, and connects in between.
#[derive(Default)]
struct Life {
    answered: Mutex<Option<Instant>>,
    look_ups: AtomicU32,
    connects: AtomicU32,
    failures: Mutex<Vec<String>>,
}

impl Life {
    /// A look-up each 0.7 s, a connection each 50 ms, until `stop`. What is begun later than `sure` after the last answer proves
    /// nothing (this machine was too busy to look up in time) and does not count.
    fn live(&self, scene: &Scene, name: &str, address: &str, sure: Duration, stop: &AtomicBool) {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Acquire) {
                    let asked = Instant::now();
                    let reply = ask(scene.pod.namespace(), (RESOLVER, 53).into(), name, Type::A, 3 * SECOND);
                    match reply.filter(|reply| reply.answers.len() == 1) {
                        Some(_) => *self.answered.lock().unwrap() = Some(asked),
                        None => self.failures.lock().unwrap().push(format!("{name} was not answered")),
                    }
                    self.look_ups.fetch_add(1, Ordering::AcqRel);
                    std::thread::sleep(Duration::from_millis(700));
                }
            });
            let target: SocketAddr = format!("{address}:443").parse().unwrap();
            while !stop.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(50));
                let answered = *self.answered.lock().unwrap();
                let Some(answered) = answered else { continue };
                let result = connect(&scene.pod, target, 2 * SECOND);
                let age = answered.elapsed();
                if age < sure {
                    self.connects.fetch_add(1, Ordering::AcqRel);
                    if let Err(cause) = result {
                        self.failures.lock().unwrap().push(format!("{name}, {age:?} after its answer: {cause}"));
                    }
                }
            }
        });
    }
}

#[test]
fn a_name_that_is_looked_up_again_and_again_never_closes() {
    let scene = scene();
    let names =
        [("one-second.example.com", "198.51.100.7"), ("one-hour.example.com", "198.51.100.8"), ("capped.example.net", "198.51.100.9")];
    scene.authority.a(names[0].0, &[names[0].1], 1);
    // A lease that begins at one hour, of a name that then answers with a small TTL.
    scene.authority.a(names[1].0, &[names[1].1], 3600);
    scene.authority.a(names[2].0, &[names[2].1], 3600);
    let lives = names.map(|_| Life::default());
    let short = SHORT.replace("min = \"1s\"", "min = \"2s\"");
    let capped = short.replace("short", "capped").replace("1h", "3s").replace("example.com", "example.net");
    let _portreeve = Setup::new(&scene.pod).policy("short.toml", &short).policy("capped.toml", &capped).start();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for (life, (name, address)) in lives.iter().zip(names) {
            let (scene, stop) = (&scene, &stop);
            scope.spawn(move || life.live(scene, name, address, 2 * SECOND, stop));
        }
        std::thread::sleep(SECOND);
        let begun = leases::of(&scene.pod, names[1].1);
        scene.authority.a(names[1].0, &[names[1].1], 1);
        std::thread::sleep(11 * SECOND);
        stop.store(true, Ordering::Release);
        assert!(begun[0].left > 3500 * SECOND, "{begun:?}");
    });
    for (life, (name, _)) in lives.iter().zip(names) {
        let failures = life.failures.lock().unwrap();
        let (look_ups, connects) = (life.look_ups.load(Ordering::Acquire), life.connects.load(Ordering::Acquire));
        assert!(failures.is_empty(), "{name}: {} of {connects} failed, the first: {}", failures.len(), failures[0]);
        // Longer than four leases, unless this machine stood still.
        assert!(look_ups >= 8 && connects >= 50, "{name}: {look_ups} look-ups, {connects} connections");
    }
    let hour = scene.lease(names[1].1).left;
    assert!(hour > 3500 * SECOND, "the hour was not cut short by later, shorter answers: {hour:?}");
}

#[test]
fn two_names_on_one_address_each_keep_it_open_for_their_own_time_and_ports() {
    let scene = scene();
    for (name, ttl) in [("a.example.com", 1), ("b.example.net", 30), ("c.example.com", 30)] {
        scene.authority.a(name, &["198.51.100.7"], ttl);
    }
    let rule = |name: &str, hosts: &str, port: u16| format!("[[allow]]\nname = \"{name}\"\nhosts = [{hosts}]\nports = [\"{port}\"]\n");
    let head = SHORT.split("[[allow]]").next().unwrap();
    let both = format!("{head}{}{}", rule("web", "\"a.example.com\", \"c.example.com\"", 443), rule("alt", "\"b.example.net\"", 8443));
    let portreeve = Setup::new(&scene.pod).policy("short.toml", &both).start();
    scene.look_up("a.example.com");
    assert!(scene.is_open("198.51.100.7:443") && !scene.is_open("198.51.100.7:8443"), "only the port of the name that was asked for");
    scene.look_up("b.example.net");
    let start = Instant::now();
    assert!(scene.is_open("198.51.100.7:8443"));
    // The refused connection has a's name asked once more. Answered together with c's below, one label alone would reach the kernel.
    scene.authority.behave("a.example.com", &[Behaviour::Code(ResponseCode::ServFail)]);
    scene.wait_refused("198.51.100.7:443", start);
    assert!(scene.is_open("198.51.100.7:8443"), "b goes on, a has ended");
    std::thread::sleep(SECOND / 2);
    scene.authority.behave("a.example.com", &[]);

    // Two names of one rule: the address is open until the later end, which the shorter answer does not bring nearer.
    scene.look_up("c.example.com");
    scene.look_up("a.example.com");
    let lease = leases::leases(&scene.pod).into_iter().find(|lease| lease.set.starts_with("short.web")).expect("a lease");
    assert!(lease.left > 25 * SECOND, "{lease:?}");
    assert!(lease.comment.contains("a.example.com") && lease.comment.contains("c.example.com"), "{lease:?}");
    std::thread::sleep(3 * SECOND);
    assert!(scene.is_open("198.51.100.7:443"), "a has ended, c goes on");
    // What was leased for c alone closes with c's right; b is not touched.
    let without_c = both.replace(", \"c.example.com\"", "");
    portreeve.swap_policies(&[("short.toml", &without_c)]);
    scene.wait_refused("198.51.100.7:443", Instant::now());
    assert!(scene.is_open("198.51.100.7:8443"));

    // A time of a's own that c's lease covers already needs nothing of the kernel, and is a's all the same.
    portreeve.swap_policies(&[("short.toml", &both)]);
    assert!(wait_until(LIMIT, || (dig(&scene.pod, &["c.example.com"]).status == "NOERROR").then_some(())).is_some());
    scene.look_up("a.example.com");
    scene.authority.a("a.example.com", &["198.51.100.7"], 20);
    scene.look_up("a.example.com");
    std::thread::sleep(3 * SECOND);
    portreeve.swap_policies(&[("short.toml", &without_c)]);
    let comments = || leases::of(&scene.pod, "198.51.100.7").into_iter().map(|lease| lease.comment).collect::<String>();
    assert!(wait_until(LIMIT, || (!comments().contains("c.example.com")).then_some(())).is_some());
    assert!(scene.is_open("198.51.100.7:443"), "a goes on without c");
}

#[test]
fn names_of_every_length_are_leased_and_known_again_after_a_restart() {
    let scene = scene();
    let lengths = [20, 119, 120, 121, 125, 126, 127, 128, 129, 200, 252, 253];
    let names: Vec<String> = lengths.iter().map(|length| name_of(*length)).collect();
    let address = |n: usize| format!("198.51.100.{}", n + 10);
    for (n, name) in names.iter().enumerate() {
        scene.authority.a(name, &[&address(n)], 600);
    }
    let portreeve = Setup::new(&scene.pod).policy("short.toml", SHORT).start();
    let all_open = |when: &str| {
        for (n, name) in names.iter().enumerate() {
            assert!(scene.is_open(&format!("{}:443", address(n))), "{when}: a name of {} bytes", name.len());
        }
    };
    for (n, name) in names.iter().enumerate() {
        scene.look_up(name);
        let comment = scene.lease(&address(n)).comment;
        let tail = comment.strip_prefix('~').unwrap_or(&comment);
        // The longest leave no room for a comment.
        assert!(name.ends_with(tail) && (tail.len() > 12 || name.len() > 230), "a name of {} bytes is shown as {comment}", name.len());
    }
    all_open("leased");
    let old = portreeve.kill_worker();
    assert!(wait_until(LIMIT, || (portreeve.worker() != old).then_some(())).is_some(), "{}", portreeve.log());
    portreeve.expect_ready(LIMIT);
    all_open("after a restart");
    // Only who knows the names can judge them anew: half of them lose their right.
    let kept: Vec<String> = names.iter().step_by(2).map(|name| format!("\"{name}\"")).collect();
    portreeve.swap_policies(&[("short.toml", &SHORT.replace("\"*.example.com\"", &kept.join(", ")))]);
    scene.wait_refused(&format!("{}:443", address(1)), Instant::now());
    for (n, name) in names.iter().enumerate() {
        assert_eq!(scene.is_open(&format!("{}:443", address(n))), n % 2 == 0, "a name of {} bytes", name.len());
    }
}

/// A name below example.com of so many bytes.
fn name_of(length: usize) -> String {
    let mut name = "example.com".to_owned();
    while name.len() < length {
        // A label and its dot; never so that a dot alone is left to add.
        let room = length - name.len() - 1;
        let label = if room > 63 { 40 } else { room };
        name = format!("{}.{name}", "n".repeat(label));
    }
    assert_eq!(name.len(), length);
    name
}

#[test]
fn a_ttl_of_zero_opens_for_the_shortest_lease() {
    let scene = scene();
    scene.authority.a("api.example.com", &["198.51.100.7"], 0);
    let _portreeve = Setup::new(&scene.pod).policy("short.toml", SHORT).start();
    for _ in 0..3 {
        assert_eq!(scene.look_up("api.example.com"), 0);
        let answered = Instant::now();
        assert!(scene.is_open("198.51.100.7:443"));
        let open = scene.wait_refused("198.51.100.7:443", answered);
        assert!(open >= SECOND && open <= 6 * SECOND, "open for {open:?}");
    }
}
