//! What a rule grants and the platform's policy takes away again: it stays shut, which is not seen in the file.

use std::collections::BTreeSet;

use ipnet::IpNet;
use policies::{Allow, HostPattern, Name, Opening, Policy, PolicyFile, Ports, Verdict};

/// A sentence for each host and each range of the file; `alone` is what its ConfigMap grants without the platform's policy, `held` with it.
pub(super) fn by_platform(file: &PolicyFile, alone: &Policy, held: &Policy) -> Vec<String> {
    let mut told = BTreeSet::new();
    for rule in file.allows() {
        let rule_at = format!("{}:{}: rule {}", file.path(), rule.line, rule.name);
        for host in &rule.hosts {
            // Below a wildcard any name will do.
            let name = match host {
                HostPattern::Exact(name) => Some(name.clone()),
                HostPattern::Below(zone) => Name::parse(&format!("any-name.{zone}")).ok(),
            };
            let Some(name) = name else { continue };
            let taken = ports_of(alone, &name).intersect(&rule.ports).subtract(&ports_of(held, &name));
            if !taken.is_empty() {
                told.insert(format!("{rule_at} has no effect for {host} on {taken}: the platform's policy does not let it"));
            }
        }
        for range in &rule.cidrs {
            let granted = ports_of_range(file, rule, alone, *range);
            let taken = granted.subtract(&ports_of_range(file, rule, held, *range));
            if taken.is_empty() {
                continue;
            }
            // A limit may hold a part of it.
            let mut left = openings(file, rule, held).filter(|opening| !opening.ports.intersect(&taken).is_empty());
            let part = left.any(|opening| opening.cidrs.iter().any(|inner| range.contains(inner)));
            let effect = if part { "has an effect for a part only of" } else { "has no effect for" };
            told.insert(format!("{rule_at} {effect} {range} on {taken}: the platform's policy does not let it"));
        }
    }
    told.into_iter().collect()
}

/// What a policy opens for a name.
fn ports_of(policy: &Policy, name: &Name) -> Ports {
    match policy.judge(name) {
        Verdict::Granted(grant) => {
            let openings = grant.openings().iter().filter_map(|index| policy.opening(*index));
            openings.fold(Ports::none(), |ports, opening| ports.union(&opening.ports))
        }
        _ => Ports::none(),
    }
}

/// What a rule opens for the whole of a range, less what is denied there. Limits may hold the two halves of a range one by one.
fn ports_of_range(file: &PolicyFile, rule: &Allow, policy: &Policy, range: IpNet) -> Ports {
    let whole = |opening: &&Opening| IpNet::aggregate(&opening.cidrs).iter().any(|opened| opened.contains(&range));
    let opened = openings(file, rule, policy).filter(whole).fold(Ports::none(), |ports, opening| ports.union(&opening.ports));
    // What is built in is so without the platform too.
    let denies = policy.denies().iter().filter(|deny| deny.line > 0 && deny.ranges.iter().any(|denied| denied.contains(&range)));
    denies.fold(opened, |left, deny| left.subtract(deny.ports.as_ref().unwrap_or(&Ports::all())))
}

/// What the policy made of the rule: one opening for each set of ports.
fn openings<'a>(file: &'a PolicyFile, rule: &'a Allow, policy: &'a Policy) -> impl Iterator<Item = &'a Opening> {
    policy.openings().iter().filter(move |opening| *opening.file == *file.path() && opening.line == rule.line && opening.preset.is_none())
}
