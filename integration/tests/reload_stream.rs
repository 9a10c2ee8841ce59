//! Promise: a policy change is one atomic step; under a stream of packets no reload loses a permitted one or lets another out.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::fmt::Write;
use std::time::Duration;

use integration::clients::getent;
use integration::stream::{ConnectStream, UdpSink, UdpStream};
use integration::{Setup, TcpTarget, World};

const LIMIT: Duration = Duration::from_secs(20);

/// A policy that permits the same each time, with another rule beside it.
fn policy(generation: u32) -> String {
    let mut text = "version = 1\nname = \"web\"\n[[allow]]\nname = \"api\"\nhosts = [\"api.example.com\"]\nports = [\"443\", \"9000/udp\"]\n".to_owned();
    writeln!(text, "[[allow]]\nname = \"other-{generation}\"\nhosts = [\"host-{generation}.example.net\"]\nports = [\"8443\"]").unwrap();
    text
}

#[test]
fn alone_200_reloads_lose_nothing_and_leak_nothing() {
    let world = World::new();
    let authority = world.authority();
    authority.a("api.example.com", &["198.51.100.7"], 3600);
    let pod = world.pod("app");
    let sink = UdpSink::start(world.outside(), "198.51.100.7:9000");
    let forbidden = UdpSink::start(world.outside(), "203.0.113.9:9000");
    let web = TcpTarget::on(world.outside(), "198.51.100.7:443", "");
    let portreeve = Setup::new(&pod).policy("web.toml", &policy(0)).start();
    assert_eq!(getent(&pod, "api.example.com").len(), 1);
    let watcher = pod.watch();
    let permitted = UdpStream::start(&pod, sink.address(), 5_000);
    let held = UdpStream::start(&pod, forbidden.address(), 5_000);
    let connects = ConnectStream::start(&pod, web.address(), Duration::from_millis(2));
    let first = portreeve.status()["loads"].as_u64().expect("loads");
    for generation in 1..=200 {
        portreeve.swap_policies(&[("web.toml", &policy(generation))]);
        portreeve.wait_status("the reload is counted", LIMIT, |status| status["loads"].as_u64() >= Some(first + u64::from(generation)));
    }
    let (sent, refused, connected) = (permitted.stop(), held.stop(), connects.stop());
    let (arrived, leaked) = (sink.stop(&sent), forbidden.stop(&refused));
    assert!(sent.taken > 5_000 && refused.refused.values().sum::<u64>() > 5_000 && connected.established > 200, "{sent:?} {refused:?} {connected:?}");
    assert_eq!((arrived.lost, sent.refused.len()), (0, 0), "lost: {arrived:?} {sent:?}");
    assert_eq!((refused.taken, leaked.received), (0, 0), "leaked: {refused:?} {leaked:?}");
    assert!(connected.failed.is_empty(), "connects refused: {connected:?}");
    let out = watcher.left_pod(|p| p.destination == forbidden_ip());
    assert!(out.is_empty(), "{} on the wire, the first {}", out.len(), out[0]);
}

fn forbidden_ip() -> std::net::IpAddr {
    [203, 0, 113, 9].into()
}
