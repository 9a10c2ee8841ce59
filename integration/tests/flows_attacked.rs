//! Promise: no trick of an app's, and no noise of a neighbour's, keeps a flow out of the log, or gives it a name, an address or a rule that is
//! not its own; what is dropped before it is a flow is counted.
//!
//! # Limitations
//! Connection entries are ended by `conntrack -D` instead of by time. A worker that gets no CPU is played by one that is stopped.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stderr, reason = "tests")]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use integration::attack::{Attack, Report, Rights, run_script};
use integration::clients::{ask_here, connect, dig};
use integration::product::UID;
use integration::world::RESOLVER;
use integration::{Authority, Pod, Portreeve, Setup, TcpTarget, UdpTarget, World, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

const SECOND: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(10);

fn policy(mode: &str) -> String {
    format!(
        "version = 1\nname = \"shop\"\nmode = \"{mode}\"\n[[allow]]\nname = \"web\"\nhosts = [\"*.example.com\"]\nports = [\"443\", \"9000-9001/udp\"]\n"
    )
}

struct Scene {
    authority: Authority,
    pod: Pod,
    world: World,
}

fn scene() -> Scene {
    let world = World::new();
    let authority = world.authority();
    let pod = world.pod("app");
    for name in ["a.example.com", "b.example.com"] {
        authority.a(name, &["198.51.100.7"], 60);
        authority.aaaa(name, &["2001:db8:ffff::7"], 60);
    }
    Scene { authority, pod, world }
}

fn start<'a>(pod: &'a Pod, mode: &str) -> Portreeve<'a> {
    Setup::new(pod).policy("shop.toml", &policy(mode)).start()
}

