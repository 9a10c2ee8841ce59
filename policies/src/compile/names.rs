//! The fate of every name, worked out once for each pattern that any file mentions.
//!
//! Names that match the same patterns fare alike. For each exact host that is the host itself; for each wildcard it is a fresh name below
//! it that no longer pattern knows. What a pattern's names match is what the pattern says itself and what the nearest wildcard above it
//! says: so equal pairs of the two are worked out once, and ten thousand hosts of one rule cost one working out.
use std::collections::{BTreeMap, HashMap, HashSet};

use super::{limits::Group, rules::Rule};
use crate::{
    budget::{BudgetId, BudgetTerms},
    file::{Deny, HttpsRecords, PolicyFile},
    host::HostPattern,
    opening::{OpeningIndex, Scope},
    policy::{Granted, Outcome, Table, Withheld},
    ports::Ports,
    verdict::{Place, Reason},
};

/// What speaks of a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Matches {
    rules: Vec<usize>,
    denies: Vec<usize>,
    /// Limits by their group and place in it.
    limits: Vec<(usize, usize)>,
    /// Those of the rules that give the name in full, and not by a wildcard: then it needs no budget.
    exact: Vec<usize>,
}

/// The outcome of a set of matches, before openings have their places.
struct Fate {
    matches: Matches,
    /// Rules with the ports that are left of them.
    granted: Vec<(usize, Ports)>,
    withheld: Vec<Withheld>,
    refused: Option<(Reason, Place)>,
}

/// The fates of all patterns.
pub(super) struct Names<'a> {
    rules: &'a [Rule],
    fates: Vec<Fate>,
    /// Each pattern's fate, and that of the nearest wildcard above it.
    of_pattern: Vec<(HostPattern, usize, Option<usize>)>,
    /// Every rule with every set of ports that some name has of it.
    pub(super) drafts: HashSet<(usize, Ports)>,
}

/// What the query path needs. See [`crate::policy::Inner`].
pub(super) struct Tables {
    pub(super) table: Table,
    pub(super) budgets: Vec<(BudgetTerms, Place)>,
    /// One for each opening, in their order.
    pub(super) scopes: Vec<Scope>,
}

/// Works out the fate of every pattern.
pub(super) fn names<'a>(files: &[&PolicyFile], rules: &'a [Rule], limits: &[Group<'_>]) -> Names<'a> {
    let denies: Vec<(&PolicyFile, &Deny)> = files.iter().flat_map(|file| file.denies.iter().map(move |deny| (*file, deny))).collect();
    let mut own = own_matches(rules, &denies, limits);
    let judge = Judge { rules, denies: &denies, limits };
    let mut names = Names { rules, fates: Vec::new(), of_pattern: Vec::with_capacity(own.len()), drafts: HashSet::new() };
    let mut worked_out: HashMap<(Matches, Option<usize>), usize> = HashMap::new();
    let mut below: HashMap<Box<[u8]>, usize> = HashMap::new();
    // Wildcards first, those with fewer labels before those below them: what they pass on must be known.
    own.sort_by_cached_key(|(pattern, _)| {
        (matches!(pattern, HostPattern::Exact(_)), pattern.name().depth(), pattern.name().as_wire().to_vec())
    });
    for (pattern, matches) in own {
        let above = pattern.name().suffixes().skip(1).find_map(|zone| below.get(zone).copied());
        let fate = *worked_out.entry((matches, above)).or_insert_with_key(|(matches, above)| {
            let inherited = above.and_then(|above| names.fates.get(above)).map(|fate| &fate.matches);
            names.fates.push(judge.fate(matches.with(inherited)));
            names.fates.len() - 1
        });
        if let HostPattern::Below(zone) = &pattern {
            below.insert(zone.as_wire().into(), fate);
        }
        names.of_pattern.push((pattern, fate, above));
    }
    names.drafts = names.fates.iter().flat_map(|fate| fate.granted.iter().cloned()).collect();
    names
}

fn own_matches(rules: &[Rule], denies: &[(&PolicyFile, &Deny)], limits: &[Group<'_>]) -> Vec<(HostPattern, Matches)> {
    let mut own: HashMap<&HostPattern, Matches> = HashMap::new();
    for (number, rule) in rules.iter().enumerate() {
        for host in &rule.hosts {
            let matches = own.entry(host).or_default();
            matches.rules.push(number);
            if matches!(host, HostPattern::Exact(_)) {
                matches.exact.push(number);
            }
        }
    }
    for (number, (_, deny)) in denies.iter().enumerate() {
        for host in &deny.hosts {
            own.entry(host).or_default().denies.push(number);
        }
    }
    for (group, limits) in limits.iter().enumerate() {
        for (number, limit) in limits.limits.iter().enumerate() {
            for host in &limit.hosts {
                own.entry(host).or_default().limits.push((group, number));
            }
        }
    }
    own.into_iter().map(|(host, matches)| (host.clone(), matches)).collect()
}

impl Matches {
    fn with(&self, inherited: Option<&Matches>) -> Matches {
        let mut all = self.clone();
        if let Some(inherited) = inherited {
            all.rules.extend(&inherited.rules);
            all.denies.extend(&inherited.denies);
            all.limits.extend(&inherited.limits);
        }
        // A rule that names a host by itself and by a wildcard grants it once.
        all.rules.sort_unstable();
        all.rules.dedup();
        all.denies.sort_unstable();
        all.denies.dedup();
        all
    }
}

struct Judge<'a> {
    rules: &'a [Rule],
    denies: &'a [(&'a PolicyFile, &'a Deny)],
    limits: &'a [Group<'a>],
}

