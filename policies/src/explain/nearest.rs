//! What is permitted and comes closest to a name.
use super::{NearestKind, NearestMiss};
use crate::{
    host::HostPattern,
    name::Name,
    policy::{Granted, Policy},
    ports::Ports,
};

/// See [`Policy::nearest_miss`].
pub(crate) fn nearest_miss(policy: &Policy, name: &Name) -> Option<NearestMiss> {
    let table = &policy.inner.table;
    if let Some(found) = table.granted_under(name.as_wire()) {
        return miss(policy, NearestKind::OnlyBelow, &HostPattern::Below(name.clone()), found);
    }
    let above = name.suffixes().skip(1).find_map(|zone| table.granted_exactly(zone).map(|found| (zone, found)));
    if let Some((zone, found)) = above {
        return miss(policy, NearestKind::OnlyAbove, &HostPattern::Exact(Name::of_sound_wire(zone)), found);
    }
    // The smallest wins, the pattern itself breaking ties: so that the same question always has the same answer.
    let near = table.granted_patterns().filter_map(|(pattern, found)| nearness(name, &pattern).map(|near| (near, pattern, found)));
    let ((_, kind), pattern, found) = near.min_by(|a, b| (a.0.0, &a.1).cmp(&(b.0.0, &b.1)))?;
    miss(policy, kind, &pattern, found)
}

/// How far a pattern is from the name; `None` where it is too far to help.
fn nearness(name: &Name, pattern: &HostPattern) -> Option<(usize, NearestKind)> {
    let (asked, permitted) = match pattern {
        HostPattern::Exact(exact) => (name.to_string(), exact.to_string()),
        // Of the asked name, as many labels as the zone has: `events.pagerdutty.com` is near `*.pagerduty.com`.
        HostPattern::Below(zone) => {
            (Name::of_sound_wire(name.suffixes().nth(name.depth().checked_sub(zone.depth())?)?).to_string(), zone.to_string())
        }
    };
    let most = (permitted.len() / 4).min(2);
    if asked.len().abs_diff(permitted.len()) <= most {
        let distance = strsim::damerau_levenshtein(&asked, &permitted);
        if distance <= most {
            return Some((distance, NearestKind::Spelling));
        }
    }
    let sibling = matches!(pattern, HostPattern::Exact(exact) if name.parent().is_some_and(|parent| exact.parent() == Some(parent.clone()) && !is_public(&parent)));
    sibling.then_some((usize::MAX, NearestKind::Sibling))
}

/// Whether strangers have names right below this one: then two such names have nothing to do with each other.
pub(crate) fn is_public(name: &Name) -> bool {
    let text = name.to_string();
    name.is_root() || psl::suffix(text.as_bytes()).is_some_and(|suffix| suffix.as_bytes() == text.as_bytes())
}

fn miss(policy: &Policy, kind: NearestKind, pattern: &HostPattern, granted: &Granted) -> Option<NearestMiss> {
    let openings = || granted.openings.iter().filter_map(|&index| policy.opening(index));
    let first = openings().next()?;
    Some(NearestMiss {
        kind,
        host: pattern.both_forms(),
        ports: openings().fold(Ports::none(), |all, opening| all.union(&opening.ports)),
        policy: first.policy.to_string(),
        rule: first.rule.to_string(),
        file: first.file.to_string(),
        line: first.line,
    })
}