fn target(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

fn is_flow(line: &Value, event: &str, address: &str) -> bool {
    line["event.name"] == "portreeve.flow" && line["flow.event"] == event && line["destination.address"] == address
}

/// Has the kernel forget connections; how many they were is not said.
fn forget(pod: &Pod, args: &[&str]) {
    let _ = pod.command("conntrack").arg("-D").args(args).output();
}

#[test]
fn a_header_that_hides_the_port_from_the_log_hides_neither_name_nor_rule() {
    let scene = scene();
    let udp = UdpTarget::on(scene.world.outside(), "[2001:db8:ffff::7]:9000");
    let portreeve = start(&scene.pod, "enforce");
    assert_eq!(dig(&scene.pod, &["a.example.com", "AAAA"]).status, "NOERROR");
    // Destination options that a receiver passes over (RFC 8200, 4.2), longer than what the log is told of a packet.
    let script = r#"
args = arguments()
sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
sock.setsockopt(41, 59, bytes([0, 31, 0x1e, 252]) + bytes(252))
report(sent=int(sock.sendto(MARKER, (args.to, 9000)) > 0))
"#;
    let report: Report = run_script(&scene.pod, Rights::ContainerRoot, script, &["--to".to_owned(), "2001:db8:ffff::7".to_owned()]);
    assert_eq!(report.sent, 1, "{report:?}");
    assert!(udp.wait(1, LIMIT), "it arrived");
    let began = portreeve.wait_flow("the beginning", LIMIT, |line| is_flow(line, "began", "2001:db8:ffff::7"));
    assert_eq!(
        (&began["flow.names"], &began["flow.rule"], &began["network.transport"]),
        (&json!(["a.example.com"]), &json!("web"), &json!("udp")),
        "{began}"
    );
}

#[test]
fn a_connection_whose_entry_the_server_began_anew_is_still_the_pods_own() {
    let scene = scene();
    let listener = scene.world.outside().run(|| TcpListener::bind("198.51.100.7:443").unwrap());
    let portreeve = start(&scene.pod, "enforce");
    assert_eq!(dig(&scene.pod, &["a.example.com"]).status, "NOERROR");
    let (mut client, _) = connect(&scene.pod, target("198.51.100.7", 443), 5 * SECOND).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    portreeve.wait_flow("the beginning", LIMIT, |line| is_flow(line, "began", "198.51.100.7"));
    forget(&scene.pod, &["-p", "tcp", "--dport", "443"]);
    portreeve.wait_flow("the first end", LIMIT, |line| is_flow(line, "ended", "198.51.100.7"));
    // Nobody knows the connection, and it is the server that speaks: who began it looks the other way round.
    server.write_all(&[7; 3000]).unwrap();
    client.read_exact(&mut [0; 3000]).unwrap();
    client.write_all(b"x").unwrap();
    server.read_exact(&mut [0; 1]).unwrap();
    std::thread::sleep(SECOND / 2);
    forget(&scene.pod, &["-p", "tcp", "--sport", "443"]);
    let ends = || portreeve.flow_log().into_iter().filter(|line| line["flow.event"] == "ended").collect::<Vec<_>>();
    let sum =
        |key: &str| ends().iter().filter_map(|line| line["flow.count"].as_u64().filter(|_| key == "n").or(line[key].as_u64())).sum::<u64>();
    assert!(wait_until(LIMIT, || (sum("n") >= 2).then_some(())).is_some(), "the second end is told: {:#?}", ends());
    for end in ends() {
        assert_eq!((&end["destination.address"], &end["destination.port"]), (&json!("198.51.100.7"), &json!(443)), "{end:#}");
        assert_eq!((&end["flow.names"], &end["flow.rule"]), (&json!(["a.example.com"]), &json!("web")), "{end:#}");
    }
    let received: u64 = ends().iter().filter_map(|line| line["flow.bytes.received"].as_u64()).sum();
    assert!(received > 3000, "what came is told as received: {:#?}", ends());
}

#[test]
fn an_end_keeps_its_own_names_though_its_addresses_and_ports_are_in_use_again() {
    let scene = scene();
    let _udp = UdpTarget::on(scene.world.outside(), "198.51.100.7:9000");
    let portreeve = start(&scene.pod, "enforce");
    assert_eq!(dig(&scene.pod, &["a.example.com"]).status, "NOERROR");
    let socket = scene.pod.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    let send = |len: usize| socket.send_to(&vec![7; len], target("198.51.100.7", 9000)).unwrap();
    send(1000);
    portreeve.wait_flow("the beginning", LIMIT, |line| is_flow(line, "began", "198.51.100.7"));
    assert_eq!(dig(&scene.pod, &["b.example.com"]).status, "NOERROR");
    let worker = Pid::from_raw(portreeve.worker());
    kill(worker, Signal::SIGSTOP).unwrap();
    forget(&scene.pod, &["-p", "udp", "--dport", "9000"]);
    send(10);
    std::thread::sleep(SECOND / 10);
    kill(worker, Signal::SIGCONT).unwrap();
    let both = json!(["a.example.com", "b.example.com"]);
    portreeve.wait_flow("the second beginning", LIMIT, |line| is_flow(line, "began", "198.51.100.7") && line["flow.names"] == both);
    let end = portreeve.wait_flow("the first end", LIMIT, |line| is_flow(line, "ended", "198.51.100.7"));
    assert_eq!((&end["flow.names"], &end["flow.bytes.sent"]), (&json!(["a.example.com"]), &json!(1028)), "{end:#}");
    forget(&scene.pod, &["-p", "udp", "--dport", "9000"]);
    let end = portreeve.wait_flow("the second end", LIMIT, |line| is_flow(line, "ended", "198.51.100.7") && line["flow.names"] == both);
    assert_eq!(end["flow.bytes.sent"], 38, "{end:#}");
    assert!(end["flow.duration.ms"].is_u64(), "its beginning was seen: {end:#}");
}

#[test]
fn an_end_is_told_under_the_rule_that_its_flow_came_under_last() {
    let scene = scene();
    let udp = UdpTarget::on(scene.world.outside(), "198.51.100.7:9000");
    let portreeve = start(&scene.pod, "enforce");
    assert_eq!(dig(&scene.pod, &["a.example.com"]).status, "NOERROR");
    let socket = scene.pod.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    let send = || socket.send_to(b"x", target("198.51.100.7", 9000)).is_ok();
    assert!(send());
    portreeve.wait_flow("the beginning", LIMIT, |line| is_flow(line, "began", "198.51.100.7") && line["flow.rule"] == "web");
    let loads = portreeve.status()["loads"].as_u64().unwrap();
    portreeve.swap_policies(&[("shop.toml", &policy("enforce").replace("\"web\"", "\"other\""))]);
    portreeve.wait_status("the other rule", LIMIT, |status| status["loads"].as_u64().is_some_and(|count| count > loads));
    let worker = Pid::from_raw(portreeve.worker());
    kill(worker, Signal::SIGSTOP).unwrap();
    assert!(send() && udp.wait(2, LIMIT), "the other rule opens it");
    forget(&scene.pod, &["-p", "udp", "--dport", "9000"]);
    std::thread::sleep(SECOND / 10);
    kill(worker, Signal::SIGCONT).unwrap();
    portreeve.wait_flow("the other rule's", LIMIT, |line| is_flow(line, "began", "198.51.100.7") && line["flow.rule"] == "other");
    let end = portreeve.wait_flow("the end", LIMIT, |line| is_flow(line, "ended", "198.51.100.7"));
    assert_eq!((&end["flow.rule"], &end["flow.packets.sent"]), (&json!("other"), &json!(2)), "{end:#}");
}

#[test]
fn an_end_that_comes_before_its_beginning_is_told_with_it() {
    let scene = scene();
    let addresses: Vec<String> = (10..30).map(|n| format!("198.51.100.{n}")).collect();
    scene.authority.a("many.example.com", &addresses.iter().map(String::as_str).collect::<Vec<_>>(), 60);
    let portreeve = start(&scene.pod, "enforce");
    assert_eq!(dig(&scene.pod, &["many.example.com"]).addresses().len(), addresses.len());
    let socket = scene.pod.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    for address in &addresses {
        // The end is told at once, the beginning a hundredth of a second later.
        socket.send_to(b"x", target(address, 9000)).unwrap();
        forget(&scene.pod, &["-p", "udp", "--dport", "9000"]);
    }
    for address in &addresses {
        let end = portreeve.wait_flow("the end", LIMIT, |line| is_flow(line, "ended", address));
        assert_eq!((end["flow.duration.ms"].is_u64(), &end["process.user.id"]), (true, &json!(0)), "its beginning was seen: {end:#}");
    }
}

#[test]
fn a_scan_of_the_pods_ports_takes_no_room_from_flows_that_are_permitted_alone() {
    let scene = scene();
    let _web = TcpTarget::on(scene.world.outside(), "198.51.100.7:443", "");
    let portreeve = start(&scene.pod, "enforce");
    assert_eq!(dig(&scene.pod, &["a.example.com"]).status, "NOERROR");
    let pod = scene.pod.v4();
    let sent: u64 = scene.world.outside().run(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        let began = Instant::now();
        (1_000..10_000_u16)
            .map(|port| {
                // Below what the ruleset tells in a second.
                std::thread::sleep((Duration::from_micros(150) * u32::from(port - 1_000)).saturating_sub(began.elapsed()));
                // A refusal that came back is told by the next send: it is sent again.
                u64::from(socket.send_to(b"x", (pod, port)).or_else(|_| socket.send_to(b"x", (pod, port))).is_ok())
            })
            .sum()
    });
    assert!(sent > 8_500, "{sent}");
    drop(connect(&scene.pod, target("198.51.100.7", 443), 5 * SECOND).unwrap());
    let began = portreeve.wait_flow("the permitted flow", LIMIT, |line| is_flow(line, "began", "198.51.100.7"));
    assert_eq!((&began["flow.names"], &began["flow.rule"]), (&json!(["a.example.com"]), &json!("web")));
    // What there was no room for is counted.
    let told = || {
        let lines = portreeve.flow_log();
        let inbound = lines.iter().filter(|line| line["flow.direction"] == "inbound" && line["flow.event"] == "began");
        let lost = lines.iter().filter(|line| line["lost.what"] == "first-packets");
        let sum = |count: &str, lines: Vec<&Value>| lines.iter().filter_map(|line| line[count].as_u64()).sum::<u64>();
        (sum("flow.count", inbound.collect()), sum("lost.count", lost.collect()))
    };
    let all = wait_until(LIMIT, || Some(told()).filter(|(inbound, lost)| inbound + lost >= sent));
    assert!(all.is_some_and(|(inbound, lost)| inbound > 1_000 && lost > 0), "{:?} of {sent}", told());
}

