//! What grants: the `[[allow]]`s of the files and the openings of their presets, in one form.
use std::sync::Arc;

use ipnet::IpNet;

use crate::{
    address::AddressRights,
    budget::BudgetTerms,
    date::Date,
    file::{HttpsRecords, LeaseTerms, PolicyFile, Revoke},
    host::HostPattern,
    ports::Ports,
    preset::Preset,
    surroundings::Surroundings,
    verdict::Place,
};

/// One thing that grants.
pub(super) struct Rule {
    pub(super) key: String,
    pub(super) policy: Arc<str>,
    pub(super) name: Arc<str>,
    pub(super) preset: Option<Preset>,
    pub(super) file: Arc<str>,
    pub(super) line: u32,
    pub(super) hosts: Vec<HostPattern>,
    pub(super) cidrs: Vec<IpNet>,
    pub(super) ports: Ports,
    pub(super) rights: AddressRights,
    pub(super) expires: Option<Date>,
    pub(super) expired: bool,
    pub(super) https_records: HttpsRecords,
    pub(super) srv_targets: bool,
    pub(super) budget: BudgetTerms,
    pub(super) revoke: Revoke,
    pub(super) lease: LeaseTerms,
}

impl Rule {
    pub(super) fn place(&self) -> Place {
        Place::new(Arc::clone(&self.policy), Arc::clone(&self.name), Arc::clone(&self.file), self.line)
    }
}

/// The rules of all files, in their order.
pub(super) fn rules(files: &[&PolicyFile], surroundings: &Surroundings) -> Vec<Rule> {
    files.iter().flat_map(|file| of_file(file, surroundings)).collect()
}

fn of_file(file: &PolicyFile, surroundings: &Surroundings) -> Vec<Rule> {
    let (policy, path): (Arc<str>, Arc<str>) = (Arc::from(file.name()), Arc::from(file.path()));
    let own = file.allows.iter().map(|allow| Rule {
        key: format!("{policy}.{}", allow.name),
        policy: Arc::clone(&policy),
        name: Arc::from(allow.name.as_str()),
        preset: None,
        file: Arc::clone(&path),
        line: allow.line,
        hosts: allow.hosts.clone(),
        cidrs: allow.cidrs.clone(),
        ports: allow.ports.clone(),
        rights: AddressRights::of(&allow.private, &allow.cidrs),
        expires: allow.expires,
        expired: allow.expires.is_some_and(|last| last < surroundings.today),
        https_records: allow.https_records,
        srv_targets: allow.srv_targets,
        budget: allow.budget.unwrap_or_default(),
        revoke: file.revoke,
        lease: file.lease,
    });
    let used = file.uses.iter().flat_map(|used| {
        let openings = used.preset.openings(surroundings);
        openings.into_iter().enumerate().map(|(number, opening)| Rule {
            key: match number {
                0 => format!("{policy}.use.{}", used.preset),
                // Set apart from further port sets of the first, which end in a number alone.
                _ => format!("{policy}.use.{}-{}", used.preset, number + 1),
            },
            policy: Arc::clone(&policy),
            name: Arc::from(used.preset.name()),
            preset: Some(used.preset),
            file: Arc::clone(&path),
            line: used.line,
            rights: AddressRights { private: false, ranges: opening.cidrs.clone() },
            hosts: opening.hosts,
            cidrs: opening.cidrs,
            ports: opening.ports,
            expires: None,
            expired: false,
            https_records: HttpsRecords::default(),
            srv_targets: false,
            budget: BudgetTerms::default(),
            revoke: file.revoke,
            lease: file.lease,
        })
    });
    own.chain(used).collect()
}
