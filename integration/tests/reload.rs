//! Promise: a policy change is one atomic step. No packet sees half of it, leases that still hold keep their time, the others are gone
//! with it, and a file that cannot be loaded changes nothing.
//!
//! What a reload does to live connections is the matter of `established.rs`.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout, reason = "tests")]

use std::fmt::Write;
use std::time::{Duration, Instant};

use integration::attempts::Attempts;
use integration::authority::Type;
use integration::clients::{connect, getent};
use integration::kernel::{self, Batches};
use integration::stream::{ConnectStream, UdpSink, UdpStream};
use integration::{Authority, Pod, Portreeve, Setup, TcpTarget, World, wait_until};

const SECOND: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(20);

/// A policy of these rules: (name, hosts, ports).
fn policy(rules: &[(&str, &str, &str)]) -> String {
    let mut text = "version = 1\nname = \"web\"\n".to_owned();
    for (name, hosts, ports) in rules {
        write!(text, "[[allow]]\nname = \"{name}\"\nhosts = [{}]\nports = [{}]\n", quoted(hosts), quoted(ports)).unwrap();
    }
    text
}

fn quoted(words: &str) -> String {
    words.split(' ').map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
}

fn world() -> (World, Authority, Pod) {
    let world = World::new();
    let authority = world.authority();
    authority.a("api.example.com", &["198.51.100.7"], 3600);
    authority.a("old.example.com", &["198.51.100.8"], 3600);
    authority.a("new.example.com", &["198.51.100.9"], 3600);
    let pod = world.pod("app");
    (world, authority, pod)
}

/// Swaps the policy and waits until that load is counted.
fn reload(portreeve: &Portreeve<'_>, text: &str) {
    let loads = portreeve.status()["loads"].as_u64().expect("loads");
    portreeve.swap_policies(&[("web.toml", text)]);
    portreeve.wait_status("the reload is counted", LIMIT, |status| status["loads"].as_u64() > Some(loads));
}

#[test]
fn alone_200_reloads_lose_nothing_and_leak_nothing() {
    let (world, _authority, pod) = world();
    let sink = UdpSink::start(world.outside(), "198.51.100.7:9000");
    let forbidden = UdpSink::start(world.outside(), "203.0.113.9:9000");
    let web = TcpTarget::on(world.outside(), "198.51.100.7:443", "");
    // Permits the same each time, with another rule beside it.
    let generation = |number: u32| {
        let (name, host) = (format!("other-{number}"), format!("host-{number}.example.net"));
        policy(&[("api", "api.example.com", "443 9000/udp"), (&name, &host, "8443")])
    };
    let portreeve = Setup::new(&pod).policy("web.toml", &generation(0)).start();
    assert_eq!(getent(&pod, "api.example.com").len(), 1);
    let watcher = pod.watch();
    let permitted = UdpStream::start(&pod, sink.address(), 3_000);
    let held = UdpStream::start(&pod, forbidden.address(), 3_000);
    let attempts = Attempts::start(&pod);
    let connects = ConnectStream::start(&pod, web.address(), Duration::from_millis(2));
    let first = portreeve.status()["loads"].as_u64().expect("loads");
    for number in 1..=200 {
        portreeve.swap_policies(&[("web.toml", &generation(number))]);
        portreeve.wait_status("the reload is counted", LIMIT, |status| status["loads"].as_u64() >= Some(first + u64::from(number)));
    }
    let (sent, refused, connected) = (permitted.stop(), held.stop(), connects.stop());
    let (arrived, leaked) = (sink.stop(&sent), forbidden.stop(&refused));
    println!(
        "{} datagrams and {} connects permitted, {:?} and {} attempts held",
        sent.taken,
        connected.established,
        refused.refused,
        attempts.made()
    );
    assert!(sent.taken > 5_000 && refused.refused.values().sum::<u64>() > 5_000, "{sent:?} {refused:?}");
    assert!(connected.established > 200 && attempts.made() > 500, "{connected:?} {attempts:?}");
    // Permitted: each number is on the wire, and arrived.
    assert_eq!((arrived.lost, sent.refused.len()), (0, 0), "lost: {arrived:?} {sent:?}");
    let on_the_wire = watcher.left_pod(|packet| packet.is_udp() && packet.is_to(([198, 51, 100, 7], 9000).into()));
    assert_eq!(on_the_wire.len() as u64, sent.taken);
    assert!(connected.failed.is_empty(), "connects refused: {connected:?}");
    // Forbidden: nothing, by the client's word, the target's and the wire's.
    assert_eq!((refused.taken, leaked.received, attempts.through()), (0, 0, 0), "leaked: {refused:?} {leaked:?} {attempts:?}");
    let out = watcher.left_pod(Attempts::is_one);
    assert!(out.is_empty(), "{} on the wire, the first {}", out.len(), out[0]);
}

