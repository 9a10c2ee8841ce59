//! Promise: a connection that is refused because a lease has just ended has its name asked for once more, and opens again if the name
//! still leads there; no flood of refused packets makes more of it than a few questions a second.
//!
//! That a lease which ended more than five minutes ago is forgotten is shown where the clock is given, in the sidecar's own tests.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout, reason = "tests")]

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant, SystemTime};

use integration::authority::Type;
use integration::clients::{ask, connect, dig};
use integration::world::RESOLVER;
use integration::{Authority, Packet, Pod, Portreeve, Setup, TcpTarget, World, leases, wait_until};

const SECOND: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(10);

/// A lease lasts 5 s.
const POLICY: &str = r#"
version = 1
name = "short"
[lease]
min = "4s"
max = "1h"
grace = "1s"
[[allow]]
name = "web"
hosts = ["*.example.com"]
ports = ["443", "9000/udp"]
"#;

struct Scene {
    authority: Authority,
    _web: TcpTarget,
    pod: Pod,
    _world: World,
}

fn scene() -> Scene {
    let world = World::new();
    let authority = world.authority();
    let web = TcpTarget::on(world.outside(), "[::]:443", "");
    Scene { authority, _web: web, pod: world.pod("app"), _world: world }
}

impl Scene {
    fn is_open(&self, address: &str, port: u16) -> bool {
        let target = SocketAddr::new(address.parse().unwrap(), port);
        match connect(&self.pod, target, 5 * SECOND) {
            Ok(_) => true,
            Err(cause) if cause.kind() == std::io::ErrorKind::ConnectionRefused => false,
            Err(cause) => panic!("{target}: neither open nor refused: {cause}"),
        }
    }

    /// Looks a name up, and waits until what that opened is closed. Nobody uses it, so nothing is renewed.
    fn let_end(&self, name: &str, kind: &str) {
        let answer = dig(&self.pod, &[name, kind]);
        let [(_, _, _, address)] = answer.answers.as_slice() else { panic!("{name}: {}", answer.raw) };
        assert_eq!(leases::of(&self.pod, address).len(), 1);
        let ended = wait_until(LIMIT, || leases::of(&self.pod, address).is_empty().then_some(()));
        assert!(ended.is_some(), "{address} is leased for ever");
    }
}

/// The log's lines on an address.
fn lines_on(portreeve: &Portreeve<'_>, address: &str) -> Vec<String> {
    portreeve.log().lines().filter(|line| line.contains(address)).map(str::to_owned).collect()
}

#[test]
fn a_refused_connection_whose_lease_has_ended_is_looked_up_once_and_opens_again() {
    let scene = scene();
    scene.authority.a("once.example.com", &["198.51.100.7"], 1);
    scene.authority.aaaa("once.example.com", &["2001:db8:ffff::7"], 1);
    let portreeve = Setup::new(&scene.pod).policy("short.toml", POLICY).start();
    for (kind, text, address, looked_up) in [(Type::A, "A", "198.51.100.7", 1), (Type::AAAA, "AAAA", "2001:db8:ffff::7", 2)] {
        assert!(!scene.is_open(address, 443), "never leased so far");
        scene.let_end("once.example.com", text);
        assert_eq!(scene.authority.asked("once.example.com", kind), 1, "refused before it was ever leased, which nobody looks up");
        // Another port than the lease was for has nothing to do with it.
        assert!(!scene.is_open(address, 8443));
        std::thread::sleep(SECOND / 2);
        assert_eq!(scene.authority.asked("once.example.com", kind), 1);

        assert!(!scene.is_open(address, 443), "its lease has ended");
        let again = wait_until(2 * SECOND, || scene.is_open(address, 443).then_some(()));
        assert!(again.is_some(), "the app's next try is refused too: {}", portreeve.log());
        assert_eq!(scene.authority.asked("once.example.com", kind), 2, "one look-up");
        portreeve.wait_status("it is counted", LIMIT, |status| status["renewals"]["ended-looked-up"] == looked_up);

        let lines = lines_on(&portreeve, address);
        let told = lines.iter().find(|line| line.contains("lease-ended")).unwrap_or_else(|| panic!("{}", portreeve.log()));
        let told: serde_json::Value = serde_json::from_str(told).expect("a line of JSON");
        assert_eq!((&told["name"], &told["rule"], &told["port"]), (&"once.example.com".into(), &"short.web".into(), &443.into()), "{told}");
        assert!(told["seconds"].as_u64().is_some_and(|seconds| seconds <= 10), "how long ago: {told}");
        assert!(!lines.iter().any(|line| line.contains("denied")), "{lines:#?}");
    }
}

