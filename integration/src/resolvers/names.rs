//! The names that are asked for, the zone that has them, and the policy that permits them.
//!
//! Every name has an address of its own, and the names are spread over [`RULES`] wildcard rules: a rule holds so many leases and no more.

use std::fs;
use std::path::{Path, PathBuf};

/// Wildcard rules.
const RULES: usize = 8;
/// Names that are asked for again and again.
pub(super) const HOT: usize = 100;
/// Further keys of each rule with a wildcard, a line each: what a policy must say to permit this many names in a minute.
const BUDGET: &str = "budget = { names = 100000, bytes = 16777216 }\n";
/// The zone of it all; not below `test`, which Unbound answers by itself.
pub(super) const ZONE: &str = "bench.example";

/// The rule's name in the policy and its label in the names.
fn rule(number: usize) -> String {
    format!("w{}", number % RULES)
}

fn name(kind: &str, number: usize) -> String {
    format!("{kind}{number}.{}.{ZONE}", rule(number))
}

/// A name that every contestant can be asked for before the measurement.
pub(super) fn first_hot() -> String {
    name("h", 0)
}

/// Names for the questions one at a time.
pub(super) fn serial(count: usize) -> Vec<String> {
    (0..count).map(|number| name("s", number)).collect()
}

/// The records of all names: A, with a TTL that no run outlives.
pub(super) fn records(cold: usize, serial: usize) -> String {
    let kinds = [("h", HOT), ("s", serial), ("c", cold)];
    let all = kinds.iter().flat_map(|(kind, count)| (0..*count).map(move |number| (kind, number)));
    all.enumerate()
        .map(|(nth, (kind, number))| {
            let (high, middle, low) = (18 + nth / 50_000, nth / 250 % 200, 1 + nth % 250);
            format!("{}. 3600 IN A 198.{high}.{middle}.{low}\n", name(kind, number))
        })
        .collect()
}

/// The policy: the wildcards, and as many other hosts as make up `hosts`.
pub(super) fn policy(hosts: usize) -> String {
    let wildcard = |number| {
        let rule = rule(number);
        format!("[[allow]]\nname = \"{rule}\"\nhosts = [\"*.{rule}.{ZONE}\"]\nports = [\"443\"]\n{BUDGET}")
    };
    let others: String = (RULES..hosts).map(|number| format!("  \"host{number}.others.example\",\n")).collect();
    let wildcards: String = (0..RULES).map(wildcard).collect();
    format!("version = 1\nname = \"bench\"\n{wildcards}[[allow]]\nname = \"others\"\nhosts = [\n{others}]\nports = [\"443\"]\n")
}

/// What tells dnsmasq to put every answer into the set of its rule.
pub(super) fn nftsets() -> Vec<String> {
    (0..RULES).map(|number| format!("--nftset=/{0}.{ZONE}/4#inet#portreeve#bench.{0}_v4", rule(number))).collect()
}

/// The files that dnsperf reads.
#[derive(Debug)]
pub(super) struct Files {
    /// Names that are asked for again and again.
    pub(super) hot: PathBuf,
    /// Names that are asked for once.
    pub(super) cold: PathBuf,
    /// Names that no policy permits.
    pub(super) denied: PathBuf,
}

impl Files {
    /// # Panics
    /// When the file system refuses.
    pub(super) fn write(dir: &Path, cold: usize) -> Self {
        let write = |file: &str, names: &mut dyn Iterator<Item = String>| {
            let path = dir.join(file);
            fs::write(&path, names.map(|name| name + " A\n").collect::<String>()).expect("a file of names");
            path
        };
        Self {
            hot: write("hot", &mut (0..HOT).map(|number| name("h", number))),
            cold: write("cold", &mut (0..cold).map(|number| name("c", number))),
            denied: write("denied", &mut (0..HOT).map(|number| format!("d{number}.denied.example"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_an_address_of_its_own() {
        let records = records(20_000, 500);
        let addresses: std::collections::HashSet<&str> = records.lines().filter_map(|line| line.rsplit(' ').next()).collect();
        assert_eq!(addresses.len(), 20_600);
        assert!(addresses.iter().all(|address| address.parse::<std::net::Ipv4Addr>().is_ok()));
    }

    #[test]
    fn a_policy_has_as_many_hosts_as_it_is_told() {
        for hosts in [10, 10_000] {
            assert_eq!(policy(hosts).matches(".example\"").count(), hosts);
        }
    }
}
