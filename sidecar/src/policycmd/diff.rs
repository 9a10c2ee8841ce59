//! `portreeve policy diff`: what a change of policy changes for names, addresses and flows, not for its text.
//!
//! Which rules speak of a name hangs only on which patterns of either policy match it. So each exact host, and a fresh name below each
//! wildcard, stand for all names there are; and of addresses one of each stretch between two ends of ranges.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use policies::{Grant, HostPattern, Mode, Name, Pod, Policy, PolicyFile, Ports, Surroundings, Verdict};
use serde::Serialize;

use super::files::{self, Files};
use crate::ask::table::Table;
use crate::cli::DiffArgs;
use crate::exit::{Exit, Failure};
use crate::loader::today;
use crate::output;

/// A label that no file has by chance: a name below a wildcard that no other pattern speaks of.
const FRESH: &str = "portreeve-diff-of-a-fresh-name";

/// Addresses that stand for the kinds that a rule may have a right to.
const SPECIAL: [(&str, IpAddr); 3] = [
    ("private addresses (10.0.0.0/8)", IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))),
    ("carrier-grade addresses (100.64.0.0/10)", IpAddr::V4(Ipv4Addr::new(100, 64, 0, 1))),
    ("unique local addresses (fc00::/7)", IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1))),
];

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Difference {
    /// For which pods; empty where the files select all.
    pod: String,
    /// `permits`, `refuses` or `changes`.
    what: &'static str,
    /// The hosts, the range, or what else it is about.
    of: String,
    /// The ports, or before and after.
    how: String,
}

#[derive(Debug, Serialize)]
struct Report {
    differences: Vec<Difference>,
}

/// Runs it; exit 1 if there is a difference.
pub fn run(args: &DiffArgs) -> Result<Exit, Failure> {
    let (old, new) = (Files::read(std::slice::from_ref(&args.old))?, Files::read(std::slice::from_ref(&args.new))?);
    let (old, new) = (old.whole_or_report()?, new.whole_or_report()?);
    let pods = match files::pod(&args.pod)? {
        Some(pod) => vec![pod],
        None => selected(old, new),
    };
    let mut differences = Vec::new();
    for pod in pods {
        let described = described(&pod);
        let (before, after) = (compile(old, &pod)?, compile(new, &pod)?);
        let mut found = compare(old, new, &before, &after);
        found.iter_mut().for_each(|difference| difference.pod.clone_from(&described));
        differences.extend(found);
    }
    let report = Report { differences };
    if args.json {
        output::json(&report)?;
    } else {
        output::line(&report.text())?;
    }
    Ok(if report.differences.is_empty() { Exit::Success } else { Exit::Refused })
}

/// A pod of each selection that either side makes.
fn selected(old: &[PolicyFile], new: &[PolicyFile]) -> Vec<Pod> {
    let mut pods: Vec<Pod> = Vec::new();
    for file in old.iter().chain(new) {
        let pod = Pod { name: String::new(), ..file.selected_pod() };
        if !pods.contains(&pod) {
            pods.push(pod);
        }
    }
    pods
}

fn described(pod: &Pod) -> String {
    let labels = pod.labels.iter().map(|(key, value)| format!("{key}={value}"));
    let namespace = (!pod.namespace.is_empty()).then(|| format!("namespace {}", pod.namespace));
    namespace.into_iter().chain(labels).collect::<Vec<_>>().join(", ")
}

fn compile(files: &[PolicyFile], pod: &Pod) -> Result<Policy, Failure> {
    Policy::compile(files, pod, &Surroundings::stand_in(today())).map_err(|problems| files::broken(&problems))
}

fn compare(old: &[PolicyFile], new: &[PolicyFile], before: &Policy, after: &Policy) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut note = |what, of: String, how: String| found.push(Difference { pod: String::new(), what, of, how });
    let mode = |policy: &Policy| if policy.mode() == Mode::Audit { "audit" } else { "enforce" };
    if before.mode() != after.mode() {
        note("changes", "mode".to_owned(), format!("{} -> {}", mode(before), mode(after)));
    }
    let presets = |files: &[PolicyFile]| -> BTreeSet<&'static str> {
        files.iter().flat_map(PolicyFile::presets).map(|preset| preset.name()).collect()
    };
    let (was, is) = (presets(old), presets(new));
    is.difference(&was).for_each(|name| note("permits", format!("preset {name}"), String::new()));
    was.difference(&is).for_each(|name| note("refuses", format!("preset {name}"), String::new()));
    for pattern in patterns(old.iter().chain(new)) {
        let Some(name) = sample(&pattern) else { continue };
        let (was, is) = (OfName::of(before, &name), OfName::of(after, &name));
        changed(&was.ports, &is.ports, &pattern.to_string(), &mut note);
        for (kind, (had, has)) in SPECIAL.iter().zip(was.special.iter().zip(is.special)) {
            // Where there was no grant, or is none, the ports say all.
            if *had != has && !was.ports.is_empty() && !is.ports.is_empty() {
                note(if has { "permits" } else { "refuses" }, pattern.to_string(), kind.0.to_owned());
            }
        }
        if was.terms != is.terms && !was.ports.is_empty() && !is.ports.is_empty() {
            note("changes", pattern.to_string(), format!("{} -> {}", was.terms, is.terms));
        }
    }
    for stretch in stretches(old.iter().chain(new)) {
        changed(&of_address(before, stretch.0), &of_address(after, stretch.0), &shown(stretch), &mut note);
        let held = |policy: &Policy| denied(policy, stretch.0);
        let (was, is) = (held(before), held(after));
        changed(&is, &was, &format!("{} whatever name leads there", shown(stretch)), &mut note);
    }
    found
}

