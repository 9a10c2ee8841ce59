//! The streams count truly, the servers from Debian answer, and the world leaves nothing behind.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::net::IpAddr;
use std::time::Duration;

use integration::authority::Type;
use integration::clients::{dig, getent};
use integration::servers::{Nsd, Unbound};
use integration::stream::{ConnectStream, UdpSink, UdpStream};
use integration::{PolicyDir, TcpTarget, World};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_stream_without_loss_counts_none_and_a_gap_is_seen() {
    let world = World::new();
    let pod = world.pod("app");
    let sink = UdpSink::start(world.outside(), "198.51.100.7:9000");
    let stream = UdpStream::start(&pod, sink.address(), 5_000);
    assert!(integration::wait_until(5 * SECOND, || (sink.received() > 2_000).then_some(())).is_some());
    let sent = stream.stop();
    let arrived = sink.stop(&sent);
    assert_eq!((arrived.lost, arrived.received, sent.refused.len()), (0, sent.taken, 0));

    // The wire is cut for a moment: the sink must know.
    let sink = UdpSink::start(world.outside(), "198.51.100.8:9000");
    let stream = UdpStream::start(&pod, sink.address(), 5_000);
    assert!(integration::wait_until(5 * SECOND, || (sink.received() > 500).then_some(())).is_some());
    world.load_nft("table ip cut { chain in { type filter hook prerouting priority 0; ip daddr 198.51.100.8 drop; }; }");
    std::thread::sleep(Duration::from_millis(50));
    world.load_nft("delete table ip cut");
    let before = sink.received();
    assert!(integration::wait_until(5 * SECOND, || (sink.received() > before + 500).then_some(())).is_some());
    let sent = stream.stop();
    let arrived = sink.stop(&sent);
    assert!(arrived.lost > 50 && arrived.missing.len() == 20, "{arrived:?}");

    // Refusals in the pod itself are counted apart.
    pod.load_nft("table inet hold { chain out { type filter hook output priority 0; udp dport 9000 drop; }; }");
    let stream = UdpStream::start(&pod, "198.51.100.7:9000".parse().unwrap(), 1_000);
    std::thread::sleep(Duration::from_millis(100));
    let sent = stream.stop();
    assert_eq!(sent.taken, 0);
    assert!(sent.refused.values().sum::<u64>() > 20, "{sent:?}");
}

#[test]
fn connects_are_counted_by_what_became_of_them() {
    let world = World::new();
    let pod = world.pod("app");
    let target = TcpTarget::on(world.outside(), "198.51.100.7:443", "");
    let stream = ConnectStream::start(&pod, target.address(), Duration::from_millis(1));
    assert!(target.wait(100, 5 * SECOND));
    drop(target);
    std::thread::sleep(Duration::from_millis(50));
    let connected = stream.stop();
    assert!(connected.established >= 99, "{connected:?}");
    assert!(connected.failed.contains_key("ConnectionRefused"), "{connected:?}");
}

#[test]
fn servers_from_debian_answer() {
    let world = World::new();
    let pod = world.pod("app");
    let nsd = Nsd::start(
        &world,
        "198.51.100.53".parse().unwrap(),
        "example.com",
        "api A 198.51.100.7\napi AAAA 2001:db8:ffff::7\nwww CNAME api\n*.wild A 198.51.100.9",
    );
    let unbound = Unbound::start(&world, "10.96.0.10".parse().unwrap(), "example.com", nsd.address());
    let both: Vec<IpAddr> = vec!["198.51.100.7".parse().unwrap(), "2001:db8:ffff::7".parse().unwrap()];
    assert_eq!(getent(&pod, "www.example.com"), both, "{}", unbound.log());
    assert_eq!(dig(&pod, &["@198.51.100.53", "a.wild.example.com"]).addresses().len(), 1);
    assert_eq!(dig(&pod, &["none.example.com"]).status, "NXDOMAIN");
    let embedded = world.authority_at(&["198.51.100.54:53".parse().unwrap()]);
    embedded.set("example.org", Type::SOA, &["ns.example.org. hostmaster.example.org. 1 3600 600 86400 5"], 60);
    embedded.a("api.example.org", &["203.0.113.5"], 60);
    let second = Unbound::start(&world, "10.96.0.11".parse().unwrap(), "example.org", embedded.addresses()[0]);
    assert_eq!(dig(&pod, &["@10.96.0.11", "api.example.org"]).addresses().len(), 1, "{}", second.log());
    assert!(embedded.asked("api.example.org", Type::A) >= 1);
}

#[test]
fn a_policy_directory_is_swapped_as_kubelet_does_it() {
    let world = World::new();
    let dir = PolicyDir::config_map(world.scratch().path().join("policies"));
    let read = |file: &str| std::fs::read_to_string(dir.path().join(file)).ok();
    dir.replace(&[("a.toml", "one"), ("b.toml", "one")]);
    let link = std::fs::read_link(dir.path().join("..data")).unwrap();
    dir.replace(&[("a.toml", "two")]);
    assert_eq!((read("a.toml").as_deref(), read("b.toml")), (Some("two"), None));
    assert_ne!(std::fs::read_link(dir.path().join("..data")).unwrap(), link);
    assert!(!dir.path().join(link).exists(), "the old one is removed");
    dir.replace::<&str, &str>(&[]);
    assert_eq!(read("a.toml"), None);
    let plain = PolicyDir::plain(world.scratch().path().join("plain"));
    plain.replace(&[("a.toml", "one")]);
    plain.replace(&[("b.toml", "two")]);
    assert!(!plain.path().join("a.toml").exists() && plain.path().join("b.toml").exists());
}

/// Runs itself as a child that makes a world and is killed: nothing of it may stay.
#[test]
fn a_killed_test_leaves_nothing() {
    if std::env::var_os("WORLD_TO_BE_KILLED").is_some() {
        let world = World::new();
        let pod = world.pod("app");
        let _program = pod.command("sleep").arg("3599").spawn();
        let held = pod
            .command("unshare")
            .args([
                "--pid",
                "--fork",
                "--kill-child=KILL",
                "--mount-proc",
                "--propagation=unchanged",
                "--",
                "sh",
                "-c",
                "sleep 3598 & exec sleep 3597",
            ])
            .spawn();
        println!("NAMESPACE {}", std::fs::read_link(format!("/proc/{}/ns/net", held.pid())).unwrap().display());
        std::thread::sleep(60 * SECOND);
    }
    let own = std::env::current_exe().unwrap();
    let mut child = std::process::Command::new(own)
        .args(["--exact", "a_killed_test_leaves_nothing", "--nocapture"])
        .env("WORLD_TO_BE_KILLED", "1")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let said = lines.find_map(|line| line.ok()?.split_once("NAMESPACE ").map(|(_, name)| name.trim().to_owned())).expect("its namespace");
    let started = integration::wait_until(3 * SECOND, || (holders(&said) >= 4).then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(started.is_some(), "two programs, and two in a PID namespace of their own");
    let gone = integration::wait_until(3 * SECOND, || (holders(&said) == 0).then_some(()));
    assert!(gone.is_some(), "{} processes are still in {said}", holders(&said));
}

fn holders(namespace: &str) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter(|entry| std::fs::read_link(entry.path().join("ns/net")).is_ok_and(|link| link.to_string_lossy() == namespace)).count()
}
