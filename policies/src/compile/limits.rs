//! What the platform's limits hold: any limit of one file will do, and every file that limits must be satisfied.
use crate::file::{Limit, PolicyFile};

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
}
