//! The kernel's view of a policy: what is opened, under which key, and what is held whatever was opened.
use std::sync::Arc;

use ipnet::IpNet;

use crate::{
    address::AddressRights,
    file::{LeaseTerms, Revoke},
    ports::Ports,
    preset::Preset,
};

mod scope;

pub(crate) use scope::Scope;

/// The place of an opening in [`Policy::openings`](crate::Policy::openings), of one generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OpeningIndex(pub(crate) u32);

impl OpeningIndex {
    /// As a number, to index a list that was made along [`Policy::openings`](crate::Policy::openings).
    pub fn get(self) -> usize {
        self.0 as usize
    }
}

/// One rule with one set of ports. A rule whose names differ in their ports (a deny or a limit took some) has several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Unique in the policy and the same over reloads: `alerts.pagerduty`; `alerts.pagerduty.2` for further port sets of the rule,
    /// `alerts.use.istio` for presets. Made of `[a-z0-9.-]`.
    pub key: String,
    /// The policy's name.
    pub policy: Arc<str>,
    /// The rule's name; a preset's is the preset's.
    pub rule: Arc<str>,
    /// The preset it comes from, if it is none of the file's own rules.
    pub preset: Option<Preset>,
    /// The file.
    pub file: Arc<str>,
    /// The line the rule begins on, counted from 1.
    pub line: u32,
    /// The ports that are open.
    pub ports: Ports,
    /// Ranges that are open without any name, in normal form: sorted, none inside another.
    pub cidrs: Vec<IpNet>,
    /// What becomes of live connections when it goes.
    pub revoke: Revoke,
    /// How long its leases last.
    pub lease: LeaseTerms,
    /// Whether names lead to it: it needs sets of leases.
    pub has_hosts: bool,
    pub(crate) scope: Scope,
    pub(crate) rights: AddressRights,
    /// Whether the targets of its names' SRV records are granted along.
    pub(crate) srv_targets: bool,
}

impl Opening {
    /// Whether everything that `older` permitted (names, their addresses, ranges, ports) is still permitted by this one: then
    /// established flows keep their rule id over a reload.
    pub fn covers(&self, older: &Opening) -> bool {
        self.ports.covers(&older.ports)
            && older.cidrs.iter().all(|range| self.cidrs.iter().any(|own| own.contains(range)))
            && self.rights.covers(&older.rights)
            && self.scope.covers(&older.scope)
    }
}

/// A range that is held whatever was opened; stands before established flows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangeDeny {
    /// The ranges; an IPv4 range is followed by its NAT64 form (`64:ff9b::/96`), so that a translator is no way around.
    pub ranges: Vec<IpNet>,
    /// The ports; `None` is everything.
    pub ports: Option<Ports>,
    /// The policy's name; `built-in` for the cloud metadata addresses.
    pub policy: Arc<str>,
    /// The file; empty for what is built in.
    pub file: Arc<str>,
    /// The line, counted from 1; 0 for what is built in.
    pub line: u32,
}
