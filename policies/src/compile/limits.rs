//! What the platform's limits hold: any limit of one file will do, and every file that limits must be satisfied.
use crate::{
    file::{Deny, Limit, PolicyFile},
    policy::Hold,
    ports::Ports,
};

/// The limits of one file.
pub(super) struct Group<'a> {
    pub(super) limits: &'a [Limit],
}

/// One group for each platform file that limits.
pub(super) fn groups<'a>(files: &[&'a PolicyFile]) -> Vec<Group<'a>> {
    let platform = files.iter().filter(|file| file.platform && !file.limits.is_empty());
    platform.map(|file| Group { limits: &file.limits }).collect()
}

impl Limit {
    /// Whether the limit is about ports alone, wherever they lead.
    pub(super) fn is_of_ports_alone(&self) -> bool {
        self.hosts.is_empty() && self.cidrs.is_empty() && self.presets.is_empty()
    }

    /// What it holds of names that answers lead to. A limit of ranges or presets holds no name.
    pub(super) fn hold(&self) -> Hold {
        Hold {
            hosts: (!self.is_of_ports_alone()).then(|| self.hosts.iter().cloned().collect()),
            ports: self.ports.clone().unwrap_or_else(Ports::all),
        }
    }
}

impl Deny {
    /// What it takes of names; `None` for one of ranges alone.
    pub(super) fn hold(&self) -> Option<Hold> {
        let hosts = (!self.hosts.is_empty()).then(|| self.hosts.iter().cloned().collect())?;
        Some(Hold { hosts: Some(hosts), ports: self.ports.clone().unwrap_or_else(Ports::all) })
    }
}