impl Judge<'_> {
    fn fate(&self, matches: Matches) -> Fate {
        let mut fate = Fate { granted: Vec::new(), withheld: Vec::new(), refused: None, matches };
        let denies: Vec<(Ports, Place)> = fate.matches.denies.iter().filter_map(|&number| self.deny(number)).collect();
        for &number in &fate.matches.rules {
            let Some(rule) = self.rules.get(number) else { continue };
            if let (true, Some(last)) = (rule.expired, rule.expires) {
                fate.withheld.push(Withheld { ports: rule.ports.clone(), reason: Reason::Expired(last), place: rule.place() });
                continue;
            }
            let mut ports = rule.ports.clone();
            for (denied, place) in &denies {
                let taken = ports.intersect(denied);
                if !taken.is_empty() {
                    ports = ports.subtract(denied);
                    fate.withheld.push(Withheld { ports: taken, reason: Reason::Denied, place: place.clone() });
                }
            }
            let inside = self.inside_limits(&fate.matches, rule, &ports);
            let outside = ports.subtract(&inside);
            if !outside.is_empty() {
                fate.withheld.push(Withheld { ports: outside, reason: Reason::OutsideLimit, place: rule.place() });
            }
            if !inside.is_empty() {
                fate.granted.push((number, inside));
            }
        }
        // A deny of every port speaks of the name itself, whether or not a rule permits it.
        let denied_wholly = denies.iter().find(|(ports, _)| *ports == Ports::all()).map(|(_, place)| (Reason::Denied, place.clone()));
        fate.refused = denied_wholly.or_else(|| gravest(&fate.withheld));
        fate
    }

    fn deny(&self, number: usize) -> Option<(Ports, Place)> {
        let (file, deny) = self.denies.get(number)?;
        let name = deny.name.as_deref().unwrap_or("deny");
        Some((deny.ports.clone().unwrap_or_else(Ports::all), Place::new(file.name().into(), name.into(), file.path().into(), deny.line)))
    }

    fn inside_limits(&self, matches: &Matches, rule: &Rule, ports: &Ports) -> Ports {
        let mut inside = ports.clone();
        for (group_number, group) in self.limits.iter().enumerate() {
            let mut held = Ports::none();
            for (number, limit) in group.limits.iter().enumerate() {
                let holds = limit.is_of_ports_alone()
                    || matches.limits.contains(&(group_number, number))
                    || rule.preset.is_some_and(|preset| limit.presets.contains(&preset));
                if holds {
                    held = held.union(limit.ports.as_ref().unwrap_or(&Ports::all()));
                }
            }
            inside = inside.intersect(&held);
        }
        inside
    }
}

/// The reason to tell where several rules permitted the name and none is left.
fn gravest(withheld: &[Withheld]) -> Option<(Reason, Place)> {
    let weight = |reason: &Reason| match reason {
        Reason::Denied => 0,
        Reason::OutsideLimit => 1,
        _ => 2,
    };
    withheld.iter().min_by_key(|withheld| weight(&withheld.reason)).map(|withheld| (withheld.reason, withheld.place.clone()))
}