#[test]
fn refused_questions_take_no_room_from_those_that_are_permitted_alone() {
    let scene = scene();
    let portreeve = start(&scene.pod, "enforce");
    scene.pod.run(|| {
        for number in 0..3_000 {
            let name = format!("n{number}.example.org");
            let _ = ask_here(SocketAddr::from((RESOLVER, 53)), &name, integration::authority::Type::A, SECOND);
        }
    });
    assert_eq!(dig(&scene.pod, &["a.example.com"]).status, "NOERROR");
    let told = portreeve.wait_flow("the permitted question", LIMIT, |line| line["dns.question.name"] == "a.example.com");
    assert_eq!(told["dns.verdict"], "permitted");
    let lost = portreeve.wait_flow("the loss", LIMIT, |line| line["lost.what"] == "questions");
    assert!(lost["lost.count"].as_u64().is_some_and(|count| count > 0), "{lost}");
}

#[test]
fn flows_that_no_connection_is_kept_for_take_no_room_from_others_for_good_alone() {
    let scene = scene();
    let _web = TcpTarget::on(scene.world.outside(), "198.51.100.7:443", "");
    let portreeve = start(&scene.pod, "enforce");
    assert_eq!(dig(&scene.pod, &["a.example.com"]).status, "NOERROR");
    // First fragments that the kernel does not put together (IP_NODEFRAG): each is permitted and told, none has a connection that could end.
    let script = r#"
import time
args = arguments("own")
sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
sock.setsockopt(0, 22, 1)
source, target = socket.inet_aton(args.own), socket.inet_aton(args.to)
sent, began = 0, time.monotonic()
for round in range(2):
    for port in range(1, 65000):
        packet = struct.pack("!BBHHHBBH4s4sHHHH", 0x45, 0, 36, port, 0x2000, 64, 17, 0, source, target, port, 9000 + round, 64, 0) + MARKER[:8]
        sent += int(sock.sendto(packet, (args.to, 0)) > 0)
        if sent % 90 == 0:
            # Below what the ruleset tells in a second.
            time.sleep(max(0, began + sent / 9000 - time.monotonic()))
report(sent=sent)
"#;
    let args = ["--to", "198.51.100.7", "--own", &scene.pod.v4().to_string()].map(str::to_owned);
    let report: Report = run_script(&scene.pod, Rights::ContainerRoot, script, &args);
    assert!(report.sent > 106_496, "{report:?}");
    let told = || -> u64 {
        let lines = portreeve.flow_log();
        let counts = lines.iter().filter(|line| is_flow(line, "began", "198.51.100.7")).filter_map(|line| line["flow.count"].as_u64());
        counts.sum::<u64>()
            + lines.iter().filter(|line| line["lost.what"] == "first-packets").filter_map(|line| line["lost.count"].as_u64()).sum::<u64>()
    };
    let all = wait_until(2 * LIMIT, || (told() >= report.sent).then_some(()));
    assert!(all.is_some(), "{} told or lost of {}", told(), report.sent);
    std::thread::sleep(3 * SECOND);
    let before = portreeve.flow_log().len();
    drop(connect(&scene.pod, target("198.51.100.7", 443), 5 * SECOND).unwrap());
    std::thread::sleep(SECOND / 10);
    forget(&scene.pod, &["-p", "tcp", "--dport", "443"]);
    let end = portreeve.wait_flow("the end", LIMIT, |line| is_flow(line, "ended", "198.51.100.7"));
    assert!(end["flow.duration.ms"].is_u64(), "its beginning is remembered: {end:#}");
    let lost = portreeve.flow_log().into_iter().skip(before).filter(|line| line["lost.what"] == "ended-flows").count();
    assert_eq!(lost, 0, "there is room again");
}

