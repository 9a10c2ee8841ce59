//! The outcome of judging a name: a grant that the next stages demand, or a refusal that says why.
use std::{fmt, net::IpAddr, sync::Arc};

use serde::Serialize;

use crate::{
    address::{self, AddressRefusal},
    budget::{Budget, BudgetKind},
    date::Date,
    file::{HttpsRecords, Mode},
    name::Name,
    opening::{Opening, OpeningIndex},
    policy::{Granted, Inner, Policy},
};

mod judged;

pub use judged::{GrantRef, Judged, RefusalRef};

/// What the policy says of a name.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// It may be asked for.
    Granted(Grant),
    /// It may not.
    Refused(Refusal),
}

/// Where in the policy files something is said. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Place {
    pub(crate) inner: Arc<PlaceInner>,
}

#[derive(PartialEq, Eq, Hash)]
pub(crate) struct PlaceInner {
    pub(crate) policy: Arc<str>,
    pub(crate) rule: Arc<str>,
    pub(crate) file: Arc<str>,
    pub(crate) line: u32,
}

impl Place {
    pub(crate) fn new(policy: Arc<str>, rule: Arc<str>, file: Arc<str>, line: u32) -> Self {
        Self { inner: Arc::new(PlaceInner { policy, rule, file, line }) }
    }

    /// The policy's name.
    pub fn policy(&self) -> &str {
        &self.inner.policy
    }

    /// The rule's name; `deny` or `limit` for one that has none.
    pub fn rule(&self) -> &str {
        &self.inner.rule
    }

    /// The file.
    pub fn file(&self) -> &str {
        &self.inner.file
    }

    /// The line the rule begins on, counted from 1.
    pub fn line(&self) -> u32 {
        self.inner.line
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({self})")
    }
}

impl fmt::Display for Place {
    /// `rule pagerduty (alerts.toml:9)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rule {} ({}:{})", self.rule(), self.file(), self.line())
    }
}

/// The permission to ask for one name, by one generation of the policy. Made by [`Policy::judge`](crate::Policy::judge) alone.
#[derive(Clone)]
pub struct Grant {
    pub(crate) name: Name,
    pub(crate) policy: Arc<Inner>,
    pub(crate) granted: Arc<Granted>,
    /// Whether the name, and every alias followed since, lies below the cluster's own domain.
    pub(crate) in_cluster: bool,
    /// What it would be, were the pod held.
    pub(crate) would_deny: Option<Arc<Refusal>>,
}

impl Grant {
    /// In audit a refused name is answered all the same: the permission to ask for it, with the refusal inside. It opens nothing, since
    /// nothing is closed.
    ///
    /// # Errors
    /// The refusal as it was, if the policy holds the pod or is of another generation: only a policy in [`Mode::Audit`] makes a grant of one.
    pub fn audited(policy: &Policy, refusal: Refusal) -> Result<Self, Refusal> {
        if policy.mode() != Mode::Audit || policy.generation() != refusal.generation {
            return Err(refusal);
        }
        let granted = Granted {
            openings: Box::default(),
            withheld: Box::default(),
            https_records: HttpsRecords::Nodata,
            srv_openings: Box::default(),
            budget: None,
        };
        Ok(Self {
            name: refusal.name.clone(),
            policy: Arc::clone(&policy.inner),
            granted: Arc::new(granted),
            in_cluster: false,
            would_deny: Some(Arc::new(refusal)),
        })
    }

    /// The refusal that the name would meet, were the pod held; `None` of a name that is permitted.
    pub fn would_deny(&self) -> Option<&Refusal> {
        self.would_deny.as_deref()
    }

    /// The name that was asked for.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The policy's fingerprint: a grant whose generation is not the present policy's must be judged again.
    pub fn generation(&self) -> u64 {
        self.policy.generation
    }

    /// Every opening that the name leads to. For the openings of one address see [`Grant::openings_for`].
    pub fn openings(&self) -> &[OpeningIndex] {
        &self.granted.openings
    }