/// Notes the ports that are permitted now and were not, and the other way round.
fn changed(was: &Ports, is: &Ports, of: &str, note: &mut impl FnMut(&'static str, String, String)) {
    let (more, less) = (is.subtract(was), was.subtract(is));
    if !more.is_empty() {
        note("permits", of.to_owned(), more.to_string());
    }
    if !less.is_empty() {
        note("refuses", of.to_owned(), less.to_string());
    }
}

/// What a policy says of a name.
struct OfName {
    ports: Ports,
    special: [bool; 3],
    /// How long its leases last, what becomes of its flows, and what else is said of it.
    terms: String,
}

impl OfName {
    fn of(policy: &Policy, name: &Name) -> Self {
        let grant = match policy.judge(name) {
            Verdict::Granted(grant) => grant,
            Verdict::Refused(_) => return OfName { ports: Ports::none(), special: [false; 3], terms: String::new() },
        };
        let openings = || grant.openings().iter().filter_map(|index| policy.opening(*index));
        let ports = openings().fold(Ports::none(), |all, opening| all.union(&opening.ports));
        let special = SPECIAL.map(|(_, address)| grant.permits_address(address).is_ok());
        let mut terms: BTreeSet<String> = openings()
            .map(|opening| {
                let lease = opening.lease;
                let seconds = [lease.min, lease.max, lease.grace].map(|span| span.as_secs());
                let revoke = serde_json::to_value(opening.revoke).unwrap_or_default();
                format!("lease {} to {} s and {} s, revoke {}", seconds[0], seconds[1], seconds[2], revoke.as_str().unwrap_or_default())
            })
            .collect();
        terms.insert(budget(&grant));
        let records = serde_json::to_value(grant.https_records()).unwrap_or_default();
        terms.insert(format!("https-records {}", records.as_str().unwrap_or_default()));
        terms.insert(format!("srv-targets {}", grant.srv_targets()));
        OfName { ports, special, terms: terms.into_iter().collect::<Vec<_>>().join("; ") }
    }
}

fn budget(grant: &Grant) -> String {
    grant.budget().map_or_else(
        || "no budget".to_owned(),
        |budget| format!("budget {} names, {} bytes, label {}", budget.names, budget.bytes, budget.label),
    )
}

/// Every pattern that either side names.
fn patterns<'a>(files: impl Iterator<Item = &'a PolicyFile>) -> BTreeSet<HostPattern> {
    let of_file = |file: &'a PolicyFile| {
        let allows = file.allows().iter().flat_map(|allow| &allow.hosts);
        let denies = file.denies().iter().flat_map(|deny| &deny.hosts);
        allows.chain(denies).chain(file.limits().iter().flat_map(|limit| &limit.hosts)).cloned()
    };
    files.flat_map(of_file).collect()
}

fn sample(pattern: &HostPattern) -> Option<Name> {
    match pattern {
        HostPattern::Exact(name) => Some(name.clone()),
        HostPattern::Below(zone) => Name::parse(&format!("{FRESH}.{zone}")).ok(),
    }
}

/// A stretch of addresses of one family, first and last.
type Stretch = (IpAddr, IpAddr);

/// Between each two ends of ranges that either side names.
fn stretches<'a>(files: impl Iterator<Item = &'a PolicyFile>) -> Vec<Stretch> {
    let of_file = |file: &'a PolicyFile| {
        let allows = file.allows().iter().flat_map(|allow| &allow.cidrs);
        let denies = file.denies().iter().flat_map(|deny| &deny.cidrs);
        allows.chain(denies).chain(file.limits().iter().flat_map(|limit| &limit.cidrs)).copied()
    };
    let ranges: Vec<IpNet> = files.flat_map(of_file).collect();
    let mut found = Vec::new();
    for v4 in [true, false] {
        let own = ranges.iter().filter(|range| range.addr().is_ipv4() == v4);
        let ends = own.flat_map(|range| [number(range.network()), number(range.broadcast()).saturating_add(1)]);
        let ends: BTreeSet<u128> = ends.collect();
        let address = |number: u128| -> IpAddr {
            if v4 { Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).into() } else { Ipv6Addr::from(number).into() }
        };
        let ends: Vec<u128> = ends.into_iter().collect();
        found.extend(ends.iter().zip(ends.iter().skip(1)).map(|(first, next)| (address(*first), address(next - 1))));
    }
    found
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

fn shown((first, last): Stretch) -> String {
    if first == last { first.to_string() } else { format!("{first} - {last}") }
}

/// The ports that are open at an address without any name.
fn of_address(policy: &Policy, address: IpAddr) -> Ports {
    let open = policy.openings().iter().filter(|opening| opening.cidrs.iter().any(|range| range.contains(&address)));
    open.fold(Ports::none(), |all, opening| all.union(&opening.ports)).subtract(&denied(policy, address))
}

/// The ports that are closed at an address, whatever leads there.
fn denied(policy: &Policy, address: IpAddr) -> Ports {
    let denies = policy.denies().iter().filter(|deny| deny.ranges.iter().any(|range| range.contains(&address)));
    denies.fold(Ports::none(), |all, deny| all.union(deny.ports.as_ref().unwrap_or(&Ports::all())))
}

impl Report {
    fn text(&self) -> String {
        if self.differences.is_empty() {
            return "no difference in meaning".to_owned();
        }
        let mut table = Table::new(&["", "of", "ports, or what", "for pods with"]);
        for Difference { pod, what, of, how } in &self.differences {
            let sign = match *what {
                "permits" => "+ permits",
                "refuses" => "- refuses",
                other => other,
            };
            let pod = if pod.is_empty() { "any labels" } else { pod };
            table.row([sign, of, how, pod].map(str::to_owned).to_vec());
        }
        table.render()
    }
}

#[cfg(test)]
mod tests;