#[test]
fn refused_names_that_share_an_address_are_all_told_in_audit() {
    let scene = scene();
    let _web = TcpTarget::on(scene.world.outside(), "198.51.100.9:443", "");
    for name in ["one.example.net", "two.example.org"] {
        scene.authority.a(name, &["198.51.100.9"], 60);
    }
    let portreeve = start(&scene.pod, "audit");
    for name in ["one.example.net", "two.example.org"] {
        assert_eq!(dig(&scene.pod, &[name]).status, "NOERROR");
    }
    drop(connect(&scene.pod, target("198.51.100.9", 443), 5 * SECOND).unwrap());
    let began = portreeve.wait_flow("the beginning", LIMIT, |line| is_flow(line, "began", "198.51.100.9"));
    assert_eq!(began["flow.names"], json!(["one.example.net", "two.example.org"]), "{began}");
    assert_eq!(began["flow.shared-address"], true, "{began}");
}

#[test]
fn a_flow_that_lives_through_audit_and_enforcement_is_told_in_each() {
    let scene = scene();
    let udp = UdpTarget::on(scene.world.outside(), "198.51.100.9:9000");
    let portreeve = start(&scene.pod, "audit");
    let socket = scene.pod.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    let send = || socket.send_to(b"x", target("198.51.100.9", 9000)).is_ok();
    let told = |event: &str| -> u64 {
        let lines = portreeve.flow_log();
        lines.iter().filter(|line| is_flow(line, event, "198.51.100.9")).filter_map(|line| line["flow.count"].as_u64()).sum()
    };
    assert!(send() && udp.wait(1, LIMIT));
    assert!(wait_until(LIMIT, || (told("began") == 1).then_some(())).is_some());
    portreeve.swap_policies(&[("shop.toml", &policy("enforce"))]);
    portreeve.wait_status("enforced", LIMIT, |status| status["mode"] == "enforce");
    assert!(!send());
    assert!(wait_until(LIMIT, || (told("refused") == 1).then_some(())).is_some());
    portreeve.swap_policies(&[("shop.toml", &policy("audit"))]);
    portreeve.wait_status("audited", LIMIT, |status| status["mode"] == "audit");
    assert!(send() && udp.wait(2, LIMIT));
    assert!(wait_until(LIMIT, || (told("began") == 2).then_some(())).is_some(), "it passes again, and the last word of it is `refused`");
}

