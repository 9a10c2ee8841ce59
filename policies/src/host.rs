//! A host as a rule names it: one name, or every name below one.
use std::fmt;

use crate::name::Name;

/// What `hosts` holds: `a.com`, or `*.a.com` for one or more labels below `a.com` (never `a.com` itself).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// This name and no other.
    Exact(Name),
    /// Every name below this one.
    Below(Name),
}

impl HostPattern {
    /// Whether the pattern takes the name in.
    pub fn matches(&self, name: &Name) -> bool {
        match self {
            Self::Exact(exact) => name == exact,
            Self::Below(zone) => name.is_under(zone),
        }
    }

    /// The name in the pattern, without the star.
    pub fn name(&self) -> &Name {
        match self {
            Self::Exact(name) | Self::Below(name) => name,
        }
    }

    /// The pattern in both forms where it is internationalised, for people.
    pub fn both_forms(&self) -> String {
        match self.name().to_unicode() {
            Some(unicode) if matches!(self, Self::Below(_)) => format!("{self} (*.{unicode})"),
            Some(unicode) => format!("{self} ({unicode})"),
            None => self.to_string(),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => name.fmt(f),
            Self::Below(zone) => write!(f, "*.{zone}"),
        }
    }
}
