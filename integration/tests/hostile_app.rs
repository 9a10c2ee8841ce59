//! Promise: a hostile app in the pod does not get past it, root with the runtime's default capabilities included; the ordinary goes on.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stderr, reason = "tests")]

use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use integration::attack::{Attack, Ordinary, ordinary};
use integration::clients::{connect, dig, getent};
use integration::product::UID;
use integration::world::RESOLVER;
use integration::{Authority, Pod, Setup, TcpTarget, UdpTarget, World};

const SECOND: Duration = Duration::from_secs(1);

const POLICY: &str = r#"
version = 1
name = "web"
[[allow]]
name = "api"
hosts = ["api.example.com"]
ports = ["443", "9000/udp", "icmp"]
"#;

fn world() -> (World, Authority, Pod) {
    let world = World::new();
    let authority = world.authority();
    authority.a("api.example.com", &["198.51.100.7"], 60);
    authority.aaaa("api.example.com", &["2001:db8:ffff::7"], 60);
    let pod = world.pod("app");
    (world, authority, pod)
}

#[test]
fn every_attack_is_held() {
    let (_world, authority, pod) = world();
    let portreeve = Setup::new(&pod).policy("web.toml", POLICY).start();
    assert_eq!(getent(&pod, "api.example.com").len(), 2, "leases are open while the attacks run: {}", portreeve.log());
    let watcher = pod.watch();
    let mut passed = Vec::new();
    for attack in Attack::all(&pod, UID, RESOLVER.into()) {
        let report = attack.run(&pod);
        let packets = attack.on_the_wire(&watcher);
        eprintln!("{:5} on the wire: {} ({:?}, {report:?})", packets.len(), attack.name, attack.rights);
        if let Some(first) = packets.first() {
            passed.push(format!("{}: {} packets, the first {first}", attack.name, packets.len()));
        }
    }
    assert!(passed.is_empty(), "past Portreeve:\n{}", passed.join("\n"));
    assert_eq!(authority.asked("portreeve-leak.example.com", integration::authority::Type::A), 0);
    // Nothing else left either: only the proxy's own questions.
    let others = watcher.left_pod(|p| !p.is_housekeeping() && p.destination != IpAddr::from(RESOLVER));
    assert!(others.is_empty(), "{} more, the first {}", others.len(), others[0]);
    assert!(portreeve.is_ready(), "it is still ready afterwards");
}

#[test]
fn ordinary_traffic_passes() {
    let (world, _authority, pod) = world();
    let targets = ["198.51.100.7:9000", "[2001:db8:ffff::7]:9000"].map(|address| UdpTarget::on(world.outside(), address));
    let _portreeve = Setup::new(&pod).policy("web.toml", POLICY).start();
    assert_eq!(getent(&pod, "api.example.com").len(), 2);
    for target in &targets {
        for kind in [Ordinary::Fragments, Ordinary::Ping] {
            let report = ordinary(&pod, kind, target.address().ip(), 9000);
            assert_eq!(report.got.as_deref(), Some("echo"), "{kind:?} to {}: {report:?}", target.address());
        }
    }
    // Neighbours are found again after a flush, both ways.
    for flush in [pod.command("ip"), world.command("ip")] {
        assert!(flush.args(["neigh", "flush", "all"]).output().ok());
    }
    for own in [IpAddr::from(pod.v4()), pod.v6().into()] {
        let inside = TcpTarget::start(pod.namespace(), (own, 8080), "");
        let dial = |port: u16| world.outside().run(|| TcpStream::connect_timeout(&SocketAddr::new(own, port), SECOND));
        dial(8080).unwrap_or_else(|cause| panic!("inbound to {}: {cause}", inside.address()));
        assert_eq!(dial(8081).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused, "a closed port answers");
    }
    // Loopback is nobody's business.
    let local = TcpTarget::on(pod.namespace(), "127.0.0.1:7000", "");
    connect(&pod, local.address(), SECOND).expect("loopback");
    // A group is joined: the report leaves (MLD, by the kernel).
    let watcher = pod.watch();
    pod.run(|| {
        let socket = std::net::UdpSocket::bind("[::]:0").unwrap();
        socket
            .join_multicast_v6(&"ff02::77".parse().unwrap(), 0)
            .or_else(|_| socket.join_multicast_v6(&"ff02::77".parse().unwrap(), 2))
            .unwrap();
        std::thread::sleep(SECOND);
    });
    assert!(!watcher.left_pod(|p| p.icmp_type == Some(143) && p.is_housekeeping()).is_empty(), "no MLD report left");
}

#[test]
fn another_port_protocol_address_resolver_or_look_alike_is_held() {
    let (world, authority, pod) = world();
    for name in ["evilapi.example.com", "api.example.com.evil.example", "www.api.example.com", "example.com"] {
        authority.a(name, &["203.0.113.66"], 60);
    }
    let _web = TcpTarget::on(world.outside(), "198.51.100.7:443", "");
    let held: Vec<TcpTarget> = [
        "198.51.100.7:22",
        "198.51.100.8:443",
        "[2001:db8:ffff::8]:443",
        "203.0.113.53:53",
        "203.0.113.53:853",
        "203.0.113.66:443",
        "169.254.169.254:80",
    ]
    .map(|address| TcpTarget::on(world.outside(), address, ""))
    .into();
    let _portreeve = Setup::new(&pod).policy("web.toml", POLICY).start();
    assert_eq!(getent(&pod, "api.example.com").len(), 2);
    let watcher = pod.watch();
    connect(&pod, "198.51.100.7:443".parse().unwrap(), SECOND).expect("the permitted port of the permitted name");
    watcher.forget();
    for target in &held {
        let refused = connect(&pod, target.address(), SECOND);
        // Port 53 is turned to the proxy, which answers there; the target itself sees nothing.
        let to_proxy = target.address().port() == 53;
        assert!(
            to_proxy || refused.as_ref().is_err_and(|cause| cause.kind() == std::io::ErrorKind::ConnectionRefused),
            "{}: {refused:?}",
            target.address()
        );
        assert_eq!(target.count(), 0);
    }
    watcher.expect_silence("another port, address or resolver");
    for name in ["evilapi.example.com", "api.example.com.evil.example", "www.api.example.com"] {
        for kind in ["A", "AAAA"] {
            let answer = dig(&pod, &[name, kind]);
            assert_eq!((answer.status.as_str(), answer.answers.len(), answer.soa.is_some()), ("NXDOMAIN", 0, true), "{}", answer.raw);
            assert_eq!(answer.ede.first().map(|(code, _)| *code), Some(15), "{}", answer.raw);
        }
        assert_eq!(authority.asked(name, integration::authority::Type::A), 0, "{name} was asked outside");
    }
    let above = dig(&pod, &["example.com"]);
    assert_eq!((above.status.as_str(), above.answers.len()), ("NOERROR", 0), "an ancestor of a permitted name: {}", above.raw);
    watcher.expect_silence("a refused name");
}
