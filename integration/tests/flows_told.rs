//! Promise: every flow is told with the names it was opened for and the rule, or with the reason why it was refused; ends with what went
//! both ways; questions with what they were answered; and what could not be told is counted.
//!
//! # Limitations
//! Connection entries are ended by `conntrack -D` instead of by time. A name that is leased within the hundredth of a second between a
//! flow's first packet and its being told would be named with it.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use integration::clients::{connect, dig, echo};
use integration::{Authority, Pod, Portreeve, Setup, TcpTarget, UdpTarget, World, wait_until};
use serde_json::{Value, json};

const SECOND: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(10);

const POLICY: &str = r#"
version = 1
name = "shop"
[lease]
min = "2s"
grace = "1s"
[[allow]]
name = "web"
hosts = ["*.example.com"]
ports = ["443", "9000/udp"]
[[allow]]
name = "alt"
hosts = ["alt.example.net"]
ports = ["8443"]
[[allow]]
name = "metrics"
cidrs = ["198.18.5.0/24"]
ports = ["9091"]
[[deny]]
name = "bad"
cidrs = ["203.0.113.0/24"]
"#;

struct Scene {
    authority: Authority,
    _targets: (Vec<TcpTarget>, UdpTarget),
    pod: Pod,
    world: World,
}

fn scene() -> Scene {
    let world = World::new();
    let authority = world.authority();
    let tcp = ["[::]:443", "[::]:8443", "[::]:9091"].map(|address| TcpTarget::on(world.outside(), address, ""));
    let udp = UdpTarget::on(world.outside(), "198.51.100.7:9000");
    let pod = world.pod("app");
    Scene { authority, _targets: (tcp.into(), udp), pod, world }
}

fn start(pod: &Pod) -> Portreeve<'_> {
    let setup = Setup::new(pod).policy("shop.toml", POLICY).namespace("shop").labels(&[("app", "cart")]);
    setup.option("--pod", "cart-7").option("--node", "node-1").option("--service-account", "cart").start()
}

