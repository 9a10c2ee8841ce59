//! Promise: a wildcard lets no more names out in a minute than its budget has; what is over it is refused, told and counted, and harms nothing else.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use integration::clients::dig;
use integration::world::RESOLVER;
use integration::{Authority, Pod, Portreeve, Setup, Watcher, World};

const TUNNEL: &str = include_str!("../attacks/tunnel.py");

const POLICY: &str = r#"
version = 1
name = "uploads"
[[allow]]
name = "small"
hosts = ["*.t.example.com", "exact.t.example.com"]
ports = ["443"]
budget = { names = 5 }
[[allow]]
name = "octets"
hosts = ["*.octets.example.com"]
ports = ["443"]
budget = { bytes = 300 }
[[allow]]
name = "labels"
hosts = ["*.labels.example.com"]
ports = ["443"]
budget = { label = 16 }
[[allow]]
name = "others"
hosts = ["*.example.net"]
ports = ["443"]
"#;

struct Scene {
    _authority: Authority,
    pod: Pod,
    _world: World,
}

fn scene() -> Scene {
    let world = World::new();
    let authority = world.authority();
    for zone in ["t.example.com", "octets.example.com", "labels.example.com", "example.net"] {
        authority.a(&format!("*.{zone}"), &["198.51.100.7"], 300);
        authority.set(&format!("*.{zone}"), integration::authority::Type::TXT, &["\"down\""], 300);
    }
    let pod = world.pod("app");
    Scene { _authority: authority, pod, _world: world }
}

impl Scene {
    fn hold(&self) -> Portreeve<'_> {
        Setup::new(&self.pod).policy("uploads.toml", POLICY).start()
    }

    /// Looks a name up: what it was told, and by what extended error.
    fn look_up(&self, name: &str) -> (String, Option<String>) {
        let found = dig(&self.pod, &[name]);
        (found.status.clone(), found.why().map(str::to_owned))
    }

    fn expect_found(&self, name: &str) {
        assert_eq!(self.look_up(name), ("NOERROR".to_owned(), None), "{name}");
    }

    fn expect_over(&self, name: &str, rule: &str) {
        let (status, why) = self.look_up(name);
        let why = why.unwrap_or_else(|| panic!("{name}: {status} without a reason"));
        assert_eq!(status, "NXDOMAIN", "{name}");
        assert!(why.contains("over the budget of its wildcard") && why.contains(rule), "{name}: {why}");
    }
}

/// Questions that left the pod, by the octets of their names.
fn went_up(watcher: &Watcher) -> BTreeSet<Vec<u8>> {
    let questions = watcher.left_pod(|packet| packet.destination_port == 53);
    questions.iter().map(|packet| packet.payload[12..].split(|octet| *octet == 0).next().unwrap().to_ascii_lowercase()).collect()
}

fn over_budget(portreeve: &Portreeve<'_>) -> u64 {
    portreeve.status()["queries"]["over-budget"].as_u64().expect("a counter")
}

#[test]
fn a_name_over_the_budget_is_refused_told_and_counted_and_the_others_go_on() {
    let scene = scene();
    let portreeve = scene.hold();
    let watcher = scene.pod.watch();
    for n in 0..5 {
        scene.expect_found(&format!("n{n}.t.example.com"));
    }
    watcher.forget();
    scene.expect_over("n5.t.example.com", "small");
    scene.expect_over("n6.a.b.t.example.com", "small");
    assert_eq!(went_up(&watcher).len(), 0);
    assert_eq!(over_budget(&portreeve), 2);
    let log = portreeve.log();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("n5.t.example.com")).collect();
    assert!(matches!(&told[..], [line] if line.contains("budget of 5 distinct names a minute") && line.contains("small")), "{told:?}");
    // What is known costs nothing, of whatever type; an exact host has no budget; other wildcards have their own.
    for name in ["n0.t.example.com", "N4.T.example.com", "exact.t.example.com", "n5.example.net", "n6.example.net"] {
        scene.expect_found(name);
    }
    assert_eq!(dig(&scene.pod, &["n0.t.example.com", "TXT"]).answers.len(), 1);
    // The budget of a changed policy begins anew.
    portreeve.swap_policies(&[("uploads.toml", &POLICY.replace("names = 5", "names = 6"))]);
    portreeve.wait_status("the larger budget", Duration::from_secs(10), |status| status["loads"] == 2);
    scene.expect_found("n5.t.example.com");
}

#[test]
fn octets_and_labels_are_bounded_as_names_are() {
    let scene = scene();
    let portreeve = scene.hold();
    let watcher = scene.pod.watch();
    // Names of 60 octets on the wire without the empty label of the root: 41 of them are the label and its length.
    let long = |n: u32| format!("{:a>40}.octets.example.com", n);
    let mut found = 0;
    while found < 20 && scene.look_up(&long(found)).0 == "NOERROR" {
        found += 1;
    }
    let sent: usize = went_up(&watcher).iter().map(Vec::len).sum();
    assert_eq!((found, sent), (5, 300), "names and their octets in all");
    scene.expect_over(&long(99), "octets");
    scene.expect_found("sixteen-octets-x.labels.example.com");
    scene.expect_over("seventeen-octets-.labels.example.com", "labels");
    scene.expect_over(&format!("a.{}.labels.example.com", "b".repeat(63)), "labels");
    assert!(went_up(&watcher).iter().all(|name| !name.windows(9).any(|part| part == b"seventeen")));
    assert!(over_budget(&portreeve) >= 4);
}

#[test]
fn a_tunnel_gets_out_what_the_budget_has_and_no_more() {
    let scene = scene();
    let portreeve = scene.hold();
    let watcher = scene.pod.watch();
    let begun = Instant::now();
    let run = |zone: &str| {
        let command = scene.pod.command("/usr/bin/python3").args(["-I", "-c", TUNNEL]).args([&RESOLVER.to_string(), zone, "2000"]);
        let said = command.within(Duration::from_secs(40)).output().expect_ok("tunnel.py");
        serde_json::from_str::<BTreeMap<String, u64>>(&said).expect("counts by code")
    };
    // 0 NOERROR, 3 NXDOMAIN.
    assert_eq!(run("t.example.com"), BTreeMap::from([("0".to_owned(), 5), ("3".to_owned(), 1995)]));
    assert_eq!(went_up(&watcher).len(), 5);
    assert_eq!(over_budget(&portreeve), 1995);
    // Without a budget of its own a wildcard has 600 names, and this many octets are not in 600 of them.
    watcher.forget();
    assert_eq!(run("example.net"), BTreeMap::from([("0".to_owned(), 600), ("3".to_owned(), 1400)]));
    assert_eq!(went_up(&watcher).len(), 600);
    // Told, but no more than 20 lines a second; what was left out is counted there.
    let took = begun.elapsed().as_secs();
    let log = portreeve.log();
    let lines = log.lines().filter(|line| line.contains("refused")).count();
    assert!(lines >= 1 && lines <= 20 * (took as usize + 2), "{lines} lines in {took} s");
    assert!(log.lines().any(|line| line.contains("budget of 5 distinct names a minute")));
    assert!(lines >= 2_000 || log.contains("left_out"), "what was not told is counted");
    scene.expect_found("exact.t.example.com");
}
