//! Promise: a policy learnt of what a pod did permits just that: replayed it refuses none of it, enforced it lets the same traffic pass and no
//! other, and a change of it can be tried against the log before it is applied.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use integration::clients::{connect, dig, echo};
use integration::product::portreeve;
use integration::{Authority, Pod, Setup, TcpTarget, UdpTarget, World};
use serde_json::Value;

const SECOND: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(15);

const AUDIT: &str = "version = 1\nname = \"nothing\"\nmode = \"audit\"\n";

/// Name, address, and port of TCP.
const VISITED: [(&str, &str, u16); 6] = [
    ("api.example.com", "198.51.100.7", 443),
    ("one.apis.example.net", "198.51.100.11", 443),
    ("two.apis.example.net", "198.51.100.12", 443),
    ("three.apis.example.net", "198.51.100.13", 443),
    ("db.example.org", "198.51.100.14", 5432),
    ("inner.example.com", "10.96.7.7", 443),
];

struct Scene {
    _authority: Authority,
    _targets: (Vec<TcpTarget>, UdpTarget),
    world: World,
}

fn scene() -> Scene {
    let world = World::new();
    let authority = world.authority();
    for (name, address, _) in VISITED {
        authority.a(name, &[address], 60);
    }
    authority.aaaa("six.example.com", &["2001:db8:ffff::6"], 60);
    authority.a("time.example.com", &["198.51.100.9"], 60);
    let tcp = ["[::]:443", "[::]:5432", "[::]:22", "169.254.169.254:80"].map(|address| TcpTarget::on(world.outside(), address, ""));
    let udp = UdpTarget::on(world.outside(), "198.51.100.9:123");
    Scene { _authority: authority, _targets: (tcp.into(), udp), world }
}