fn target(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

fn is_flow(line: &Value, event: &str, address: &str, port: u16) -> bool {
    line["event.name"] == "portreeve.flow"
        && line["flow.event"] == event
        && line["destination.address"] == address
        && line["destination.port"] == port
}

#[test]
fn a_permitted_flow_is_told_with_its_name_its_rule_and_its_pod_and_its_end_with_what_went_both_ways() {
    let scene = scene();
    scene.authority.a("api.example.com", &["198.51.100.7"], 60);
    scene.authority.aaaa("api.example.com", &["2001:db8:ffff::7"], 60);
    let portreeve = start(&scene.pod);
    for (kind, address) in [("A", "198.51.100.7"), ("AAAA", "2001:db8:ffff::7")] {
        assert_eq!(dig(&scene.pod, &["api.example.com", kind]).status, "NOERROR");
        let asked = portreeve.wait_flow("the question", LIMIT, |line| line["dns.question.type"] == kind && line["dns.count"] == 1);
        assert_eq!(asked["dns.question.name"], "api.example.com");
        assert_eq!(
            (&asked["dns.verdict"], &asked["dns.rule"], &asked["dns.policy"], &asked["dns.answers"], &asked["dns.source"]),
            (&json!("permitted"), &json!("web"), &json!("shop"), &json!([address]), &json!("upstream"))
        );
        drop(connect(&scene.pod, target(address, 443), 5 * SECOND).unwrap());
        let began = portreeve.wait_flow("the beginning", LIMIT, |line| is_flow(line, "began", address, 443));
        let wanted = json!({
            "schema.version": 1, "k8s.namespace.name": "shop", "k8s.pod.name": "cart-7", "k8s.node.name": "node-1",
            "k8s.serviceaccount.name": "cart", "service.name": "cart", "flow.verdict": "permitted", "flow.mode": "enforce",
            "flow.direction": "outbound", "flow.count": 1, "flow.names": ["api.example.com"], "flow.rule": "web", "flow.policy": "shop",
            "network.transport": "tcp", "process.user.id": 0,
        });
        for (key, value) in wanted.as_object().unwrap() {
            assert_eq!(&began[key], value, "{key} of {began}");
        }
        assert!(began.get("flow.cause").is_none() && began.get("flow.shared-address").is_none(), "{began}");
    }
    echo(&scene.pod, target("198.51.100.7", 9000), &[7; 1000], 5 * SECOND).unwrap();
    portreeve.wait_flow("the beginning", LIMIT, |line| is_flow(line, "began", "198.51.100.7", 9000) && line["network.transport"] == "udp");
    let before = portreeve.flow_log().len();
    let _ = scene.pod.command("conntrack").args(["-D", "-p", "udp", "--dport", "9000"]).output().expect_ok("conntrack");
    let ended = portreeve.wait_flow("the end", LIMIT, |line| is_flow(line, "ended", "198.51.100.7", 9000));
    let volumes = ["flow.bytes.sent", "flow.bytes.received", "flow.packets.sent", "flow.packets.received"].map(|key| ended[key].as_u64());
    assert_eq!(volumes, [Some(1028), Some(1028), Some(1), Some(1)], "{ended}");
    assert_eq!((&ended["flow.names"], &ended["flow.rule"]), (&json!(["api.example.com"]), &json!("web")));
    // Neither the proxy's own questions, nor those turned to it, nor loopback.
    let strange = |line: &&Value| line["event.name"] == "portreeve.flow" && line["destination.port"] == 53;
    assert_eq!(portreeve.flow_log().iter().filter(strange).count(), 0);
    assert!(before > 0);
}

#[test]
fn what_is_refused_is_told_with_its_cause() {
    let scene = scene();
    scene.authority.a("api.example.com", &["198.51.100.7"], 60);
    scene.authority.a("brief.example.com", &["198.51.100.8"], 1);
    let portreeve = start(&scene.pod);
    let refused = |address: &str, port: u16| {
        assert!(connect(&scene.pod, target(address, port), 5 * SECOND).is_err(), "{address}:{port}");
        let told = portreeve.wait_flow("the refusal", LIMIT, |line| is_flow(line, "refused", address, port));
        assert_eq!((&told["flow.verdict"], told.get("flow.rule")), (&json!("refused"), None), "{told}");
        told
    };
    assert_eq!(refused("198.51.100.99", 443)["flow.cause"], json!({"type": "never-resolved"}));
    assert_eq!(refused("2001:db8:ffff::99", 443)["flow.cause"], json!({"type": "never-resolved"}));
    let _ = dig(&scene.pod, &["api.example.com"]);
    let told = refused("198.51.100.7", 22);
    assert_eq!(told["flow.cause"], json!({"type": "port-not-granted", "names": ["api.example.com"], "ports": "443, 9000/udp"}), "{told}");
    assert_eq!(told["flow.names"], json!(["api.example.com"]));
    assert_eq!(refused("198.18.5.5", 80)["flow.cause"], json!({"type": "port-not-granted", "ports": "9091"}));
    assert_eq!(refused("203.0.113.9", 443)["flow.cause"], json!({"type": "denied-range", "range": "203.0.113.0/24", "policy": "shop"}));
    assert_eq!(refused("169.254.169.254", 80)["flow.cause"]["type"], "denied-range");
    let _ = dig(&scene.pod, &["brief.example.com"]);
    // The name has moved: the look-up that its refusal makes does not open it again.
    scene.authority.a("brief.example.com", &["198.51.100.10"], 60);
    std::thread::sleep(5 * SECOND);
    let cause = refused("198.51.100.8", 443)["flow.cause"].clone();
    assert_eq!((&cause["type"], &cause["name"]), (&json!("lease-ended"), &json!("brief.example.com")), "{cause}");
    assert!(cause["seconds"].as_u64().is_some_and(|seconds| seconds <= 10), "{cause}");
    let _ = dig(&scene.pod, &["github.com"]);
    let told = portreeve.wait_flow("the refused name", LIMIT, |line| line["dns.question.name"] == "github.com");
    assert_eq!(
        (&told["dns.verdict"], &told["dns.reason"], &told["dns.response_code"]),
        (&json!("refused"), &json!("not-permitted"), &json!("NXDOMAIN"))
    );
}

#[test]
fn names_that_share_an_address_are_all_told_and_no_other() {
    let scene = scene();
    for name in ["a.example.com", "b.example.com", "alt.example.net"] {
        scene.authority.a(name, &["198.51.100.7"], 60);
    }
    let portreeve = start(&scene.pod);
    let _ = dig(&scene.pod, &["a.example.com"]);
    drop(connect(&scene.pod, target("198.51.100.7", 443), 5 * SECOND).unwrap());
    let alone = portreeve.wait_flow("the beginning", LIMIT, |line| is_flow(line, "began", "198.51.100.7", 443));
    assert_eq!(alone["flow.names"], json!(["a.example.com"]));
    let _ = dig(&scene.pod, &["b.example.com"]);
    let _ = dig(&scene.pod, &["alt.example.net"]);
    drop(connect(&scene.pod, target("198.51.100.7", 443), 5 * SECOND).unwrap());
    let both =
        portreeve.wait_flow("the second", LIMIT, |line| is_flow(line, "began", "198.51.100.7", 443) && line["flow.shared-address"] == true);
    assert_eq!(both["flow.names"], json!(["a.example.com", "b.example.com"]), "alt leads to another port");
    drop(connect(&scene.pod, target("198.51.100.7", 8443), 5 * SECOND).unwrap());
    let alt = portreeve.wait_flow("the other rule", LIMIT, |line| is_flow(line, "began", "198.51.100.7", 8443));
    assert_eq!((&alt["flow.names"], &alt["flow.rule"]), (&json!(["alt.example.net"]), &json!("alt")));
}

#[test]
fn a_flow_between_two_pods_is_told_by_both_with_the_same_addresses() {
    let scene = scene();
    let other = scene.world.pod("db");
    let address = other.v4().to_string();
    let listener = other.run(|| TcpListener::bind((other.v4(), 5432)).unwrap());
    let policy = format!("version = 1\nname = \"p\"\n[[allow]]\nname = \"db\"\ncidrs = [\"{address}\"]\nports = [\"5432\"]\n");
    let caller = Setup::new(&scene.pod).policy("p.toml", &policy).namespace("shop").start();
    let called = Setup::new(&other).policy("p.toml", "version = 1\nname = \"none\"\n").namespace("data").start();
    drop(connect(&scene.pod, target(&address, 5432), 5 * SECOND).unwrap());
    drop(listener.accept().unwrap());
    let there = caller.wait_flow("the caller's", LIMIT, |line| is_flow(line, "began", &address, 5432));
    let here = called.wait_flow("the called one's", LIMIT, |line| is_flow(line, "began", &address, 5432));
    for same in ["source.address", "source.port", "destination.address", "destination.port", "network.transport"] {
        assert_eq!(there[same], here[same], "{same}");
    }
    assert_eq!((&there["flow.direction"], &here["flow.direction"]), (&json!("outbound"), &json!("inbound")));
    assert_eq!((&there["k8s.namespace.name"], &here["k8s.namespace.name"]), (&json!("shop"), &json!("data")));
}

#[test]
fn alike_flows_are_told_together_and_their_numbers_are_the_wires() {
    let scene = scene();
    scene.authority.a("api.example.com", &["198.51.100.7"], 60);
    let portreeve = start(&scene.pod);
    let _ = dig(&scene.pod, &["api.example.com"]);
    let watcher = scene.pod.watch();
    for _ in 0..150 {
        drop(connect(&scene.pod, target("198.51.100.7", 443), 5 * SECOND).unwrap());
        let _ = connect(&scene.pod, target("198.51.100.7", 444), 5 * SECOND);
    }
    let on_the_wire = watcher.left_pod(|packet| packet.is_syn()).len() as u64;
    assert!(on_the_wire >= 150);
    let counted = |event: &str, port: u16| -> (u64, usize) {
        let lines: Vec<_> = portreeve.flow_log().into_iter().filter(|line| is_flow(line, event, "198.51.100.7", port)).collect();
        (lines.iter().filter_map(|line| line["flow.count"].as_u64()).sum(), lines.len())
    };
    let told = wait_until(LIMIT, || Some(counted("began", 443)).filter(|(count, _)| *count >= 150));
    let (count, lines) = told.unwrap_or_else(|| panic!("{:?}", counted("began", 443)));
    // The watcher sees a segment that is sent again as well.
    assert!(count == 150 && lines <= 10, "{count} in {lines} lines, {on_the_wire} on the wire");
    let told = wait_until(LIMIT, || Some(counted("refused", 444)).filter(|(count, _)| *count >= 150));
    assert!(told.is_some_and(|(count, lines)| count == 150 && lines <= 10), "{told:?}");
}

#[test]
fn what_is_pushed_over_the_limit_is_told_as_lost_and_nothing_is_lost_below_it() {
    let scene = scene();
    let portreeve = start(&scene.pod);
    let socket = scene.pod.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    let told = || {
        let lines = portreeve.flow_log();
        let sum = |of: &dyn Fn(&&Value) -> bool, count: &str| -> u64 {
            lines.iter().filter(|line| of(line)).filter_map(|line| line[count].as_u64()).sum()
        };
        let flows = sum(&|line| line["flow.event"] == "refused", "flow.count");
        (flows, sum(&|line| line["lost.what"] == "refused-packets", "lost.count"))
    };
    let settled = |what: &str| {
        let all = wait_until(2 * LIMIT, || Some(told()).filter(|(flows, lost)| flows + lost == denied(&scene.pod)));
        all.unwrap_or_else(|| panic!("{what}: {:?} of {}\n{}", told(), denied(&scene.pod), portreeve.log()))
    };
    for _ in 0..500 {
        let _ = socket.send_to(b"x", target("198.51.100.99", 9));
    }
    assert_eq!(settled("a few").1, 0);
    for _ in 0..60_000 {
        let _ = socket.send_to(b"x", target("198.51.100.99", 9));
    }
    let (flows, lost) = settled("a flood");
    assert!(lost > 0 && flows >= 10_000, "{flows} told, {lost} lost");
}

#[test]
fn what_is_gathered_is_told_at_the_end_and_a_new_worker_knows_the_flows_that_live() {
    let scene = scene();
    scene.authority.a("api.example.com", &["198.51.100.7"], 60);
    let mut portreeve = start(&scene.pod);
    let _ = dig(&scene.pod, &["api.example.com"]);
    let living = connect(&scene.pod, target("198.51.100.7", 443), 5 * SECOND).unwrap();
    for _ in 0..20 {
        drop(connect(&scene.pod, target("198.51.100.7", 443), 5 * SECOND).unwrap());
    }
    let _ = portreeve.kill_worker();
    portreeve.expect_ready(LIMIT);
    // What the killed one had gathered is lost with it; the connection that lives is known to the next, with its name.
    std::thread::sleep(SECOND / 2);
    let _ = scene
        .pod
        .command("conntrack")
        .args(["-D", "-p", "tcp", "--orig-port-src", &living.0.local_addr().unwrap().port().to_string()])
        .output();
    let ended = portreeve.wait_flow("the end", LIMIT, |line| is_flow(line, "ended", "198.51.100.7", 443) && line["flow.count"] == 1);
    assert_eq!((&ended["flow.names"], &ended["flow.rule"]), (&json!(["api.example.com"]), &json!("web")), "{ended}");
    let before: u64 = portreeve
        .flow_log()
        .iter()
        .filter(|line| is_flow(line, "began", "198.51.100.7", 443))
        .filter_map(|line| line["flow.count"].as_u64())
        .sum();
    for _ in 0..30 {
        drop(connect(&scene.pod, target("198.51.100.7", 443), 5 * SECOND).unwrap());
    }
    let status = portreeve.terminate(LIMIT).expect("it ends");
    assert_eq!(status.code(), Some(0), "{}", portreeve.log());
    let told: u64 = portreeve
        .flow_log()
        .iter()
        .filter(|line| is_flow(line, "began", "198.51.100.7", 443))
        .filter_map(|line| line["flow.count"].as_u64())
        .sum();
    assert_eq!(told - before, 30, "the last seconds are told at the end");
}

#[test]
fn what_was_lost_right_before_the_end_is_told_too() {
    let scene = scene();
    let mut portreeve = start(&scene.pod);
    let socket = scene.pod.run(|| UdpSocket::bind("0.0.0.0:0").unwrap());
    for _ in 0..40_000 {
        let _ = socket.send_to(b"x", target("198.51.100.99", 9));
    }
    let status = portreeve.terminate(LIMIT).expect("it ends");
    assert_eq!(status.code(), Some(0), "{}", portreeve.log());
    let lines = portreeve.flow_log();
    let sum =
        |fits: &dyn Fn(&&Value) -> bool, count: &str| -> u64 { lines.iter().filter(fits).filter_map(|line| line[count].as_u64()).sum() };
    let told = sum(&|line| line["flow.event"] == "refused", "flow.count");
    let lost = sum(&|line| line["lost.what"] == "refused-packets", "lost.count");
    assert_eq!(told + lost, denied(&scene.pod), "{told} told, {lost} lost");
    assert!(lost > 0, "{told} told: it was no flood");
}

/// Packets that the ruleset has refused, by its own counter.
fn denied(pod: &Pod) -> u64 {
    let listing = pod.command("nft").args(["list", "counter", "inet", "portreeve", "denied"]).output().stdout;
    let number = listing.split("packets ").nth(1).and_then(|rest| rest.split(' ').next()).and_then(|number| number.parse::<u64>().ok());
    number.unwrap_or_else(|| panic!("{listing}"))
}