/// What the attacks came to: each with how many of its packets the kernel took and how many left, whom the log names, what it counts.
struct Attacked {
    ran: Vec<(Attack, u64, usize)>,
    told: BTreeSet<String>,
    forged: u64,
    raw: u64,
}

impl Attacked {
    fn run(scene: &Scene, mode: &str) -> Self {
        let portreeve = start(&scene.pod, mode);
        assert_eq!(dig(&scene.pod, &["a.example.com"]).status, "NOERROR");
        let watcher = scene.pod.watch();
        let mut ran = Vec::new();
        for attack in Attack::all(&scene.pod, UID, RESOLVER.into()) {
            let report = attack.run(&scene.pod);
            let left = attack.on_the_wire(&watcher).len();
            eprintln!("{left:5} left of {}: {}", report.sent, attack.name);
            ran.push((attack, report.sent, left));
        }
        // What is lost is told once a second.
        std::thread::sleep(3 * SECOND);
        let lines = portreeve.flow_log();
        let told = lines.iter().filter(|line| line["event.name"] == "portreeve.flow");
        let told = told.filter_map(|line| line["destination.address"].as_str().map(str::to_owned)).collect();
        let lost = |what: &str| lines.iter().filter(|line| line["lost.what"] == what).filter_map(|line| line["lost.count"].as_u64()).sum();
        Attacked { ran, told, forged: lost("forged-packets"), raw: lost("raw-frames") }
    }

    /// Whether the log names the attack's target.
    fn names(&self, attack: &Attack) -> bool {
        self.told.contains(&attack.target.to_string())
    }
}

#[test]
fn whatever_leaves_the_pod_in_audit_is_told_or_counted() {
    let scene = scene();
    let attacked = Attacked::run(&scene, "audit");
    let left: Vec<_> = attacked.ran.iter().filter(|(_, _, left)| *left > 0).collect();
    assert!(left.len() > 10, "audit lets pass");
    // Frames that no chain of the IP stack sees cannot be told: each is counted.
    let untold: Vec<_> = left.iter().filter(|(attack, ..)| !attacked.names(attack)).collect();
    let names: Vec<&str> = untold.iter().map(|(attack, ..)| attack.name).collect();
    assert!(names.iter().all(|name| name.starts_with("AF_PACKET")), "{names:?}");
    let frames: u64 = untold.iter().map(|(_, sent, _)| sent).sum();
    assert!(frames > 0 && attacked.raw >= frames, "{} counted of {frames}", attacked.raw);
}

#[test]
fn whatever_is_held_is_told_or_counted() {
    let scene = scene();
    let attacked = Attacked::run(&scene, "enforce");
    let quiet = [
        // Dropped where there is no flow yet: counted.
        "forged",
        "AF_PACKET",
        "marks guessed",
        "the proxy's uid taken",
        // Turned to the proxy: told as questions.
        "a question",
        "hard-coded resolver, UDP",
        "hard-coded resolver, TCP",
        // Never whole, so the kernel never sends it.
        "raw fragment",
    ];
    let untold = attacked.ran.iter().map(|(attack, ..)| attack).filter(|attack| !attacked.names(attack));
    let untold: Vec<&str> = untold.map(|attack| attack.name).filter(|name| !quiet.iter().any(|start| name.starts_with(start))).collect();
    assert_eq!(untold, Vec::<&str>::new());
    assert!(attacked.forged > 0 && attacked.raw > 0, "{} forged, {} raw", attacked.forged, attacked.raw);
}
