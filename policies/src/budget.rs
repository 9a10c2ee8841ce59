//! How many names a minute a wildcard takes: names below it can carry data out, since the app chooses them (DNS tunnelling).
use std::fmt;

use serde::Serialize;

/// What `budget` says of a rule's wildcards. A minute is any minute, not one of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct BudgetTerms {
    /// Distinct names a minute.
    pub names: u32,
    /// Octets of these names a minute, as [`Name::as_wire`](crate::Name::as_wire) has them.
    pub bytes: u32,
    /// The longest label of a name, in octets.
    pub label: u8,
}

impl Default for BudgetTerms {
    /// 600 names: ten new ones a second, minute after minute, is more than an app does that talks to buckets, tenants or shards below a
    /// wildcard; the same name asked again counts once, and 4 octets each time that it is asked upstream. 32 KiB: the same 600 names at 54 octets, which is long for a name that
    /// people or providers make. A tunnel fills each name to its 254 octets, and so gets 129 of them: under 340 octets a second after
    /// base32. 63 octets: any label, since storage accounts and certificates' validation names come close to it.
    fn default() -> Self {
        Self { names: 600, bytes: 32 * 1024, label: 63 }
    }
}

/// The place of a budget among those of one policy generation: one for each rule that has a wildcard, whichever of its wildcards took
/// the name in. Counts are kept by it, and begin anew with a new generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BudgetId(pub(crate) u32);

impl BudgetId {
    /// As a number below [`Policy::budgets`](crate::Policy::budgets).
    pub fn get(self) -> usize {
        self.0 as usize
    }
}

/// The budget that a name granted by a wildcard counts against. See [`BudgetTerms`] for the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    /// Which counts it counts in.
    pub id: BudgetId,
    /// Distinct names a minute.
    pub names: u32,
    /// Octets of these names a minute.
    pub bytes: u32,
    /// The longest label, in octets.
    pub label: u8,
}

/// Which figure of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BudgetKind {
    /// Distinct names a minute.
    Names,
    /// Octets of names a minute.
    Bytes,
    /// The longest label.
    Label,
}

impl fmt::Display for BudgetKind {
    /// The key of `budget` that raises it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Names => "names",
            Self::Bytes => "bytes",
            Self::Label => "label",
        })
    }
}

impl fmt::Display for BudgetTerms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { names, bytes, label } = self;
        write!(f, "{names} names and {bytes} octets of names a minute, labels of up to {label} octets")
    }
}