#[test]
fn an_address_that_its_name_has_left_stays_closed_and_its_new_one_is_open() {
    let scene = scene();
    for (name, address) in [("moved.example.com", "198.51.100.9"), ("gone.example.com", "198.51.100.19")] {
        scene.authority.a(name, &[address], 1);
    }
    let portreeve = Setup::new(&scene.pod).policy("short.toml", POLICY).start();
    for name in ["moved.example.com", "gone.example.com"] {
        scene.let_end(name, "A");
    }
    scene.authority.a("moved.example.com", &["198.51.100.10"], 1);
    scene.authority.remove("gone.example.com", Type::A);
    let watcher = scene.pod.watch();
    let start = Instant::now();
    let mut tries = 0;
    while start.elapsed() < 2 * SECOND {
        assert!(!scene.is_open("198.51.100.9", 443) && !scene.is_open("198.51.100.19", 443), "the names are elsewhere");
        tries += 1;
    }
    assert!(tries > 20, "{tries} tries");
    for name in ["moved.example.com", "gone.example.com"] {
        assert_eq!(scene.authority.asked(name, Type::A), 2, "{name}, after {tries} tries: one look-up");
    }
    portreeve.wait_status("both are counted", LIMIT, |status| status["renewals"]["ended-looked-up"] == 2);
    // Where the name is now was opened by the look-up.
    assert!(!lines_on(&portreeve, "198.51.100.9").is_empty());
    let left = watcher.left_pod(|packet| packet.is_syn());
    assert!(left.is_empty(), "{} left, the first {}", left.len(), left[0]);
}

/// Sends to the addresses in turn until `end`; how many datagrams were tried.
fn flood(pod: &Pod, addresses: &[SocketAddr], end: Instant) -> u64 {
    pod.run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        let mut tried = 0;
        for address in addresses.iter().cycle() {
            // Refused: that is what is wanted.
            let _ = socket.send_to(b"again", address);
            tried += 1;
            if tried % 64 == 0 && Instant::now() >= end {
                break;
            }
        }
        tried
    })
}

/// The first label of the name that a packet asks for, in lower case.
fn first_label(packet: &Packet) -> String {
    let name = packet.payload.get(12..).unwrap_or_default();
    let length = usize::from(name.first().copied().unwrap_or(0));
    String::from_utf8_lossy(name.get(1..=length).unwrap_or_default()).to_ascii_lowercase()
}

/// The most of these moments, in order, within one second.
fn most_in_a_second(at: &[SystemTime]) -> usize {
    let within = |n: usize| at[n..].iter().take_while(|later| later.duration_since(at[n]).unwrap() < SECOND).count();
    (0..at.len()).map(within).max().unwrap_or(0)
}

#[test]
fn a_flood_of_refused_packets_makes_at_most_ten_questions_a_second_and_look_ups_go_on() {
    const NAMES: u8 = 150;
    let scene = scene();
    scene.authority.a("other.example.com", &["198.51.100.7"], 0);
    for n in 1..=NAMES {
        scene.authority.a(&format!("n{n}.example.com"), &[&format!("203.0.113.{n}")], 1);
    }
    let portreeve = Setup::new(&scene.pod).policy("short.toml", POLICY).start();
    for n in 1..=NAMES {
        let reply = ask(scene.pod.namespace(), (RESOLVER, 53).into(), &format!("n{n}.example.com"), Type::A, 3 * SECOND);
        assert_eq!(reply.expect("an answer").answers.len(), 1);
    }
    assert!(wait_until(LIMIT, || leases::leases(&scene.pod).is_empty().then_some(())).is_some(), "leases for ever");
    // The names lead nowhere any more, so nothing opens and the flood stays one; and as many addresses that no name ever had.
    for n in 1..=NAMES {
        scene.authority.remove(&format!("n{n}.example.com"), Type::A);
    }
    let watcher = scene.pod.watch();
    let ended = (1..=NAMES).map(|n| IpAddr::from([203, 0, 113, n]));
    let strange = (1..=NAMES).map(|n| IpAddr::from([198, 18, 0, n]));
    let addresses: Vec<SocketAddr> = ended.chain(strange).map(|ip| SocketAddr::new(ip, 9000)).collect();
    let span = 5 * SECOND;
    let tried = std::thread::scope(|scope| {
        let flooding = scope.spawn(|| flood(&scene.pod, &addresses, Instant::now() + span));
        let mut answered = 0;
        while !flooding.is_finished() {
            let reply = ask(scene.pod.namespace(), (RESOLVER, 53).into(), "other.example.com", Type::A, 3 * SECOND);
            assert_eq!(reply.expect("an answer during the flood").answers.len(), 1);
            answered += 1;
            std::thread::sleep(SECOND / 10);
        }
        assert!(answered >= 10, "{answered} look-ups during the flood");
        flooding.join().unwrap()
    });
    // By the time at which they left, and without what is asked again because a busy server was late.
    let mut asked: HashMap<String, SystemTime> = HashMap::new();
    for packet in watcher.left_pod(|packet| packet.is_to((RESOLVER, 53).into())) {
        asked.entry(first_label(&packet)).or_insert(packet.at);
    }
    assert!(asked.remove("other").is_some(), "what the app asks is on the wire too");
    let mut at: Vec<SystemTime> = asked.into_values().collect();
    at.sort_unstable();
    println!("{tried} packets refused, {} questions, at most {} within a second", at.len(), most_in_a_second(&at));
    assert!(tried > 10_000, "{tried} packets are no flood");
    assert!(at.len() >= 20, "{} questions: {}", at.len(), portreeve.log());
    // Ten a second and those of one second saved up; a second of the wire is not quite one of the resolver's.
    assert!(at.len() <= 10 * 6 + 10 && most_in_a_second(&at) <= 22, "{} questions, {} within a second", at.len(), most_in_a_second(&at));
    portreeve.wait_status("each name once", LIMIT, |status| status["renewals"]["ended-looked-up"] == at.len());
    // What is told is bounded as well.
    let lines = portreeve.log().lines().filter(|line| line.contains("lease-ended")).count();
    assert!((1..=10 * 8).contains(&lines), "{lines} lines on ended leases");
}
