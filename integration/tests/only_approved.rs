//! Promise: of a permitted name only the approved ports open, at its own addresses; everything else is held, seen on the wire.
//!
//! Each reachable thing has a server that would answer, so that what is held is held by the pod. Not in it: addresses that several names
//! share (one of them permitted opens it: addresses are what the kernel sees).
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use integration::attack::{Ordinary, ordinary};
use integration::clients::{Dig, connect, dig, echo, getent};
use integration::{Authority, Packet, Pod, Portreeve, Setup, TcpTarget, UdpTarget, Watcher, World};

#[path = "only_approved/rebinding.rs"]
mod rebinding;

const SECOND: Duration = Duration::from_secs(1);

const POLICY: &str = r#"
version = 1
name = "web"

[[allow]]
name = "api"
hosts = ["api.example.com", "github.com"]
ports = ["443", "8000-8100", "9000/udp"]

[[allow]]
name = "pinged"
hosts = ["ping.example.com"]
ports = ["443", "icmp"]

[[allow]]
name = "net"
cidrs = ["198.18.0.0/16", "2001:db8:ffff:5::/64"]
ports = ["9091", "9092/udp"]

[[deny]]
cidrs = ["198.18.7.0/24", "2001:db8:ffff:5:7::/80"]

[[deny]]
cidrs = ["198.18.8.0/24"]
ports = ["9091"]

[[allow]]
name = "rebind"
hosts = ["*.rebind.example.com"]
ports = ["443"]

[[allow]]
name = "inside"
hosts = ["*.inside.example.com"]
ports = ["443"]
private = true
"#;

/// Only 443, or 9091 within a range; nothing at ping.example.com.
const PLATFORM: &str = r#"
version = 1
name = "platform"
platform = true

[[limit]]
name = "web"
ports = ["443", "8050-8060"]

[[limit]]
name = "metrics"
cidrs = ["198.18.1.0/24"]
ports = ["9091"]

[[deny]]
hosts = ["ping.example.com"]
"#;

struct Scene {
    world: World,
    authority: Authority,
    pod: Pod,
}

fn scene() -> Scene {
    let world = World::new();
    let authority = world.authority();
    for (name, last) in [("api.example.com", "7"), ("ping.example.com", "8"), ("github.com", "9")] {
        authority.a(name, &[&format!("198.51.100.{last}")], 60);
        authority.aaaa(name, &[&format!("2001:db8:ffff::{last}")], 60);
    }
    let pod = world.pod("app");
    Scene { world, authority, pod }
}

/// A way to reach something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum By {
    Tcp,
    Udp,
    Ping,
}
use By::{Ping, Tcp, Udp};

