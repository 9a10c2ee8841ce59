//! What one pod may do, ready for the query path: a name costs a few look-ups, however many hosts the files hold.
use std::{
    collections::{HashMap, HashSet},
    fmt,
    net::IpAddr,
    sync::Arc,
};

use crate::{
    date::Date,
    explain::NearestMiss,
    file::{HttpsRecords, Mode, PolicyFile},
    name::Name,
    opening::{Opening, OpeningIndex, RangeDeny},
    ports::Ports,
    problem::Problems,
    surroundings::{Pod, Surroundings},
    verdict::{Grant, Place, Reason, Refusal, Verdict},
};

/// The union of the files that select a pod, less what is denied, inside the limits. Immutable; cheap to clone.
#[derive(Clone)]
pub struct Policy {
    pub(crate) inner: Arc<Inner>,
}

/// A file that the policy was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInUse {
    /// How the file is named to people.
    pub path: Arc<str>,
    /// The policy's name.
    pub name: Arc<str>,
    /// Its mode.
    pub mode: Mode,
    /// Whether it is the platform's.
    pub platform: bool,
}

/// What all names with the same matching patterns share.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) openings: Box<[OpeningIndex]>,
    /// What the rules would open and something takes away: for explanations.
    pub(crate) withheld: Box<[Withheld]>,
    pub(crate) https_records: HttpsRecords,
    pub(crate) srv_targets: bool,
}

/// Ports that a rule would open and that something takes away.
#[derive(Clone, Debug)]
pub(crate) struct Withheld {
    pub(crate) ports: Ports,
    pub(crate) reason: Reason,
    pub(crate) place: Place,
}

/// What becomes of a name that some pattern matches.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    Granted(Arc<Granted>),
    Refused(Reason, Option<Place>),
}

/// The policy itself. Names are keyed by their wire form, whose suffixes are the wire forms of their ancestors.
#[derive(Default)]
pub(crate) struct Inner {
    pub(crate) generation: u64,
    pub(crate) mode: Mode,
    pub(crate) files: Vec<FileInUse>,
    pub(crate) openings: Vec<Opening>,
    pub(crate) denies: Vec<RangeDeny>,
    /// Outcomes of names that a pattern gives in full.
    pub(crate) exact: HashMap<Box<[u8]>, Outcome>,
    /// Outcomes of names below these, where no longer one matches.
    pub(crate) below: HashMap<Box<[u8]>, Outcome>,
    /// Bit n: `below` has a name of n labels. Keeps the cost of a name with a hundred labels down.
    pub(crate) depths: u128,
    /// Names above a granted one.
    pub(crate) ancestors: HashSet<Box<[u8]>>,
    pub(crate) cluster_domain: Option<Name>,
    pub(crate) search: Vec<Name>,
    pub(crate) next_date_change: Option<Date>,
    pub(crate) warnings: Problems,
}

impl Policy {
    /// The policy for a pod: the union of the files that select it. Files that do not select it are left out; with none, nothing is
    /// permitted.
    ///
    /// # Errors
    /// What the files say together or in this place that no file is wrong about alone: two files of one name, a deny that covers a
    /// resolver.
    pub fn compile(files: &[PolicyFile], pod: &Pod, surroundings: &Surroundings) -> Result<Policy, Problems> {
        crate::compile::compile(files, pod, surroundings)
    }

    /// The policy of a pod that no file selects: nothing is permitted.
    pub fn nothing() -> Self {
        Self { inner: Arc::default() }
    }

    /// Judges a name. Neither the number of hosts nor the number of files changes what this costs; nothing is allocated.
    pub fn judge(&self, name: &Name) -> Verdict {
        let inner = &self.inner;
        let (reason, place) = match inner.outcome(name.wire(), name.depth()) {
            Some(Outcome::Granted(granted)) => {
                return Verdict::Granted(Grant {
                    name: name.clone(),
                    policy: Arc::clone(inner),
                    granted: Arc::clone(granted),
                    in_cluster: inner.is_in_cluster(name),
                });
            }
            Some(Outcome::Refused(reason, place)) => (Some(*reason), place.clone()),
            None => (None, None),
        };
        let no_data = inner.has_granted_below(name);
        let reason = reason.unwrap_or_else(|| {
            if inner.files.is_empty() {
                Reason::NoPolicy
            } else if no_data {
                Reason::AncestorOfPermitted
            } else if inner.is_search_step(name) {
                Reason::SearchListStep
            } else {
                Reason::NotPermitted
            }
        });
        Verdict::Refused(Refusal { name: name.clone(), reason, place, no_data, generation: inner.generation })
    }