impl Names<'_> {
    /// The tables of the query path, now that each rule with each set of ports has its opening.
    pub(super) fn tables(&self, indices: &HashMap<(usize, Ports), OpeningIndex>) -> Tables {
        let budgets = Budgets::new(self.rules);
        let outcomes: Vec<Option<Outcome>> = self.fates.iter().map(|fate| self.outcome(fate, indices, &budgets)).collect();
        let outcome = |fate: usize| outcomes.get(fate).and_then(Option::as_ref);
        let openings = |fate: usize| match outcome(fate) {
            Some(Outcome::Granted(granted)) => &*granted.openings,
            _ => &[],
        };
        let mut tables = Tables { table: Table::default(), budgets: budgets.list, scopes: Vec::new() };
        // A pattern without an outcome permits nothing and denies nothing, and so does every wildcard above it.
        let added: Vec<_> = outcomes.iter().map(|outcome| tables.table.add_outcome(outcome.clone()?)).collect();
        let mut within: BTreeMap<OpeningIndex, HashSet<HostPattern>> = BTreeMap::new();
        let mut without: BTreeMap<OpeningIndex, HashSet<HostPattern>> = BTreeMap::new();
        for (pattern, fate, above) in &self.of_pattern {
            let own = openings(*fate);
            for &opening in own {
                within.entry(opening).or_default().insert(pattern.clone());
            }
            for &opening in above.map_or(&[][..], openings).iter().filter(|opening| !own.contains(opening)) {
                without.entry(opening).or_default().insert(pattern.clone());
            }
            if let Some(outcome) = added.get(*fate).copied().flatten() {
                tables.table.add(pattern, outcome);
            }
        }
        let scope = |index: &OpeningIndex| Scope::new(within.remove(index).unwrap_or_default(), without.remove(index).unwrap_or_default());
        let mut places: Vec<OpeningIndex> = indices.values().copied().collect();
        places.sort_unstable();
        tables.scopes = places.iter().map(scope).collect();
        tables
    }

    fn outcome(&self, fate: &Fate, indices: &HashMap<(usize, Ports), OpeningIndex>, budgets: &Budgets) -> Option<Outcome> {
        if fate.granted.is_empty() {
            return fate.refused.clone().map(|(reason, place)| Outcome::Refused(reason, place));
        }
        let rules = || fate.granted.iter().filter_map(|(number, _)| self.rules.get(*number));
        let srv_targets = |number: usize| self.rules.get(number).is_some_and(|rule| rule.srv_targets);
        Some(Outcome::Granted(std::sync::Arc::new(Granted {
            openings: fate.granted.iter().filter_map(|draft| indices.get(draft).copied()).collect(),
            withheld: fate.withheld.clone().into(),
            https_records: if rules().all(|rule| rule.https_records == HttpsRecords::Strip) {
                HttpsRecords::Strip
            } else {
                HttpsRecords::Nodata
            },
            srv_openings: fate
                .granted
                .iter()
                .filter(|(number, _)| srv_targets(*number))
                .filter_map(|draft| indices.get(draft).copied())
                .collect(),
            budget: budgets.of(fate),
        })))
    }
}

/// The budgets of the rules that have a wildcard.
struct Budgets {
    list: Vec<(BudgetTerms, Place)>,
    of_rule: HashMap<usize, BudgetId>,
}

impl Budgets {
    fn new(rules: &[Rule]) -> Self {
        let mut budgets = Self { list: Vec::new(), of_rule: HashMap::new() };
        let wild = |rule: &Rule| rule.hosts.iter().any(|host| matches!(host, HostPattern::Below(_)));
        for (number, rule) in rules.iter().enumerate().filter(|(_, rule)| wild(rule)) {
            budgets.of_rule.insert(number, BudgetId(u32::try_from(budgets.list.len()).unwrap_or(u32::MAX)));
            budgets.list.push((rule.budget, rule.place()));
        }
        budgets
    }

    /// The most generous of those that the names count against; none where one of the rules gives the name in full.
    fn of(&self, fate: &Fate) -> Option<BudgetId> {
        let granting = || fate.granted.iter().map(|(number, _)| number);
        if granting().any(|number| fate.matches.exact.contains(number)) {
            return None;
        }
        let generosity = |id: &BudgetId| {
            let terms = self.list.get(id.get()).map(|(terms, _)| (terms.bytes, terms.names, terms.label));
            // Of equals the first, so that the same files always count alike.
            (terms, std::cmp::Reverse(*id))
        };
        granting().filter_map(|number| self.of_rule.get(number).copied()).max_by_key(generosity)
    }
}