    /// The openings that this address of the name may be put into: rules may differ in their right to private addresses, and an
    /// address must open under those rules only that have it. None where [`Grant::permits_address`] refuses.
    pub fn openings_for(&self, address: IpAddr) -> impl Iterator<Item = OpeningIndex> + '_ {
        let denied = self.policy.denied_wholly(address).is_some();
        let kind = address::kind_of(address);
        self.granted.openings.iter().copied().filter(move |&index| {
            !denied
                && kind.is_none_or(|kind| self.opening(index).is_some_and(|opening| opening.rights.permit(address, kind, self.in_cluster)))
        })
    }

    /// Whether an address may be opened for this name: not denied, and ordinary or within a rule's rights.
    ///
    /// # Errors
    /// Why the address must be stripped from the answer.
    pub fn permits_address(&self, address: IpAddr) -> Result<(), AddressRefusal> {
        // In audit nothing is held: what goes there is told.
        if self.policy.mode == Mode::Audit {
            return Ok(());
        }
        if let Some(place) = self.policy.denied_wholly(address) {
            return Err(AddressRefusal::Denied { address, place });
        }
        let Some(kind) = address::kind_of(address) else { return Ok(()) };
        let permitted = self.openings_for(address).next().is_some();
        if permitted { Ok(()) } else { Err(AddressRefusal::Forbidden { address, kind }) }
    }

    /// Follows a CNAME of the answer to `alias`: a name below the cluster's domain has its right to private addresses only as long as
    /// the chain stays there (an ExternalName Service leads out). Call it for each alias before its addresses are judged.
    pub fn follow(&mut self, alias: &Name) {
        self.in_cluster = self.in_cluster && self.policy.is_in_cluster(alias.as_wire());
    }

    /// How HTTPS and SVCB records of the name are answered: `Strip` only if every rule that grants it says so.
    pub fn https_records(&self) -> HttpsRecords {
        self.granted.https_records
    }

    /// Whether the targets of the name's SRV records are granted along: see [`Grant::for_target`].
    pub fn srv_targets(&self) -> bool {
        !self.granted.srv_openings.is_empty()
    }

    /// The permission for a target of this name's SRV records (RFC 2782), as long as the record lives: the openings of those rules that
    /// say `srv-targets`, less those that a deny or a limit takes from the target. Its right to private addresses by the cluster domain
    /// is that of its own name. It has no targets of its own and no budget. The target may have a permission by itself too, which
    /// [`Policy::judge`] tells.
    ///
    /// `None` where no rule says so, where nothing is left, and where `policy` is not of this grant's generation. Walks every deny and
    /// limit: for answers with SRV records, not for each question.
    pub fn for_target(&self, target: &Name, policy: &Policy) -> Option<Self> {
        if !self.srv_targets() || policy.generation() != self.generation() {
            return None;
        }
        let held = policy.inner.bounds.ports_of(target);
        let open = |index: &OpeningIndex| policy.opening(*index).is_some_and(|opening| held.covers(&opening.ports));
        let openings: Box<[_]> = self.granted.srv_openings.iter().copied().filter(open).collect();
        let granted = Granted {
            withheld: Box::default(),
            https_records: self.granted.https_records,
            srv_openings: Box::default(),
            budget: None,
            openings: if openings.is_empty() { return None } else { openings },
        };
        let in_cluster = policy.inner.is_in_cluster(target.as_wire());
        Some(Self { name: target.clone(), policy: Arc::clone(&policy.inner), granted: Arc::new(granted), in_cluster, would_deny: None })
    }

    /// What the name counts against; `None` if a rule that grants it gives it in full, whatever wildcards match as well. Where several
    /// rules' wildcards take it in, the budget with the most octets counts, of equal ones that with the most names.
    pub fn budget(&self) -> Option<Budget> {
        self.policy.budget_of(&self.granted)
    }

    /// The refusal of the name because its budget is used up, told as the rule's. For grants that have a [`Grant::budget`].
    pub fn over_budget(self, which: BudgetKind) -> Refusal {
        let figure = self.budget().map(|budget| match which {
            BudgetKind::Names => budget.names,
            BudgetKind::Bytes => budget.bytes,
            BudgetKind::Label => budget.label.into(),
        });
        let place = self.granted.budget.and_then(|id| self.policy.budgets.get(id.get())).map(|(_, place)| place.clone());
        // Names below it that the same wildcard grants count against the same budget. A stub resolver that walks a search list ends at a
        // name that exists (musl), so one does not exist because of them.
        let no_data = self.policy.table.pattern_below(self.name.as_wire());
        Refusal { reason: Reason::OverBudget(which), place, no_data, generation: self.generation(), figure, name: self.name }
    }

    fn opening(&self, index: OpeningIndex) -> Option<&Opening> {
        self.policy.openings.get(index.get())
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant").field("name", &self.name).field("openings", &self.granted.openings).finish_non_exhaustive()
    }
}

