//! What one pod may do, ready for the query path: a name costs a few look-ups, however many hosts the files hold.
use std::{fmt, net::IpAddr, sync::Arc};

use crate::{
    address,
    budget::{Budget, BudgetId, BudgetTerms},
    date::Date,
    explain::NearestMiss,
    file::{HttpsRecords, Mode, PolicyFile},
    name::{self, Name, NameError},
    opening::{Opening, OpeningIndex, RangeDeny},
    ports::Ports,
    problem::Problems,
    surroundings::{Pod, Surroundings},
    verdict::{GrantRef, Judged, Place, Reason, RefusalRef, Verdict},
};

mod bounds;
mod search;
mod table;

pub(crate) use bounds::{Bounds, Hold};
pub(crate) use table::Table;

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
    /// Those of the openings whose rules grant SRV targets along.
    pub(crate) srv_openings: Box<[OpeningIndex]>,
    /// What a name that a wildcard alone takes in counts against.
    pub(crate) budget: Option<BudgetId>,
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
    Refused(Reason, Place),
}

/// The policy itself.
#[derive(Default)]
pub(crate) struct Inner {
    pub(crate) generation: u64,
    pub(crate) mode: Mode,
    pub(crate) files: Vec<FileInUse>,
    pub(crate) openings: Vec<Opening>,
    pub(crate) denies: Vec<RangeDeny>,
    pub(crate) table: Table,
    /// What each budget says, and the rule that says it.
    pub(crate) budgets: Vec<(BudgetTerms, Place)>,
    /// What holds the targets of SRV records.
    pub(crate) bounds: Bounds,
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
        match self.inner.decide(name.as_wire(), name.depth()) {
            Judged::Granted(grant) => Verdict::Granted(grant.grant_for(name.clone())),
            Judged::Refused(refusal) => Verdict::Refused(refusal.refusal_for(name.clone())),
        }
    }

    /// Judges a name by its octets: length octet and label in turn, lower-cased, without the root's empty label. The same verdict as
    /// [`Policy::judge`] comes to, with nothing allocated and nothing counted.
    ///
    /// # Errors
    /// Octets that are no name; a capital among them, since a rule or a deny in its lower-cased form would be missed.
    pub fn judge_wire<'a>(&'a self, name: &'a [u8]) -> Result<Judged<'a>, NameError> {
        let depth = name::depth_of(name)?;
        // Length octets are 63 at most, so none looks like a capital.
        if name.iter().any(u8::is_ascii_uppercase) {
            return Err(NameError::Capital);
        }
        Ok(self.inner.decide(name, depth))
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

    /// Where an address of a SRV record's target stays open over a reload that was opened under `older`, an opening of the policy before: the
    /// names that led there are still granted, and nothing holds the target or the address. `None` where that is not so for sure.
    pub fn keeps_target(&self, older: &Opening, target: &Name, address: IpAddr) -> Option<OpeningIndex> {
        let index = (0..).map(OpeningIndex).zip(self.openings()).find(|(_, opening)| opening.key == older.key)?.0;
        let opening = self.opening(index)?;
        let in_cluster = self.inner.is_in_cluster(target.as_wire());
        let kept = older.srv_targets
            && opening.srv_targets
            && opening.covers(older)
            && self.inner.bounds.ports_of(target).covers(&opening.ports)
            && self.inner.denied_wholly(address).is_none()
            && address::kind_of(address).is_none_or(|kind| opening.rights.permit(address, kind, in_cluster));
        kept.then_some(index)
    }

    /// What is held whatever was opened: `[[deny]] cidrs`, and the clouds' metadata addresses unless a rule lists them.
    pub fn denies(&self) -> &[RangeDeny] {
        &self.inner.denies
    }

    /// How many budgets there are: every [`BudgetId`] of this generation is below it.
    pub fn budgets(&self) -> usize {
        self.inner.budgets.len()
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
    /// The verdict on the name with these octets and this many labels.
    fn decide<'a>(self: &'a Arc<Self>, wire: &'a [u8], depth: usize) -> Judged<'a> {
        let found = self.table.find(wire, depth);
        let no_data = found.granted_below;
        let (reason, place) = match found.outcome {
            Some(Outcome::Granted(granted)) => return Judged::Granted(GrantRef { wire, policy: self, granted }),
            Some(Outcome::Refused(reason, place)) => (*reason, Some(place)),
            None if self.files.is_empty() => (Reason::NoPolicy, None),
            None if no_data => (Reason::AncestorOfPermitted, None),
            None if self.is_search_step(wire) => (Reason::SearchListStep, None),
            None => (Reason::NotPermitted, None),
        };
        Judged::Refused(RefusalRef { wire, reason, place, no_data, generation: self.generation })
    }

    pub(crate) fn budget_of(&self, granted: &Granted) -> Option<Budget> {
        let id = granted.budget?;
        let BudgetTerms { names, bytes, label } = self.budgets.get(id.get())?.0;
        Some(Budget { id, names, bytes, label })
    }

    pub(crate) fn is_in_cluster(&self, wire: &[u8]) -> bool {
        self.cluster_domain.as_ref().is_some_and(|domain| name::front_of(wire, domain.as_wire()).is_some_and(|front| !front.is_empty()))
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
    use crate::{Grant, Refusal};

    #[test]
    fn policies_and_grants_may_cross_threads() {
        fn crosses<T: Send + Sync + 'static>() {}
        crosses::<Policy>();
        crosses::<Grant>();
        crosses::<Refusal>();
    }
}