#[test]
fn a_config_map_swap_and_plain_writes_are_in_force_within_2_s() {
    for plain in [false, true] {
        let (_world, _authority, pod) = world();
        let (before, after) = (policy(&[("web", "old.example.com", "443")]), policy(&[("web", "new.example.com", "443")]));
        let setup = Setup::new(&pod).policy("web.toml", &before);
        let portreeve = if plain { setup.plain_files() } else { setup }.start();
        assert_eq!((getent(&pod, "old.example.com").len(), getent(&pod, "new.example.com").len()), (1, 0), "{}", portreeve.log());
        for (text, permitted, refused) in [(&after, "new.example.com", "old.example.com"), (&before, "old.example.com", "new.example.com")]
        {
            portreeve.swap_policies(&[("web.toml", text)]);
            let start = Instant::now();
            let in_force = wait_until(2 * SECOND, || (getent(&pod, permitted).len() == 1).then(|| start.elapsed()));
            let took = in_force.unwrap_or_else(|| panic!("plain {plain}: {:#}\n{}", portreeve.status(), portreeve.log()));
            println!("plain {plain}: in force after {took:?}");
            assert!(getent(&pod, refused).is_empty());
        }
        // A file more, and the file gone.
        let more = "version = 1\nname = \"more\"\n[[allow]]\nname = \"more\"\nhosts = [\"api.example.com\"]\nports = [\"443\"]\n";
        portreeve.swap_policies(&[("web.toml", before.as_str()), ("more.toml", more)]);
        assert!(wait_until(2 * SECOND, || (getent(&pod, "api.example.com").len() == 1).then_some(())).is_some(), "{}", portreeve.log());
        portreeve.swap_policies(&[("web.toml", before.as_str())]);
        assert!(wait_until(2 * SECOND, || getent(&pod, "api.example.com").is_empty().then_some(())).is_some(), "{}", portreeve.log());
    }
}

#[test]
fn a_broken_file_on_reload_keeps_the_old_generation_and_status_names_the_line() {
    let (world, _authority, pod) = world();
    let _web = TcpTarget::on(world.outside(), "198.51.100.7:443", "");
    let good = policy(&[("web", "api.example.com", "443")]);
    let portreeve = Setup::new(&pod).policy("web.toml", &good).start();
    assert_eq!(getent(&pod, "api.example.com").len(), 1);
    let (before, leases) = (portreeve.status(), kernel::leases(&pod));
    portreeve.swap_policies(&[("web.toml", &good.replace("\"443\"", "\"443\", \"70000\""))]);
    let status = portreeve.wait_status("it tells", LIMIT, |status| !status["last-error"].is_null());
    assert!(status["last-error"]["what"].as_str().unwrap().contains("web.toml:6: "), "{status:#}");
    let line = portreeve.ask(&["status", "--ready"]);
    assert!(line.stdout.lines().count() == 1 && line.stdout.contains("web.toml:6: "), "one line for people: {line:?}");
    for same in ["ready", "generation", "loads", "policies", "rules"] {
        assert_eq!(status[same], before[same], "{same}: {status:#}");
    }
    let addresses = |leases: &[kernel::Lease]| leases.iter().map(|lease| (lease.address, lease.names.clone())).collect::<Vec<_>>();
    assert_eq!(addresses(&kernel::leases(&pod)), addresses(&leases));
    connect(&pod, "198.51.100.7:443".parse().unwrap(), SECOND).expect("the old generation");
    assert_eq!(getent(&pod, "api.example.com").len(), 1);
    // Mended, the complaint is over.
    reload(&portreeve, &format!("{good}# mended\n"));
    assert!(portreeve.status()["last-error"].is_null(), "{:#}", portreeve.status());
}

