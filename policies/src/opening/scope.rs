//! Which names lead to an opening, so that two generations of it can be compared.
use std::{collections::HashSet, sync::Arc};

use crate::{host::HostPattern, name::Name};

/// The names of an opening: the longest pattern that matches decides, as in the policy itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scope {
    inner: Arc<Patterns>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Patterns {
    /// Names that lead here.
    within: HashSet<HostPattern>,
    /// Names below one of those that do not.
    without: HashSet<HostPattern>,
}

impl Scope {
    pub(crate) fn new(within: HashSet<HostPattern>, without: HashSet<HostPattern>) -> Self {
        Self { inner: Arc::new(Patterns { within, without }) }
    }

    /// Whether every name of `older` is a name of this one.
    pub(crate) fn covers(&self, older: &Scope) -> bool {
        if self == older {
            return true;
        }
        // Names that match the same patterns of both fare alike, so one example for each pattern tells of all names.
        let patterns = [&self.inner, &older.inner];
        let mut patterns = patterns.iter().flat_map(|side| side.within.iter().chain(&side.without));
        patterns.all(|pattern| !older.holds(pattern) || self.holds(pattern))
    }

    /// Whether the pattern's name, or a name below it that no longer pattern knows, is in the scope.
    fn holds(&self, example: &HostPattern) -> bool {
        let Patterns { within, without } = &*self.inner;
        let known = |pattern: &HostPattern| {
            if within.contains(pattern) {
                Some(true)
            } else if without.contains(pattern) {
                Some(false)
            } else {
                None
            }
        };
        if let Some(decided) = known(example) {
            return decided;
        }
        let mut above = match example {
            HostPattern::Exact(name) | HostPattern::Below(name) => name.parent(),
        };
        while let Some(zone) = above {
            if let Some(decided) = known(&HostPattern::Below(zone.clone())) {
                return decided;
            }
            above = Name::parent(&zone);
        }
        false
    }
}