/// Why a name is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// No policy file selects the pod.
    NoPolicy,
    /// No rule permits it.
    NotPermitted,
    /// A `[[deny]]` takes it.
    Denied,
    /// The rule that permitted it has expired.
    Expired(Date),
    /// A rule permits it, and no `[[limit]]` of a platform file holds it.
    OutsideLimit,
    /// Nothing permits it, and a permitted name lies below it: answered with no data instead of "no such name" (RFC 8020).
    AncestorOfPermitted,
    /// A step of the stub resolver, not a wish of the app: a name that is permitted without the search domain behind it, or with another
    /// one of the list in its place.
    SearchListStep,
    /// A wildcard permits it, and this figure of the wildcard's budget is used up.
    OverBudget(BudgetKind),
}

/// A name that may not be asked for.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub(crate) name: Name,
    pub(crate) reason: Reason,
    pub(crate) place: Option<Place>,
    pub(crate) no_data: bool,
    pub(crate) generation: u64,
    /// The figure of the budget that is used up.
    pub(crate) figure: Option<u32>,
}

impl Refusal {
    /// The name that was asked for.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Why.
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The deny, the expired rule, or the rule that is outside the limit or over its budget; `None` where nothing speaks of the name.
    pub fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// Whether the answer must be NODATA, because a permitted name lies below (RFC 8020); NXDOMAIN otherwise. This can be so whatever
    /// the reason: a denied name can have permitted names below it.
    pub fn is_no_data(&self) -> bool {
        self.no_data
    }

    /// The policy's fingerprint.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

impl fmt::Display for Refusal {
    /// One sentence for people. The nearest miss costs more: see [`Policy::nearest_miss`](crate::Policy::nearest_miss).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match self.reason {
            Reason::NoPolicy => write!(f, "{name}: no policy file selects this pod, so nothing is permitted"),
            Reason::NotPermitted => write!(f, "{name}: no rule permits it"),
            Reason::Denied => write!(f, "{name}: denied"),
            Reason::Expired(last) => write!(f, "{name}: what permitted it expired on {last}"),
            Reason::OutsideLimit => write!(f, "{name}: permitted, but outside of what the platform's limits hold"),
            Reason::AncestorOfPermitted => write!(f, "{name}: only names below it are permitted"),
            Reason::SearchListStep => write!(f, "{name}: a step of the search list on the way to a permitted name"),
            Reason::OverBudget(which) => {
                write!(f, "{name}: over its wildcard's budget")?;
                match (self.figure, which) {
                    (None, _) => Ok(()),
                    (Some(figure), BudgetKind::Names) => write!(f, " of {figure} distinct names a minute"),
                    (Some(figure), BudgetKind::Bytes) => write!(f, " of {figure} octets of names a minute"),
                    (Some(figure), BudgetKind::Label) => write!(f, ", in which a label has at most {figure} octets"),
                }?;
                write!(f, " (raise it with `budget = {{ {which} = ... }}`)")
            }
        }?;
        match &self.place {
            Some(place) => write!(f, ": {place}"),
            None => Ok(()),
        }
    }
}
