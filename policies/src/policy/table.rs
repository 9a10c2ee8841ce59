//! Every pattern's outcome by its octets: one look-up for a name, and one for each suffix whose number of labels some wildcard has.
use std::{collections::HashMap, fmt, num::NonZeroU32};

use super::{Granted, Outcome};
use crate::{
    hashing::{Seeded, seeded},
    host::HostPattern,
    name::Name,
};

/// What is known of a name that some pattern gives, or that stands above one.
#[derive(Clone, Copy, Debug, Default)]
struct Node {
    /// The outcome of the name itself, where a pattern gives it in full.
    exact: Option<OutcomeIndex>,
    /// The outcome of names below it, where no longer pattern matches.
    below: Option<OutcomeIndex>,
    /// Whether some name below it is granted.
    ancestor: bool,
}

/// A place in the list of outcomes, counted from 1: so a node stays small, and ten thousand hosts of one rule share one outcome.
pub(crate) type OutcomeIndex = NonZeroU32;

/// The outcomes. Names are keyed by their octets, whose suffixes are the octets of their ancestors.
pub(crate) struct Table {
    nodes: HashMap<Box<[u8]>, Node, Seeded>,
    outcomes: Vec<Outcome>,
    /// Bit n: some wildcard stands below a name of n labels. Keeps the cost of a name with a hundred labels down.
    depths: u128,
}

/// What the table says of a name.
pub(crate) struct Found<'a> {
    pub(crate) outcome: Option<&'a Outcome>,
    /// Whether some name below it is granted: then it exists, and must not be answered as if it did not (RFC 8020).
    pub(crate) granted_below: bool,
}

impl Default for Table {
    fn default() -> Self {
        Self { nodes: HashMap::with_hasher(seeded()), outcomes: Vec::new(), depths: 0 }
    }
}

impl Table {
    /// Takes an outcome in, for any number of patterns. `None` where there are four billion already.
    pub(crate) fn add_outcome(&mut self, outcome: Outcome) -> Option<OutcomeIndex> {
        self.outcomes.push(outcome);
        u32::try_from(self.outcomes.len()).ok().and_then(NonZeroU32::new)
    }

    /// Gives a pattern its outcome.
    pub(crate) fn add(&mut self, pattern: &HostPattern, outcome: OutcomeIndex) {
        let node = self.nodes.entry(pattern.name().as_wire().into()).or_default();
        let above = match pattern {
            HostPattern::Exact(_) => {
                node.exact = Some(outcome);
                1
            }
            HostPattern::Below(zone) => {
                node.below = Some(outcome);
                self.depths |= 1_u128.checked_shl(u32::try_from(zone.depth()).unwrap_or(u32::MAX)).unwrap_or(0);
                0
            }
        };
        if !is_granted(self.at(Some(outcome))) {
            return;
        }
        for suffix in pattern.name().suffixes().skip(above) {
            let node = self.nodes.entry(suffix.into()).or_default();
            // Where one is known, all above it are.
            if std::mem::replace(&mut node.ancestor, true) {
                break;
            }
        }
    }

    /// What becomes of the name with these octets and this many labels. `granted_below` is not worked out for a granted one.
    pub(crate) fn find(&self, wire: &[u8], depth: usize) -> Found<'_> {
        let node = self.nodes.get(wire).copied().unwrap_or_default();
        let own = self.at(node.exact);
        if is_granted(own) {
            return Found { outcome: own, granted_below: false };
        }
        let above = self.above(wire, depth);
        Found { outcome: own.or(above), granted_below: node.ancestor || is_granted(self.at(node.below).or(above)) }
    }

    /// Whether a pattern below this name is granted: what only a wildcard above it grants does not count.
    pub(crate) fn pattern_below(&self, wire: &[u8]) -> bool {
        self.nodes.get(wire).is_some_and(|node| node.ancestor || is_granted(self.at(node.below)))
    }

    /// Whether the name is granted.
    pub(crate) fn grants(&self, wire: &[u8], depth: usize) -> bool {
        is_granted(self.find(wire, depth).outcome)
    }

    /// What names below this one are granted, where a wildcard stands here.
    pub(crate) fn granted_under(&self, wire: &[u8]) -> Option<&Granted> {
        self.at(self.nodes.get(wire)?.below).and_then(granted)
    }

    /// What the name is granted, where a pattern gives it in full.
    pub(crate) fn granted_exactly(&self, wire: &[u8]) -> Option<&Granted> {
        self.at(self.nodes.get(wire)?.exact).and_then(granted)
    }

    /// Every pattern that is granted something, in no order.
    pub(crate) fn granted_patterns(&self) -> impl Iterator<Item = (HostPattern, &Granted)> {
        self.nodes.iter().flat_map(|(wire, node)| {
            let exact = self.at(node.exact).and_then(granted).map(|found| (HostPattern::Exact(Name::of_sound_wire(wire)), found));
            let below = self.at(node.below).and_then(granted).map(|found| (HostPattern::Below(Name::of_sound_wire(wire)), found));
            exact.into_iter().chain(below)
        })
    }

    /// The outcome of the longest wildcard above the name.
    fn above(&self, wire: &[u8], depth: usize) -> Option<&Outcome> {
        let (mut rest, mut depth) = (wire, depth);
        loop {
            let (length, after) = rest.split_first()?;
            rest = after.get(usize::from(*length)..)?;
            depth = depth.checked_sub(1)?;
            if self.depths >> depth & 1 == 1
                && let Some(outcome) = self.nodes.get(rest).and_then(|node| self.at(node.below))
            {
                return Some(outcome);
            }
        }
    }

    fn at(&self, index: Option<OutcomeIndex>) -> Option<&Outcome> {
        self.outcomes.get(usize::try_from(index?.get()).ok()? - 1)
    }
}

fn granted(outcome: &Outcome) -> Option<&Granted> {
    match outcome {
        Outcome::Granted(granted) => Some(granted),
        Outcome::Refused(..) => None,
    }
}

fn is_granted(outcome: Option<&Outcome>) -> bool {
    matches!(outcome, Some(Outcome::Granted(_)))
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table").field("nodes", &self.nodes.len()).field("outcomes", &self.outcomes.len()).finish()
    }
}
