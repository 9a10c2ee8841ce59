//! `portreeve policy learn`: the least policy that permits what flow logs show to have passed, with the numbers behind each line.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::IpAddr;

use policies::{AddressKind, Name, is_public_suffix};

use super::seen::{Seen, Target, Times, Workload};
use crate::cli::LearnArgs;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::record::Timestamp;

/// Expectations that are written along.
const EXPECTED: usize = 5;

/// Why no policy is written.
#[derive(Debug, thiserror::Error)]
pub enum LearnError {
    /// Nothing passed.
    #[error("no flow that passed is in these logs ({lines} lines of flow log, {foreign} others)")]
    Nothing {
        /// Lines of ours.
        lines: u64,
        /// Lines that are something else.
        foreign: u64,
    },
    /// A policy of two apps would give each what the other needs.
    #[error("the logs are of several workloads: {0} (choose one with --namespace and --app)")]
    Several(String),
    /// A name that no file can have.
    #[error("--name {0}: a policy's name has a-z, 0-9 and -, and at most 48 of them")]
    Name(String),
}

/// Runs it.
pub fn run(args: &LearnArgs) -> Result<Exit, Failure> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if args.name.is_empty() || args.name.len() > 48 || !args.name.chars().all(fits) {
        return Err(Failure::usage(LearnError::Name(args.name.clone())));
    }
    let seen = Seen::read(&args.flows)?;
    let learned = Learned::of(&seen, args).map_err(Failure::usage)?;
    output::line(learned.text(args, &seen).trim_end())?;
    for line in &learned.left_out {
        output::complain(&format!("portreeve: left out: {line}"));
    }
    Ok(Exit::Success)
}

/// What a policy is made of: for each set of ports the hosts and the ranges.
#[derive(Debug, Default)]
struct Learned {
    workload: Option<Workload>,
    /// By port: what was seen there.
    hosts: BTreeMap<String, BTreeMap<String, (u64, BTreeSet<String>)>>,
    ranges: BTreeMap<String, BTreeMap<String, u64>>,
    expected: BTreeSet<String>,
    left_out: Vec<String>,
    count: u64,
    refused: u64,
    span: Option<(Timestamp, Timestamp)>,
}

impl Learned {
    fn of(seen: &Seen, args: &LearnArgs) -> Result<Self, LearnError> {
        let wanted = |target: &&Target| {
            args.namespace.as_ref().is_none_or(|namespace| *namespace == target.workload.namespace)
                && args.app.as_ref().is_none_or(|app| *app == target.workload.app)
        };
        let workloads: BTreeSet<&Workload> = seen.flows.keys().filter(wanted).map(|target| &target.workload).collect();
        if workloads.len() > 1 {
            let all: Vec<String> = workloads.iter().take(10).map(ToString::to_string).collect();
            return Err(LearnError::Several(all.join(", ")));
        }
        let mut learned = Learned { workload: workloads.into_iter().next().cloned(), ..Learned::default() };
        for (target, times) in seen.flows.iter().filter(|(target, _)| wanted(target)) {
            match target.passed {
                true => learned.take(target, times, args),
                false => learned.refused += times.count,
            }
        }
        if learned.hosts.is_empty() && learned.ranges.is_empty() && learned.left_out.is_empty() {
            return Err(LearnError::Nothing { lines: seen.passed.lines, foreign: seen.passed.foreign });
        }
        if let Some(least) = args.wildcards {
            learned.group(least.max(2));
        }
        Ok(learned)
    }

    fn take(&mut self, target: &Target, times: &Times, args: &LearnArgs) {
        let Target { address, transport, port, .. } = target;
        let port = match target.protocol() {
            Some(policies::Protocol::Tcp) => port.to_string(),
            Some(policies::Protocol::Udp) => format!("{port}/udp"),
            Some(policies::Protocol::Icmp) => "icmp".to_owned(),
            None => return self.left_out.push(format!("{} flows to {address} by {transport}: no rule can open that", times.count)),
        };
        let kind = AddressKind::of(*address);
        if kind == Some(AddressKind::Metadata) && !args.include_metadata {
            let why = "a cloud's metadata address, which holds credentials (--include-metadata)";
            return self.left_out.push(format!("{} flows to {address} port {port}: {why}", times.count));
        }
        let names: Vec<&String> = target.names.iter().filter(|name| holds(name)).collect();
        if names.is_empty() {
            if !args.include_addresses && kind != Some(AddressKind::Metadata) {
                return self
                    .left_out
                    .push(format!("{} flows to {address} port {port}: no name led there (--include-addresses)", times.count));
            }
            *self.ranges.entry(port).or_default().entry(address.to_string()).or_default() += times.count;
        } else {
            // Of an address that several names share it is not known which was meant.
            for name in names {
                let (count, special) = self.hosts.entry(port.clone()).or_default().entry(name.clone()).or_default();
                *count += times.count;
                special.extend(kind.map(|_| whole(*address)));
                if self.expected.len() < EXPECTED {
                    let (bare, protocol) = port.split_once('/').unwrap_or((&port, "tcp"));
                    self.expected.insert(if bare == "icmp" { format!("{name}/icmp") } else { format!("{name}:{bare}/{protocol}") });
                }
            }
        }
        self.count += times.count;
        let (first, last) = self.span.unwrap_or((times.first, times.last));
        self.span = Some((first.min(times.first), last.max(times.last)));
    }

