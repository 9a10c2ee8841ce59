//! Promise: of a scripted hour (names by the hundred, shared addresses, leases that end, refusals, reloads, audit, UDP, IPv6, bursts of two
//! thousand connections a second) every flow that was on the wire is told with the right name, rule and cause, and nothing else is; a
//! policy learnt of it refuses nothing of it.
//!
//! # Limitations
//! The hour is played as fast as its leases allow; `hour --minutes 60` plays it in an hour. Connection entries are ended by `conntrack -D`.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout, reason = "tests")]

use std::fs;
use std::time::Duration;

use integration::clients::{ask, connect, echo};
use integration::hour::{Expected, Hour, Stage, Wire, check};
use integration::product::portreeve;
use integration::world::RESOLVER;
use integration::{Pod, Portreeve, Setup, World, wait_until};
use serde_json::{Value, json};

const SECOND: Duration = Duration::from_secs(1);
const ROUNDS: u32 = 12;
const BURST: u32 = 2_000;

fn start<'a>(pod: &'a Pod, policy: &str) -> Portreeve<'a> {
    Setup::new(pod).policy("shop.toml", policy).namespace("shop").labels(&[("app", "cart")]).start()
}

#[test]
fn alone_every_flow_of_an_hour_is_told_right_and_a_policy_learnt_of_it_refuses_none() {
    let world = World::new();
    let authority = world.authority();
    let pod = world.pod("app");
    let portreeve = start(&pod, &Stage::Wide.policy());
    let watcher = pod.watch();
    let mut hour = Hour::new(&pod, &world, &authority, &portreeve);
    for round in 0..ROUNDS {
        hour.play(round, if round % 4 == 1 { BURST } else { 0 });
    }
    let findings = || check(&portreeve.flow_log(), hour.expected(), &Wire::of(&watcher, &pod));
    let well = wait_until(20 * SECOND, || findings().is_well().then_some(()));
    assert!(well.is_some(), "{}{}", findings(), portreeve.log());
    let log = portreeve.flow_log();
    println!("{} flows and questions of {} kinds in {} lines", hour.expected().total(), hour.expected().counts().len(), log.len());
    the_checker_sees_what_is_wrong(&log, hour.expected(), &Wire::of(&watcher, &pod));

    let file = pod.files().join("hour.jsonl");
    fs::write(&file, log.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let file = file.display().to_string();
    let learnt = portreeve_says(&pod, &["policy", "learn", "--include-addresses", &file]);
    let policy = pod.files().join("learned.toml");
    fs::write(&policy, &learnt).unwrap();
    let replayed = portreeve_says(&pod, &["policy", "replay", &policy.display().to_string(), &file]);
    assert!(replayed.starts_with("0 flows newly refused"), "{replayed}");

    let held = world.pod("held");
    let enforced = start(&held, &learnt);
    assert_eq!(enforced.status()["mode"], "enforce", "{learnt}");
    let again = hour.passed();
    let _udp: Vec<_> = again
        .iter()
        .filter(|passed| passed.udp)
        .map(|passed| passed.to)
        .collect::<std::collections::BTreeSet<_>>()
        .into_iter()
        .map(|to| integration::UdpTarget::on(world.outside(), &to.to_string()))
        .collect();
    for passed in again {
        if let Some((name, record_type)) = &passed.asked {
            assert!(ask(held.namespace(), (RESOLVER, 53).into(), name, *record_type, 5 * SECOND).is_some(), "{name}");
        }
        let through = if passed.udp {
            echo(&held, passed.to, b"again", 5 * SECOND).map(drop)
        } else {
            connect(&held, passed.to, 5 * SECOND).map(drop)
        };
        through.unwrap_or_else(|error| panic!("{passed:?}: {error}\n{learnt}"));
    }
    println!("{} connections and exchanges pass again under the learned policy of {} lines", again.len(), learnt.lines().count());
}

fn portreeve_says(pod: &Pod, args: &[&str]) -> String {
    let said = portreeve(pod).args(args.iter().copied()).output();
    assert!(said.ok(), "{args:?}: {}{}", said.stdout, said.stderr);
    said.stdout
}

/// The log of the hour with one thing wrong: each must be found.
fn the_checker_sees_what_is_wrong(log: &[Value], expected: &Expected, wire: &Wire) {
    let spoiled = |what: &str, fits: &dyn Fn(&Value) -> bool, spoil: &dyn Fn(&mut Value)| {
        let mut log = log.to_vec();
        let line = log.iter_mut().find(|line| fits(line)).unwrap_or_else(|| panic!("{what}: no such line"));
        spoil(line);
        let findings = check(&log, expected, wire);
        assert!(!findings.is_well(), "{what} is not found");
    };
    let event = |of: &'static str| move |line: &Value| line["flow.event"] == of;
    let named = |line: &Value| line["flow.event"] == "began" && line["flow.names"].is_array();
    spoiled("a wrong name", &named, &|line| line["flow.names"] = json!(["other.example.com"]));
    spoiled("a name too many", &named, &|line| line["flow.names"].as_array_mut().unwrap().push(json!("zz.example.com")));
    spoiled("a wrong rule", &named, &|line| line["flow.rule"] = json!("other"));
    spoiled("one flow more", &named, &|line| line["flow.count"] = json!(line["flow.count"].as_u64().unwrap() + 1));
    spoiled("a wrong cause", &event("refused"), &|line| line["flow.cause"] = json!({"type": "no-policy"}));
    spoiled("a refusal that is not told", &event("refused"), &|line| *line = json!({}));
    spoiled("an end that is not told", &event("ended"), &|line| *line = json!({}));
    spoiled("a wrong volume", &event("ended"), &|line| line["flow.bytes.received"] = json!(1));
    let ended_lease = |line: &Value| line["flow.cause"]["type"] == "lease-ended";
    spoiled("another name of an ended lease", &ended_lease, &|line| line["flow.cause"]["name"] = json!("other.example.com"));
    let question = |line: &Value| line["event.name"] == "portreeve.dns" && line["dns.answers"].is_array();
    spoiled("a wrong answer", &question, &|line| line["dns.answers"] = json!(["198.51.100.1"]));
    spoiled("a loss", &question, &|line| line["lost.count"] = json!(1));
}
