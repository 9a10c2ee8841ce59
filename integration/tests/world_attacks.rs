//! The attacks work where nothing holds them, some pass a ruleset that trusts replies, and all are held by one that does not.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stderr, reason = "tests")]

use std::net::IpAddr;
use std::time::Duration;

use integration::attack::{Attack, Ordinary, ordinary};
use integration::clients::connect;
use integration::world::RESOLVER;
use integration::{Pod, TcpTarget, UdpTarget, World};

/// A ruleset that was attacked by hand and held; the product's own is to hold likewise.
const HELD: &str = include_str!("fixtures/held.nft");

/// A ruleset as others wrote it: loopback, replies and the kernel's ICMPv6 are trusted.
const TRUSTING: &str = include_str!("fixtures/trusting.nft");

fn all(pod: &Pod) -> Vec<Attack> {
    Attack::all(pod, 4242, RESOLVER.into())
}

fn count(pod: &Pod, attack: &Attack) -> usize {
    let watcher = pod.watch();
    let report = attack.run(pod);
    let packets = attack.on_the_wire(&watcher);
    if attack.name.contains("marks") {
        assert!(report.error.is_none() || report.sent == 0, "{}: only the first guess was made: {report:?}", attack.name);
    }
    eprintln!("{:3} on the wire: {} ({:?}, {report:?})", packets.len(), attack.name, attack.rights);
    packets.len()
}

#[test]
fn every_attack_gets_out_of_a_pod_that_nothing_holds() {
    let world = World::new();
    let pod = world.pod("app");
    let idle: Vec<_> = all(&pod).into_iter().filter(|attack| count(&pod, attack) == 0).collect();
    assert!(idle.is_empty(), "these attacks prove nothing: {idle:#?}");
}

#[test]
fn forged_replies_get_past_a_ruleset_that_trusts_replies() {
    let world = World::new();
    let pod = world.pod("app");
    pod.load_nft(TRUSTING);
    let (past, held): (Vec<_>, Vec<_>) = all(&pod).into_iter().partition(|attack| count(&pod, attack) > 0);
    let past_names: Vec<_> = past.iter().map(|attack| attack.name).collect();
    for name in
        ["forged UDP reply, IPV6_FREEBIND", "forged UDP reply, IP_TRANSPARENT", "AF_PACKET raw frame v4", "frame on lo with ip_forward v4"]
    {
        assert!(past_names.contains(&name), "{name} is held by a ruleset that should let it through; past: {past_names:?}");
    }
    assert!(held.iter().any(|attack| attack.name == "hard-coded resolver, UDP"), "it holds the simple ones: {held:#?}");
}

#[test]
fn no_attack_gets_past_a_ruleset_that_holds_and_the_ordinary_goes_on() {
    let world = World::new();
    let pod = world.pod("app");
    let udp = UdpTarget::on(world.outside(), "198.51.100.7:9000");
    let udp6 = UdpTarget::on(world.outside(), "[2001:db8:ffff::7]:9000");
    let web = TcpTarget::on(world.outside(), "198.51.100.7:443", "");
    pod.load_nft(HELD);
    let passed: Vec<_> = all(&pod).into_iter().filter(|attack| count(&pod, attack) > 0).collect();
    assert!(passed.is_empty(), "past the ruleset: {passed:#?}");
    let watcher = pod.watch();
    connect(&pod, web.address(), Duration::from_secs(1)).expect("the permitted port");
    let refused = connect(&pod, "198.51.100.7:22".parse().unwrap(), Duration::from_secs(1)).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(watcher.left_pod(|p| p.destination_port == 22).is_empty());
    for target in [udp.address(), udp6.address()] {
        for kind in [Ordinary::Fragments, Ordinary::Ping] {
            let report = ordinary(&pod, kind, target.ip(), target.port());
            assert_eq!(report.got.as_deref(), Some("echo"), "{kind:?} to {target}: {report:?}");
        }
    }
    assert!(watcher.left_pod(|p| p.fragment && p.destination == udp.address().ip()).len() >= 4);
    for own in [IpAddr::from(pod.v4()), pod.v6().into()] {
        let inside = TcpTarget::start(pod.namespace(), (own, 8080), "");
        world.outside().run(|| std::net::TcpStream::connect_timeout(&inside.address(), Duration::from_secs(1))).expect("inbound");
        let closed = world.outside().run(|| std::net::TcpStream::connect_timeout(&(own, 8081).into(), Duration::from_secs(1)));
        assert_eq!(closed.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused, "a closed port answers");
    }
}

#[test]
fn ordinary_traffic_comes_back_where_nothing_holds() {
    let world = World::new();
    let pod = world.pod("app");
    for address in ["198.51.100.7:9000", "[2001:db8:ffff::7]:9000"] {
        let target = UdpTarget::on(world.outside(), address);
        for kind in [Ordinary::Fragments, Ordinary::Ping] {
            let report = ordinary(&pod, kind, target.address().ip(), 9000);
            assert_eq!(report.got.as_deref(), Some("echo"), "{kind:?} to {address}: {report:?}");
        }
    }
}
