//! From the files that select a pod to its policy: united, less what is denied, inside the limits.
//!
//! A name's fate hangs only on which patterns match it. So it is worked out once for each pattern (see [`names`]), and judging a name is
//! finding its longest pattern.
use std::{
    collections::{BTreeMap, HashMap, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    sync::Arc,
};

use ipnet::IpNet;

use crate::{
    file::{Deny, Limit, Mode, PolicyFile},
    opening::{Opening, OpeningIndex, Scope},
    policy::{Bounds, FileInUse, Inner, Policy},
    ports::Ports,
    problem::Problems,
    surroundings::{Pod, Surroundings},
};

mod check;
mod limits;
mod names;
mod ranges;
mod rules;

use rules::Rule;

/// See [`Policy::compile`].
pub(crate) fn compile(files: &[PolicyFile], pod: &Pod, surroundings: &Surroundings) -> Result<Policy, Problems> {
    let files: Vec<&PolicyFile> = files.iter().filter(|file| file.select.selects(pod)).collect();
    if files.is_empty() {
        return Ok(Policy::nothing());
    }
    let problems = check::check(&files, surroundings);
    if problems.has_errors() {
        return Err(problems);
    }
    let rules = rules::rules(&files, surroundings);
    let limits = limits::groups(&files);
    let names = names::names(&files, &rules, &limits);
    let mut drafts = Drafts::default();
    for (rule, ports) in &names.drafts {
        drafts.entry(*rule, ports).has_hosts = true;
    }
    for (number, rule) in rules.iter().enumerate().filter(|(_, rule)| !rule.expired) {
        for (ports, range) in ranges::pieces(rule, &limits) {
            drafts.entry(number, &ports).cidrs.push(range);
        }
    }
    let (mut openings, indices) = drafts.openings(&rules);
    let tables = names.tables(&indices);
    for (opening, scope) in openings.iter_mut().zip(tables.scopes) {
        opening.scope = scope;
    }
    let inner = Inner {
        generation: generation(&files, &rules, surroundings),
        mode: if files.iter().all(|file| file.mode == Mode::Audit) { Mode::Audit } else { Mode::Enforce },
        files: files.iter().map(|file| in_use(file)).collect(),
        openings,
        denies: ranges::denies(&files, &rules, surroundings),
        table: tables.table,
        budgets: tables.budgets,
        bounds: Bounds {
            denies: files.iter().flat_map(|file| &file.denies).filter_map(Deny::hold).collect(),
            limits: limits.iter().map(|group| group.limits.iter().map(Limit::hold).collect()).collect(),
        },
        cluster_domain: surroundings.cluster_domain.clone(),
        search: surroundings.search.clone(),
        next_date_change: rules.iter().filter(|rule| !rule.expired).filter_map(|rule| rule.expires).min().map(crate::Date::next),
        warnings: problems,
    };
    Ok(Policy { inner: Arc::new(inner) })
}

fn in_use(file: &PolicyFile) -> FileInUse {
    FileInUse { path: Arc::from(file.path()), name: Arc::from(file.name()), mode: file.mode, platform: file.platform }
}

/// The openings in the making: one for each rule and set of ports.
#[derive(Default)]
struct Drafts {
    list: BTreeMap<usize, BTreeMap<Ports, Draft>>,
}

#[derive(Default)]
struct Draft {
    cidrs: Vec<IpNet>,
    has_hosts: bool,
}

impl Drafts {
    fn entry(&mut self, rule: usize, ports: &Ports) -> &mut Draft {
        self.list.entry(rule).or_default().entry(ports.clone()).or_default()
    }

    /// The openings in the order of their rules, and which is which. A rule's own key goes to all of its ports, whether or not a name
    /// has all of them: so the key keeps its meaning when a deny comes or goes.
    fn openings(self, rules: &[Rule]) -> (Vec<Opening>, HashMap<(usize, Ports), OpeningIndex>) {
        let mut openings = Vec::new();
        let mut indices = HashMap::new();
        for (number, drafts) in self.list {
            let Some(rule) = rules.get(number) else { continue };
            let mut part = 1_u32;
            for (ports, draft) in drafts {
                let key = if ports == rule.ports {
                    rule.key.clone()
                } else {
                    part += 1;
                    format!("{}.{part}", rule.key)
                };
                let index = OpeningIndex(u32::try_from(openings.len()).unwrap_or(u32::MAX));
                indices.insert((number, ports.clone()), index);
                openings.push(Opening {
                    key,
                    policy: Arc::clone(&rule.policy),
                    rule: Arc::clone(&rule.name),
                    preset: rule.preset,
                    file: Arc::clone(&rule.file),
                    line: rule.line,
                    ports,
                    cidrs: IpNet::aggregate(&draft.cidrs),
                    revoke: rule.revoke,
                    lease: rule.lease,
                    has_hosts: draft.has_hosts,
                    scope: Scope::default(),
                    rights: rule.rights.clone(),
                    srv_targets: rule.srv_targets,
                });
            }
        }
        (openings, indices)
    }
}

/// What decides, as one number: the texts, the surroundings, and which rules have expired; not the day itself.
fn generation(files: &[&PolicyFile], rules: &[Rule], surroundings: &Surroundings) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in files {
        (file.path(), file.text()).hash(&mut hasher);
    }
    for rule in rules {
        rule.expired.hash(&mut hasher);
    }
    let Surroundings { resolvers, cluster_domain, search, api_server, host_ips, today: _ } = surroundings;
    (resolvers, cluster_domain, search, api_server, host_ips).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
