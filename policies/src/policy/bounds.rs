//! What holds a name that no rule need name: the target of a permitted SRV record is under every deny and every limit all the same.
use std::collections::HashSet;

use crate::{host::HostPattern, name::Name, ports::Ports};

/// The denies and limits that speak of names, kept for names that are learnt from answers.
#[derive(Debug, Default)]
pub(crate) struct Bounds {
    pub(crate) denies: Vec<Hold>,
    /// Those of one platform file are alternatives; every file must be satisfied.
    pub(crate) limits: Vec<Vec<Hold>>,
}

/// One deny or limit.
#[derive(Debug)]
pub(crate) struct Hold {
    /// `None` is any name: a limit of ports alone.
    pub(crate) hosts: Option<HashSet<HostPattern>>,
    pub(crate) ports: Ports,
}

impl Bounds {
    /// The ports that the name may be opened on by a rule that leads there; none where it is denied.
    pub(crate) fn ports_of(&self, name: &Name) -> Ports {
        let patterns = patterns_of(name);
        let held = |holds: &[Hold]| {
            let matching = holds.iter().filter(|hold| hold.matches(&patterns));
            matching.fold(Ports::none(), |all, hold| all.union(&hold.ports))
        };
        self.limits.iter().fold(Ports::all().subtract(&held(&self.denies)), |left, file| left.intersect(&held(file)))
    }
}

impl Hold {
    fn matches(&self, patterns: &[HostPattern]) -> bool {
        self.hosts.as_ref().is_none_or(|hosts| patterns.iter().any(|pattern| hosts.contains(pattern)))
    }
}

/// Every pattern that matches the name, however few files give: so the cost does not grow with their lists.
fn patterns_of(name: &Name) -> Vec<HostPattern> {
    let above = name.suffixes().skip(1).map(|zone| HostPattern::Below(Name::of_sound_wire(zone)));
    std::iter::once(HostPattern::Exact(name.clone())).chain(above).collect()
}