    /// Makes a wildcard of so many names below one parent; never below what strangers share.
    fn group(&mut self, least: usize) {
        for hosts in self.hosts.values_mut() {
            let mut below: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for host in hosts.keys() {
                let parent = Name::parse(host).ok().and_then(|name| name.parent());
                if let Some(parent) = parent.filter(|parent| !is_public_suffix(parent)) {
                    below.entry(parent.to_string()).or_default().push(host.clone());
                }
            }
            for (parent, names) in below.into_iter().filter(|(_, names)| names.len() >= least) {
                let mut all = (0, BTreeSet::new());
                for (count, special) in names.iter().filter_map(|name| hosts.remove(name)) {
                    all.0 += count;
                    all.1.extend(special);
                }
                hosts.insert(format!("*.{parent}"), all);
            }
        }
    }

    fn text(&self, args: &LearnArgs, seen: &Seen) -> String {
        let mut text = String::new();
        let of = self.workload.as_ref().map(ToString::to_string).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# Learned by `portreeve policy learn` from {} flows of {of}", self.count);
        if let Some((first, last)) = self.span {
            let _ = writeln!(text, "# between {first} and {last}. The number behind each line is how often it was used.");
        }
        if self.refused > 0 {
            let _ = writeln!(text, "# {} flows that were refused are not in it.", self.refused);
        }
        if seen.lost + seen.beyond > 0 {
            let _ = writeln!(
                text,
                "# The log is not whole: {} records of what was lost; what was needed then may be missing.",
                seen.lost + seen.beyond
            );
        }
        for line in &self.left_out {
            let _ = writeln!(text, "# Left out: {line}");
        }
        let _ = writeln!(text, "version = 1\nname = \"{}\"", args.name);
        if let Some(Workload { namespace, app, label }) = &self.workload
            && (!namespace.is_empty() || !app.is_empty())
        {
            let _ = writeln!(text, "\n[select]");
            if !namespace.is_empty() {
                let _ = writeln!(text, "namespaces = [{}]", quoted(namespace));
            }
            if !app.is_empty() {
                // A log of before the label was told: by the one that most charts of then have.
                let label = if label.is_empty() || label == "app" { "app".to_owned() } else { quoted(label) };
                let _ = writeln!(text, "labels = {{ {label} = {} }}", quoted(app));
            }
        }
        self.rules(&mut text);
        for target in &self.expected {
            let _ = writeln!(text, "\n[[expect]]\nallow = {}", quoted(target));
        }
        text
    }

    /// A rule for the hosts of each set of ports, so that none opens a port that it was not seen to use.
    fn rules(&self, text: &mut String) {
        let mut by_host: BTreeMap<&String, (BTreeSet<&String>, u64, BTreeSet<&String>)> = BTreeMap::new();
        for (port, hosts) in &self.hosts {
            for (host, (count, special)) in hosts {
                let entry = by_host.entry(host).or_default();
                entry.0.insert(port);
                entry.1 += count;
                entry.2.extend(special);
            }
        }
        let mut groups: BTreeMap<Alike<'_>, Vec<(&String, u64)>> = BTreeMap::new();
        for (host, (ports, count, special)) in by_host {
            groups.entry((ports.into_iter().collect(), special.into_iter().collect())).or_default().push((host, count));
        }
        for (number, ((ports, special), hosts)) in groups.iter().enumerate() {
            let _ = writeln!(text, "\n[[allow]]\nname = \"names-{}\"\nhosts = [", number + 1);
            for (host, count) in hosts {
                let _ = writeln!(text, "    {}, # {count}", quoted(host));
            }
            let _ = writeln!(text, "]\nports = [{}]", listed(ports.iter().copied()));
            if !special.is_empty() {
                let _ = writeln!(text, "private = [{}]", listed(special.iter().copied()));
            }
        }
        let mut by_ports: BTreeMap<&String, BTreeMap<&String, u64>> = BTreeMap::new();
        for (port, ranges) in &self.ranges {
            for (range, count) in ranges {
                *by_ports.entry(port).or_default().entry(range).or_default() += count;
            }
        }
        for (number, (port, ranges)) in by_ports.iter().enumerate() {
            let _ = writeln!(text, "\n[[allow]]\nname = \"addresses-{}\"\ncidrs = [", number + 1);
            for (range, count) in ranges {
                let _ = writeln!(text, "    {}, # {count}", quoted(range));
            }
            let _ = writeln!(text, "]\nports = [{}]", quoted(port));
        }
    }
}

/// What hosts of one rule have in common: ports, and special ranges.
type Alike<'a> = (Vec<&'a String>, Vec<&'a String>);

/// Whether a policy file can have the name.
fn holds(name: &str) -> bool {
    Name::parse(name).is_ok_and(|parsed| parsed.to_string() == name)
}

/// The range of one address.
fn whole(address: IpAddr) -> String {
    format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 })
}

/// As TOML writes a string; what is quoted here has neither quotes nor control characters, or they are escaped as in JSON.
fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

fn listed<'a>(texts: impl Iterator<Item = &'a String>) -> String {
    texts.map(|text| quoted(text)).collect::<Vec<_>>().join(", ")
}