#[test]
fn leases_that_still_hold_keep_their_time_and_the_others_go_in_the_same_step() {
    let (world, authority, pod) = world();
    let _targets = ["198.51.100.7:443", "198.51.100.8:443"].map(|address| TcpTarget::on(world.outside(), address, ""));
    let portreeve = Setup::new(&pod).policy("web.toml", &policy(&[("web", "api.example.com old.example.com", "443")])).start();
    assert_eq!((getent(&pod, "api.example.com").len(), getent(&pod, "old.example.com").len()), (1, 1));
    for address in ["198.51.100.7:443", "198.51.100.8:443"] {
        connect(&pod, address.parse().unwrap(), SECOND).expect("leased");
    }
    let batches = Batches::watch(&pod);
    // So that a lease that is started anew can be told from one that goes on.
    assert!(
        wait_until(LIMIT, || (kernel::lease(&pod, "web.web", "198.51.100.7")?.left + 3 * SECOND <= Duration::from_secs(3630))
            .then_some(()))
        .is_some()
    );
    let (before, at) = (kernel::lease(&pod, "web.web", "198.51.100.7").unwrap(), Instant::now());
    assert_eq!((before.given, before.names.as_slice()), (Duration::from_secs(3630), &["api.example.com".to_owned()][..]));
    reload(&portreeve, &policy(&[("web", "api.example.com new.example.com", "443")]));
    let (after, passed) = (kernel::lease(&pod, "web.web", "198.51.100.7").expect("it still holds"), at.elapsed());
    assert_eq!((&after.names, after.given), (&before.names, before.given));
    assert!(after.left <= before.left && after.left + passed + 2 * SECOND > before.left, "{before:?}, after {passed:?}: {after:?}");
    assert_eq!(kernel::lease(&pod, "web.web", "198.51.100.8"), None, "it does not hold any more");
    // What no packet sees yet may be laid out in a batch of its own; rules change in one, and elements go in no other.
    let rules = |batch: &&String| batch.contains("MSG_DELRULE") || batch.contains("MSG_NEWRULE");
    let seen = wait_until(LIMIT, || Some(batches.seen()).filter(|seen| seen.iter().any(|batch| rules(&batch)))).expect("a batch");
    let (steps, others): (Vec<&String>, Vec<&String>) = seen.iter().partition(rules);
    assert_eq!(steps.len(), 1, "one reload, one step: {seen:#?}");
    assert!(steps[0].contains("MSG_DELRULE") && steps[0].contains("MSG_NEWRULE") && steps[0].contains("MSG_DELSETELEM"), "{}", steps[0]);
    assert!(others.iter().all(|batch| !batch.contains("MSG_DELSETELEM")), "{others:#?}");
    connect(&pod, "198.51.100.7:443".parse().unwrap(), SECOND).expect("it still holds");
    connect(&pod, "198.51.100.8:443".parse().unwrap(), SECOND).expect_err("it does not hold any more");
    assert_eq!((authority.asked("api.example.com", Type::A), authority.asked("old.example.com", Type::A)), (1, 1), "nobody asked again");
}

#[test]
fn a_new_rule_that_also_permits_a_leased_name_opens_at_once_for_its_ports() {
    let (world, authority, pod) = world();
    let _targets = ["198.51.100.7:443", "198.51.100.7:8443"].map(|address| TcpTarget::on(world.outside(), address, ""));
    let portreeve = Setup::new(&pod).policy("web.toml", &policy(&[("web", "api.example.com", "443")])).start();
    assert_eq!(getent(&pod, "api.example.com").len(), 1);
    connect(&pod, "198.51.100.7:443".parse().unwrap(), SECOND).expect("leased");
    connect(&pod, "198.51.100.7:8443".parse().unwrap(), SECOND).expect_err("not yet");
    let first = kernel::lease(&pod, "web.web", "198.51.100.7").unwrap();
    reload(&portreeve, &policy(&[("web", "api.example.com", "443"), ("more", "*.example.com", "8443"), ("yet", "old.example.com", "22")]));
    connect(&pod, "198.51.100.7:8443".parse().unwrap(), SECOND).expect("the new rule, without a new question");
    connect(&pod, "198.51.100.7:443".parse().unwrap(), SECOND).expect("the old rule");
    connect(&pod, "198.51.100.7:22".parse().unwrap(), SECOND).expect_err("another name's port");
    assert_eq!(authority.asked("api.example.com", Type::A), 1);
    let second = kernel::lease(&pod, "web.more", "198.51.100.7").expect("a lease of the new rule");
    assert!(second.left <= first.left && second.names == first.names, "no longer than the name's: {first:?} {second:?}");
    // A rule on another name that has no lease opens nothing.
    assert_eq!(kernel::lease(&pod, "web.yet", "198.51.100.7"), None);
}