fn to(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

/// What the app does, and must be able to do again.
fn work(pod: &Pod) {
    for (name, address, port) in VISITED {
        assert_eq!(dig(pod, &[name]).status, "NOERROR", "{name}");
        drop(connect(pod, to(address, port), 5 * SECOND).unwrap_or_else(|error| panic!("{name}: {error}")));
    }
    assert_eq!(dig(pod, &["six.example.com", "AAAA"]).status, "NOERROR");
    drop(connect(pod, to("2001:db8:ffff::6", 443), 5 * SECOND).unwrap());
    assert_eq!(dig(pod, &["time.example.com"]).status, "NOERROR");
    assert_eq!(echo(pod, to("198.51.100.9", 123), b"what time", 5 * SECOND).unwrap(), b"what time");
}

#[test]
fn what_was_learnt_of_an_audit_permits_that_and_no_more() {
    let scene = scene();
    let pod = scene.world.pod("audited");
    let audited = Setup::new(&pod).policy("nothing.toml", AUDIT).namespace("shop").labels(&[("app", "cart")]).start();
    work(&pod);
    // What nobody should learn unasked.
    drop(connect(&pod, to("169.254.169.254", 80), 5 * SECOND).unwrap());
    drop(connect(&pod, to("198.51.100.77", 22), 5 * SECOND).unwrap());
    audited.wait_flow("the last", LIMIT, |line| line["destination.address"] == "198.51.100.77");
    let log = pod.files().join("flows.jsonl");
    // As a node's log files have it.
    let lines: String = audited.flow_log().iter().map(|line| format!("2026-11-26T08:00:00.1Z stdout F {line}\n")).collect();
    fs::write(&log, lines).unwrap();
    let log = log.display().to_string();

    let learnt = portreeve(&pod).args(["policy", "learn", &log]).output();
    assert!(learnt.ok(), "{}", learnt.stderr);
    let policy = &learnt.stdout;
    for left_out in ["169.254.169.254 port 80: a cloud's metadata address", "198.51.100.77 port 22: no name led there"] {
        assert!(learnt.stderr.contains(left_out) && policy.contains(left_out), "{left_out}: {}\n{policy}", learnt.stderr);
    }
    assert!(policy.contains("namespaces = [\"shop\"]") && policy.contains("labels = { app = \"cart\" }"), "{policy}");
    let file = pod.files().join("learned.toml");
    fs::write(&file, policy).unwrap();
    let file = file.display().to_string();
    for check in ["check", "test"] {
        let said = portreeve(&pod).args(["policy", check, &file]).output();
        assert!(said.ok(), "policy {check}: {}{}\n{policy}", said.stdout, said.stderr);
    }
    // The two that were left out are what it would refuse.
    let replayed = portreeve(&pod).args(["policy", "replay", "--json", &file, &log]).output();
    let told: Value = serde_json::from_str(&replayed.stdout).unwrap();
    let refused: Vec<&str> = told["newly-refused"].as_array().unwrap().iter().map(|change| change["address"].as_str().unwrap()).collect();
    assert_eq!((replayed.code, refused), (1, vec!["169.254.169.254", "198.51.100.77"]), "{}", replayed.stdout);
    let all = portreeve(&pod).args(["policy", "learn", "--include-addresses", "--include-metadata", &log]).output().expect_ok("learn");
    let whole = pod.files().join("whole.toml");
    fs::write(&whole, all).unwrap();
    let replayed = portreeve(&pod).args(["policy", "replay", &whole.display().to_string(), &log]).output();
    assert!(replayed.ok() && replayed.stdout.starts_with("0 flows newly refused, 0 newly permitted"), "{}", replayed.stdout);

    let held = scene.world.pod("held");
    let enforced = Setup::new(&held).policy("learned.toml", policy).namespace("shop").labels(&[("app", "cart")]).start();
    work(&held);
    assert_eq!(enforced.status()["mode"], "enforce");
    assert_eq!(dig(&held, &["other.example.com"]).status, "NXDOMAIN");
    for (address, port) in [("198.51.100.77", 22), ("169.254.169.254", 80), ("198.51.100.7", 5432)] {
        assert!(connect(&held, to(address, port), 5 * SECOND).is_err(), "{address}:{port}");
    }
}

#[test]
fn a_policy_selects_by_the_label_that_the_pods_have() {
    let scene = scene();
    let pod = scene.world.pod("audited");
    let labels = [("app.kubernetes.io/name", "cart")];
    let audited = Setup::new(&pod).policy("nothing.toml", AUDIT).namespace("shop").labels(&labels).start();
    work(&pod);
    let last = audited.wait_flow("the last", LIMIT, |line| line["destination.port"] == 123);
    assert_eq!((&last["service.name"], &last["service.name.label"]), (&Value::from("cart"), &Value::from("app.kubernetes.io/name")));
    let log = pod.files().join("flows.jsonl");
    fs::write(&log, audited.flow_log().iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let learnt = portreeve(&pod).args(["policy", "learn", &log.display().to_string()]).output().expect_ok("learn");
    assert!(learnt.contains("labels = { \"app.kubernetes.io/name\" = \"cart\" }"), "{learnt}");
    let held = scene.world.pod("held");
    let enforced = Setup::new(&held).policy("learned.toml", &learnt).namespace("shop").labels(&labels).start();
    assert_eq!(enforced.status()["policies"][0]["selects-this-pod"], true, "{:#}", enforced.status());
    work(&held);
    // A policy that selects by another label would leave the pod without one: the replay says so.
    let other = pod.files().join("other.toml");
    fs::write(&other, learnt.replace("\"app.kubernetes.io/name\"", "app")).unwrap();
    let replayed = portreeve(&pod).args(["policy", "replay", &other.display().to_string(), &log.display().to_string()]).output();
    assert_eq!(replayed.code, 1, "{}", replayed.stdout);
}

#[test]
fn names_become_wildcards_only_when_asked_and_a_narrower_policy_is_told_before_it_is_applied() {
    let scene = scene();
    let pod = scene.world.pod("audited");
    let audited = Setup::new(&pod).policy("nothing.toml", AUDIT).namespace("shop").start();
    work(&pod);
    audited.wait_flow("the last", LIMIT, |line| line["destination.port"] == 123);
    let log = pod.files().join("flows.jsonl");
    let lines: String = audited.flow_log().iter().map(|line| format!("{line}\n")).collect();
    fs::write(&log, format!("an app's own line\n{lines}")).unwrap();
    let log = log.display().to_string();
    let plain = portreeve(&pod).args(["policy", "learn", &log]).output().expect_ok("learn");
    assert!(!plain.contains('*') && plain.contains("\"two.apis.example.net\", # 1"), "{plain}");
    let grouped = portreeve(&pod).args(["policy", "learn", "--wildcards", &log]).output().expect_ok("learn");
    assert!(grouped.contains("\"*.apis.example.net\", # 3") && !grouped.contains("\"two.apis.example.net\""), "{grouped}");
    let narrower = plain.replace("db.example.org", "other.example.org");
    let file = pod.files().join("narrower.toml");
    fs::write(&file, narrower).unwrap();
    let replayed = portreeve(&pod).args(["policy", "replay", &file.display().to_string(), &log]).output();
    assert_eq!(replayed.code, 1, "{}{}", replayed.stdout, replayed.stderr);
    let wanted = [
        "would newly refuse:",
        "db.example.org",
        "5432/tcp",
        "no rule permits db.example.org",
        "1 flows newly refused",
        "1 lines are no flow log",
    ];
    for part in wanted {
        assert!(replayed.stdout.contains(part), "{part}: {}", replayed.stdout);
    }
    let nothing = pod.files().join("empty.jsonl");
    fs::write(&nothing, "nonsense\n").unwrap();
    let wrong = portreeve(&pod).args(["policy", "learn", &nothing.display().to_string()]).output();
    assert_eq!(wrong.code, 2);
    assert!(
        wrong.stderr.starts_with("portreeve: no flow that passed is in these logs (0 lines of flow log, 1 others)"),
        "{}",
        wrong.stderr
    );
    let wrong = portreeve(&pod).args(["policy", "learn", "/nowhere"]).output();
    assert!(wrong.code == 2 && wrong.stderr.contains("cannot read the flow log /nowhere"), "{}", wrong.stderr);
}