/// How, where, and whether it is open.
type Case = (By, &'static str, bool);

/// Starts a server for each case, tries each, and compares what the client met and what the wire saw with what the policy says.
fn expect(scene: &Scene, cases: &[Case]) {
    let outside = scene.world.outside();
    let distinct: HashSet<(By, &str)> = cases.iter().map(|(by, to, _)| (*by, *to)).collect();
    assert_eq!(distinct.len(), cases.len(), "a case stands twice");
    let _streams: Vec<TcpTarget> = cases.iter().filter(|case| case.0 == Tcp).map(|case| TcpTarget::on(outside, case.1, "")).collect();
    let _datagrams: Vec<UdpTarget> = cases.iter().filter(|case| case.0 == Udp).map(|case| UdpTarget::on(outside, case.1)).collect();
    let watcher = scene.pod.watch();
    let mut wrong = Vec::new();
    for (by, to, open) in cases {
        let met = reach(&scene.pod, *by, to);
        let right = if *open { met.is_ok() } else { met.as_ref().is_err_and(|kind| refused_at_once(*by, *kind)) };
        if !right {
            wrong.push(format!("{by:?} {to}: {met:?}, it should be {}", if *open { "open" } else { "held" }));
        }
    }
    let left = watcher.left_pod(|packet| !packet.is_housekeeping());
    for (by, to, open) in cases {
        let seen = left.iter().filter(|packet| concerns(packet, *by, to)).count();
        if (seen > 0) != *open {
            wrong.push(format!("{by:?} {to}: {seen} packets on the wire, it should be {}", if *open { "open" } else { "held" }));
        }
    }
    // Nothing that no case speaks of, either.
    let others = left.iter().filter(|packet| !cases.iter().any(|(by, to, open)| *open && concerns(packet, *by, to)));
    wrong.extend(others.map(|packet| format!("beside all cases: {packet}")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn reach(pod: &Pod, by: By, to: &str) -> Result<(), ErrorKind> {
    match by {
        Tcp => connect(pod, to.parse().unwrap(), SECOND).map(drop).map_err(|cause| cause.kind()),
        Udp => echo(pod, to.parse().unwrap(), b"hello", SECOND).map(drop).map_err(|cause| cause.kind()),
        Ping => {
            let report = ordinary(pod, Ordinary::Ping, to.parse().unwrap(), 0);
            if report.got.as_deref() == Some("echo") { Ok(()) } else { Err(ErrorKind::PermissionDenied) }
        }
    }
}

/// A refusal is told, not waited for.
fn refused_at_once(by: By, kind: ErrorKind) -> bool {
    match by {
        Tcp => kind == ErrorKind::ConnectionRefused,
        Udp | Ping => matches!(kind, ErrorKind::PermissionDenied | ErrorKind::HostUnreachable | ErrorKind::ConnectionRefused),
    }
}

fn concerns(packet: &Packet, by: By, to: &str) -> bool {
    match by {
        Tcp => packet.is_tcp() && packet.is_to(to.parse().unwrap()),
        Udp => packet.is_udp() && packet.is_to(to.parse().unwrap()),
        Ping => matches!(packet.protocol, 1 | 58) && packet.destination == to.parse::<IpAddr>().unwrap(),
    }
}

fn resolve(scene: &Scene, portreeve: &Portreeve<'_>, names: &[&str]) {
    for name in names {
        assert_eq!(getent(&scene.pod, name).len(), 2, "{name}: {}", portreeve.log());
    }
}

#[test]
fn only_the_approved_ports_protocols_and_addresses_open() {
    let scene = scene();
    let portreeve = Setup::new(&scene.pod).policy("web.toml", POLICY).start();
    resolve(&scene, &portreeve, &["api.example.com", "ping.example.com"]);
    expect(
        &scene,
        &[
            // What the rule says, in both families, and the edges of its range.
            (Tcp, "198.51.100.7:443", true),
            (Tcp, "[2001:db8:ffff::7]:443", true),
            (Tcp, "198.51.100.7:8000", true),
            (Tcp, "198.51.100.7:8100", true),
            (Tcp, "[2001:db8:ffff::7]:8050", true),
            (Udp, "198.51.100.7:9000", true),
            (Udp, "[2001:db8:ffff::7]:9000", true),
            // Another port, beside the edges too.
            (Tcp, "198.51.100.7:22", false),
            (Tcp, "198.51.100.7:442", false),
            (Tcp, "198.51.100.7:444", false),
            (Tcp, "198.51.100.7:7999", false),
            (Tcp, "198.51.100.7:8101", false),
            (Tcp, "[2001:db8:ffff::7]:7999", false),
            (Tcp, "[2001:db8:ffff::7]:22", false),
            (Tcp, "198.51.100.7:65535", false),
            (Tcp, "198.51.100.7:1", false),
            // The same port of the other protocol.
            (Udp, "198.51.100.7:443", false),
            (Udp, "[2001:db8:ffff::7]:443", false),
            (Udp, "198.51.100.7:8000", false),
            (Tcp, "198.51.100.7:9000", false),
            (Tcp, "[2001:db8:ffff::7]:9000", false),
            // Ping where it is among the ports, and where it is not.
            (Ping, "198.51.100.8", true),
            (Ping, "2001:db8:ffff::8", true),
            (Ping, "198.51.100.7", false),
            (Ping, "2001:db8:ffff::7", false),
            (Ping, "198.18.1.1", false),
            // Another rule's ports, another address: the neighbour, the resolver, a name that was not looked up.
            (Udp, "198.51.100.8:9000", false),
            (Tcp, "198.51.100.8:8000", false),
            (Tcp, "198.51.100.6:443", false),
            (Tcp, "[2001:db8:ffff::6]:443", false),
            (Tcp, "198.51.100.9:443", false),
            (Tcp, "[2001:db8:ffff::9]:443", false),
            (Tcp, "10.96.0.10:443", false),
            (Tcp, "[2001:db8:ffff:0::53]:443", false),
            (Ping, "10.96.0.10", false),
            // A resolver by other ways than port 53.
            (Tcp, "10.96.0.10:853", false),
            (Udp, "10.96.0.10:853", false),
            (Tcp, "203.0.113.53:853", false),
            (Udp, "203.0.113.53:5353", false),
            (Tcp, "[2001:db8:ffff::53]:853", false),
            (Tcp, "203.0.113.53:5453", false),
            // Ranges, their ends, what is denied inside them, wholly and by port.
            (Tcp, "198.18.0.0:9091", true),
            (Tcp, "198.18.255.255:9091", true),
            (Udp, "198.18.1.1:9092", true),
            (Tcp, "[2001:db8:ffff:5::1]:9091", true),
            (Udp, "[2001:db8:ffff:5:ffff:ffff:ffff:ffff]:9092", true),
            (Tcp, "198.19.0.0:9091", false),
            (Tcp, "198.18.1.1:9092", false),
            (Udp, "198.18.1.1:9091", false),
            (Tcp, "198.18.1.1:443", false),
            (Tcp, "[2001:db8:ffff:4::1]:9091", false),
            (Tcp, "[2001:db8:ffff:6::1]:9091", false),
            (Tcp, "198.18.6.255:9091", true),
            (Tcp, "198.18.7.0:9091", false),
            (Udp, "198.18.7.255:9092", false),
            (Tcp, "[2001:db8:ffff:5:7::1]:9091", false),
            (Tcp, "198.18.8.1:9091", false),
            (Udp, "198.18.8.1:9092", true),
            (Tcp, "198.18.9.0:9091", true),
            // What nobody may reach without listing it.
            (Tcp, "169.254.169.254:80", false),
        ],
    );
}

#[test]
fn a_platforms_limits_and_denies_hold_every_grant() {
    let scene = scene();
    let portreeve = Setup::new(&scene.pod).policy("web.toml", POLICY).policy("platform.toml", PLATFORM).start();
    resolve(&scene, &portreeve, &["api.example.com"]);
    assert!(getent(&scene.pod, "ping.example.com").is_empty(), "a deny beats the allow of another file");
    expect(
        &scene,
        &[
            (Tcp, "198.51.100.7:443", true),
            (Tcp, "[2001:db8:ffff::7]:443", true),
            (Tcp, "198.51.100.7:8050", true),
            (Tcp, "198.51.100.7:8060", true),
            (Tcp, "198.51.100.7:8049", false),
            (Tcp, "198.51.100.7:8061", false),
            (Tcp, "198.51.100.7:8000", false),
            (Udp, "198.51.100.7:9000", false),
            (Tcp, "198.51.100.8:443", false),
            (Ping, "198.51.100.8", false),
            (Tcp, "198.18.1.1:9091", true),
            (Tcp, "198.18.2.1:9091", false),
            (Udp, "198.18.1.1:9092", false),
        ],
    );
}

#[test]
fn a_resolver_written_into_the_app_is_never_asked() {
    let scene = scene();
    let strangers = scene.world.authority_at(&["203.0.113.53:53".parse().unwrap(), "[2001:db8:ffff::5353]:53".parse().unwrap()]);
    strangers.a("api.example.com", &["203.0.113.66"], 60);
    strangers.a("github.example.net", &["203.0.113.66"], 60);
    let _portreeve = Setup::new(&scene.pod).policy("web.toml", POLICY).start();
    let watcher = scene.pod.watch();
    for server in ["@203.0.113.53", "@2001:db8:ffff::5353"] {
        for how in ["+notcp", "+tcp"] {
            let answer = dig(&scene.pod, &[server, how, "api.example.com"]);
            let own: Vec<IpAddr> = vec!["198.51.100.7".parse().unwrap()];
            assert_eq!(answer.addresses(), own, "the pod's resolver answers in its place: {server} {how}\n{}", answer.raw);
            let refused = dig(&scene.pod, &[server, how, "github.example.net"]);
            assert_eq!(refused.status, "NXDOMAIN", "{server} {how}\n{}", refused.raw);
        }
    }
    assert_eq!(strangers.asked_in_all(), 0);
    let gone: Vec<Packet> = watcher.left_pod(|packet| strangers.addresses().iter().any(|address| address.ip() == packet.destination));
    assert!(gone.is_empty(), "{}", gone[0]);
    // The resolver of resolv.conf is asked by the proxy alone, and only for what is permitted.
    assert!(scene.authority.questions().iter().all(|question| question.name == "api.example.com"));
}

#[test]
fn names_that_look_alike_are_refused_and_other_spellings_are_the_same_name() {
    let scene = scene();
    let alike = [
        "evilgithub.com",
        "github.com.evil.net",
        "www.github.com",
        "a.b.github.com",
        "github.co",
        "github.comm",
        "ithub.com",
        "github-com.evil.net",
        "api.example.com.svc.cluster.local",
        "xn--gthub-n4a.com",
        "rebind.example.com.evil.net",
        "xrebind.example.com",
        r"github\.com",
        r"github.com\000.evil.net",
        r"evil\046github.com",
        r"a\.rebind.example.com.evil.net",
    ];
    for name in alike.iter().filter(|name| !name.contains('\\')) {
        scene.authority.a(name, &["203.0.113.66"], 60);
    }
    let _portreeve = Setup::new(&scene.pod).policy("web.toml", POLICY).start();
    let watcher = scene.pod.watch();
    for name in alike {
        for kind in ["A", "AAAA", "TXT", "HTTPS", "MX", "ANY"] {
            let answer = dig(&scene.pod, &[name, kind, "+notcp"]);
            let shape = (answer.status.as_str(), answer.answers.len(), answer.soa.is_some(), answer.ede.first().map(|(code, _)| *code));
            assert_eq!(shape, ("NXDOMAIN", 0, true, Some(15)), "{name} {kind}: {}", answer.raw);
        }
    }
    assert_eq!(scene.authority.asked_in_all(), 0, "{:?}", scene.authority.questions());
    // An ancestor of a permitted name is there and has nothing (RFC 8020).
    for name in ["com", "example.com", "rebind.example.com"] {
        let above = dig(&scene.pod, &[name]);
        assert_eq!((above.status.as_str(), above.answers.len()), ("NOERROR", 0), "{name}: {}", above.raw);
    }
    assert_eq!(scene.authority.asked_in_all(), 0);
    watcher.expect_silence("refused names");
    for name in ["github.com", "github.com.", "GITHUB.COM", "GitHub.Com.", r"\103ithub.com"] {
        let answer = dig(&scene.pod, &[name]);
        assert_eq!(answer.addresses(), ["198.51.100.9".parse::<IpAddr>().unwrap()], "{name}: {}", answer.raw);
    }
}

/// What left the pod are the proxy's own questions.
fn expect_only_questions(watcher: &Watcher) {
    let resolver = SocketAddr::from((integration::world::RESOLVER, 53));
    let others = watcher.left_pod(|packet| !packet.is_housekeeping() && !packet.is_to(resolver));
    assert!(others.is_empty(), "{} more, the first {}", others.len(), others[0]);
    assert_ne!(watcher.left_pod(|packet| packet.is_to(resolver)).len(), 0);
}

#[test]
fn every_case_is_reachable_where_nothing_holds_the_pod() {
    let scene = scene();
    let cases: Vec<Case> =
        ["198.51.100.7:22", "[2001:db8:ffff::7]:22", "198.51.100.6:443", "10.96.0.11:853", "169.254.169.254:80", "192.168.44.5:443"]
            .into_iter()
            .map(|to| (Tcp, to, true))
            .chain([
                (Udp, "198.51.100.7:443", true),
                (Udp, "203.0.113.53:5353", true),
                (Ping, "198.51.100.7", true),
                (Ping, "2001:db8:ffff::7", true),
            ])
            .collect();
    expect(&scene, &cases);
}
