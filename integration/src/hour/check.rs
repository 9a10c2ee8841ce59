//! The checker: the log against the script and against the wire.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use serde_json::{Value, json};

use super::wire::Wire;
use super::{Expected, Key};
use crate::watcher::MARKS;

/// What is wrong, a sentence each; nothing is well.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// Told, and the script did not do it, or not so often.
    pub wrong: Vec<String>,
    /// Done by the script, and not told.
    pub missing: Vec<String>,
    /// What the log itself says was lost.
    pub lost: u64,
    /// Where log and wire differ.
    pub wire: Vec<String>,
    /// Where ends differ from beginnings.
    pub ends: Vec<String>,
}

impl Findings {
    /// Whether the log is right and whole.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.lost == 0 && [&self.wrong, &self.missing, &self.wire, &self.ends].iter().all(|list| list.is_empty())
    }
}

impl std::fmt::Display for Findings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = format!("{} lost\n", self.lost);
        for (what, list) in [("wrong", &self.wrong), ("missing", &self.missing), ("wire", &self.wire), ("ends", &self.ends)] {
            for line in list.iter().take(12) {
                let _infallible = writeln!(text, "{what}: {line}");
            }
            if list.len() > 12 {
                let _infallible = writeln!(text, "{what}: and {} more", list.len() - 12);
            }
        }
        f.write_str(&text)
    }
}

/// Compares. Everything must have been told when this is called.
#[must_use]
pub fn check(log: &[Value], expected: &Expected, wire: &Wire) -> Findings {
    // The watcher's own marks come in from outside; they are no part of the script.
    let marks = json!(MARKS.ip());
    let log: Vec<&Value> = log.iter().filter(|line| line["destination.address"] != marks).collect();
    let mut findings = Findings { lost: log.iter().filter_map(|line| line["lost.count"].as_u64()).sum(), ..Findings::default() };
    let told = sum(log.iter().filter_map(|line| Some((Key::of(line)?, count(line)))));
    for (key, told) in &told {
        let wanted = expected.counts().get(key).copied().unwrap_or(0);
        if *told > wanted {
            findings.wrong.push(format!("told {told} times instead of {wanted}: {key}"));
        }
    }
    for (key, wanted) in expected.counts() {
        let told = told.get(key).copied().unwrap_or(0);
        if told < *wanted {
            findings.missing.push(format!("told {told} times instead of {wanted}: {key}"));
        }
    }
    on_the_wire(&log, wire, &mut findings);
    ends(&log, wire, &mut findings);
    findings
}

/// Every flow on the wire began in the log, and the other way round; what was refused is not there.
fn on_the_wire(log: &[&Value], wire: &Wire, findings: &mut Findings) {
    let begun = log.iter().filter(|line| line["flow.event"] == "began");
    let told = sum(begun.map(|line| (place(line), count(line))));
    let seen = wire.flows();
    for (place, seen) in &seen {
        let told = told.get(place).copied().unwrap_or(0);
        if told != *seen {
            findings.wire.push(format!("{seen} flows on the wire, {told} told: {place:?}"));
        }
    }
    for (place, told) in told.iter().filter(|(place, _)| !seen.contains_key(place)) {
        findings.wire.push(format!("{told} told, none on the wire: {place:?}"));
    }
}

/// Each flow that began has ended as what it began, with the volumes of the wire.
fn ends(log: &[&Value], wire: &Wire, findings: &mut Findings) {
    let of = |event: &str| {
        let lines: Vec<&Value> = log.iter().copied().filter(|line| line["flow.event"] == event).collect();
        sum(lines.into_iter().map(|line| (Key::of_life(line), count(line))))
    };
    let (began, ended) = (of("began"), of("ended"));
    for key in began.keys().chain(ended.keys().filter(|key| !began.contains_key(key))) {
        let (began, ended) = (began.get(key).copied().unwrap_or(0), ended.get(key).copied().unwrap_or(0));
        if began != ended {
            findings.ends.push(format!("{began} began, {ended} ended: {key}"));
        }
    }
    let volume = |field: &str| {
        let lines: Vec<&Value> = log.iter().copied().filter(|line| line["flow.event"] == "ended").collect();
        sum(lines.into_iter().map(|line| (place(line), line[field].as_u64().unwrap_or(0))))
    };
    let told = ["flow.bytes.sent", "flow.bytes.received", "flow.packets.sent", "flow.packets.received"].map(volume);
    for (place, seen) in wire.volumes() {
        let told = [0, 1, 2, 3].map(|field| told[field].get(&place).copied().unwrap_or(0));
        if told != seen {
            findings.ends.push(format!("bytes and packets {seen:?} on the wire, {told:?} told: {place:?}"));
        }
    }
}

/// A place as log and wire both know it: protocol, destination, port.
pub(super) type Place = (String, IpAddr, u16);

fn place(line: &Value) -> Place {
    let address = line["destination.address"].as_str().and_then(|text| text.parse().ok()).expect("an address");
    let port = line["destination.port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(0);
    (line["network.transport"].as_str().unwrap_or_default().to_owned(), address, port)
}

fn count(line: &Value) -> u64 {
    line["flow.count"].as_u64().or_else(|| line["dns.count"].as_u64()).unwrap_or(0)
}

fn sum<K: Ord>(pairs: impl Iterator<Item = (K, u64)>) -> BTreeMap<K, u64> {
    let mut sums = BTreeMap::new();
    for (key, number) in pairs {
        *sums.entry(key).or_default() += number;
    }
    sums
}
