//! Ranges that are open without a name, and ranges that are held whatever is open.
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{limits::Group, rules::Rule};
use crate::{
    address::METADATA,
    file::PolicyFile,
    opening::RangeDeny,
    ports::{PortRange, Ports, Protocol},
    surroundings::Surroundings,
};

/// The ranges of a rule inside the limits, each with the ports that are left of the rule's.
///
/// Several limits can hold one range on different ports, so ranges with the same ports come in any number and overlap across ports.
pub(super) fn pieces(rule: &Rule, limits: &[Group<'_>]) -> Vec<(Ports, IpNet)> {
    let mut pieces: Vec<(Ports, IpNet)> = rule.cidrs.iter().map(|range| (rule.ports.clone(), *range)).collect();
    for group in limits {
        let mut held: Vec<(Ports, IpNet)> = Vec::new();
        for (ports, range) in &pieces {
            for limit in group.limits {
                let wholly = limit.is_of_ports_alone() || rule.preset.is_some_and(|preset| limit.presets.contains(&preset));
                let within = limit.cidrs.iter().filter_map(|held| overlap(held, range));
                let ports = limit.ports.as_ref().map_or_else(|| ports.clone(), |held| held.intersect(ports));
                if ports.is_empty() {
                    continue;
                }
                held.extend(within.chain(wholly.then_some(*range)).map(|range| (ports.clone(), range)));
            }
        }
        held.sort_unstable();
        held.dedup();
        pieces = held;
    }
    pieces
}

/// What two ranges share: the inner one, if one is inside the other.
fn overlap(a: &IpNet, b: &IpNet) -> Option<IpNet> {
    if a.contains(b) { Some(*b) } else { b.contains(a).then_some(*a) }
}

/// What the files deny, and what is built in.
pub(super) fn denies(files: &[&PolicyFile], rules: &[Rule], surroundings: &Surroundings) -> Vec<RangeDeny> {
    let of_files = files.iter().flat_map(|file| file.denies.iter().map(move |deny| (file, deny)));
    let mut denies: Vec<RangeDeny> = of_files
        .filter(|(_, deny)| !deny.cidrs.is_empty())
        .map(|(file, deny)| RangeDeny {
            ranges: deny.cidrs.iter().flat_map(|range| with_nat64(*range)).collect(),
            ports: deny.ports.clone(),
            policy: Arc::from(file.name()),
            file: Arc::from(file.path()),
            line: deny.line,
        })
        .collect();
    denies.extend(built_in(rules, surroundings));
    denies
}

/// The metadata addresses that no rule lists. One that is a resolver too (Azure's is) is held on all ports but that of DNS.
fn built_in(rules: &[Rule], surroundings: &Surroundings) -> Vec<RangeDeny> {
    let listed = |address: &IpAddr| rules.iter().any(|rule| !rule.expired && rule.rights.ranges.contains(&IpNet::from(*address)));
    let held = METADATA.into_iter().filter(|address| !listed(address));
    let (resolvers, others): (Vec<IpAddr>, Vec<IpAddr>) = held.partition(|address| surroundings.resolvers.contains(address));
    let deny = |addresses: Vec<IpAddr>, ports: Option<Ports>| RangeDeny {
        ranges: addresses.into_iter().flat_map(|address| with_nat64(address.into())).collect(),
        ports,
        policy: Arc::from("built-in"),
        file: Arc::from(""),
        line: 0,
    };
    let all_but_dns = || {
        let mut dns = Ports::none();
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            if let Some(port) = PortRange::new(53, 53) {
                dns.add(protocol, port);
            }
        }
        Ports::all().subtract(&dns)
    };
    let of_resolvers = (!resolvers.is_empty()).then(|| deny(resolvers, Some(all_but_dns())));
    let of_others = (!others.is_empty()).then(|| deny(others, None));
    of_others.into_iter().chain(of_resolvers).collect()
}

/// A range, and its form behind a translator (RFC 6052's well-known prefix).
fn with_nat64(range: IpNet) -> impl Iterator<Item = IpNet> {
    let translated = match range {
        IpNet::V4(v4) => nat64(v4).map(IpNet::V6),
        IpNet::V6(_) => None,
    };
    std::iter::once(range).chain(translated)
}

fn nat64(range: Ipv4Net) -> Option<Ipv6Net> {
    let prefix = u128::from(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0));
    let address: Ipv4Addr = range.addr();
    Ipv6Net::new(Ipv6Addr::from(prefix | u128::from(u32::from(address))), 96 + range.prefix_len()).ok()
}