    /// The fingerprint of everything that decides: two policies of one generation judge alike.
    pub fn generation(&self) -> u64 {
        self.inner.generation
    }

    /// Whether the pod is held: `Audit` only if every file that selects it says so, and there is one.
    pub fn mode(&self) -> Mode {
        self.inner.mode
    }

    /// The files the policy was made of; empty where none selects the pod.
    pub fn files(&self) -> &[FileInUse] {
        &self.inner.files
    }

    /// What the kernel opens, each with its own key.
    pub fn openings(&self) -> &[Opening] {
        &self.inner.openings
    }

    /// One opening. `None` for an index of another generation that this one does not reach.
    pub fn opening(&self, index: OpeningIndex) -> Option<&Opening> {
        self.inner.openings.get(index.get())
    }

    /// What is held whatever was opened: `[[deny]] cidrs`, and the clouds' metadata addresses unless a rule lists them.
    pub fn denies(&self) -> &[RangeDeny] {
        &self.inner.denies
    }

    /// The first day on which the same files mean something else, because a rule has expired.
    pub fn next_date_change(&self) -> Option<Date> {
        self.inner.next_date_change
    }

    /// What the authors should know, though the policy is in force.
    pub fn warnings(&self) -> &Problems {
        &self.inner.warnings
    }

    /// What is permitted and comes closest to the name. Walks every host: for people and refusals told, not for the query path.
    pub fn nearest_miss(&self, name: &Name) -> Option<NearestMiss> {
        crate::explain::nearest_miss(self, name)
    }
}

impl Inner {
    /// The outcome of the name with these octets: its own, else that of the longest wildcard above it.
    fn outcome(&self, wire: &[u8], depth: usize) -> Option<&Outcome> {
        self.exact.get(wire).or_else(|| {
            let (length, after) = wire.split_first()?;
            self.outcome_below(after.get(usize::from(*length)..)?, depth.checked_sub(1)?)
        })
    }

    /// The outcome of a name below this one that no pattern gives in full: that of the longest wildcard at it or above it.
    fn outcome_below(&self, wire: &[u8], depth: usize) -> Option<&Outcome> {
        let (mut rest, mut depth) = (wire, depth);
        loop {
            if self.depths >> depth & 1 == 1
                && let Some(outcome) = self.below.get(rest)
            {
                return Some(outcome);
            }
            let (length, after) = rest.split_first()?;
            rest = after.get(usize::from(*length)..)?;
            depth = depth.checked_sub(1)?;
        }
    }

    /// Whether some name below this one is granted: then this one exists, and must not be answered as if it did not (RFC 8020).
    fn has_granted_below(&self, name: &Name) -> bool {
        self.ancestors.contains(name.wire()) || matches!(self.outcome_below(name.wire(), name.depth()), Some(Outcome::Granted(_)))
    }

    pub(crate) fn is_in_cluster(&self, name: &Name) -> bool {
        self.cluster_domain.as_ref().is_some_and(|domain| name.is_under(domain))
    }

    /// Whether the name less one of the search domains is granted.
    fn is_search_step(&self, name: &Name) -> bool {
        self.search.iter().any(|domain| {
            let front = name.wire().strip_suffix(domain.wire()).unwrap_or(&[]);
            !domain.is_root()
                && name.is_under(domain)
                && matches!(self.outcome(front, name.depth() - domain.depth()), Some(Outcome::Granted(_)))
        })
    }

    /// The deny that takes every port of an address.
    pub(crate) fn denied_wholly(&self, address: IpAddr) -> Option<Place> {
        let covers = |deny: &&RangeDeny| deny.ports.is_none() && deny.ranges.iter().any(|range| range.contains(&address));
        let deny = self.denies.iter().filter(|deny| deny.line > 0).find(covers)?;
        Some(Place::new(Arc::clone(&deny.policy), Arc::from("deny"), Arc::clone(&deny.file), deny.line))
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").field("generation", &self.inner.generation).field("files", &self.inner.files).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_and_grants_may_cross_threads() {
        fn crosses<T: Send + Sync + 'static>() {}
        crosses::<Policy>();
        crosses::<Grant>();
        crosses::<Refusal>();
    }
}
