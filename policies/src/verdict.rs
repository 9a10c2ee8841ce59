//! The outcome of judging a name: a grant that the next stages demand, or a refusal that says why.
use std::{fmt, net::IpAddr, sync::Arc};

use serde::Serialize;

use crate::{
    address::{self, AddressRefusal},
    date::Date,
    file::HttpsRecords,
    name::Name,
    opening::{Opening, OpeningIndex},
    policy::{Granted, Inner},
};

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
}

impl Grant {
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
        self.in_cluster = self.in_cluster && self.policy.is_in_cluster(alias);
    }

    /// How HTTPS and SVCB records of the name are answered: `Strip` only if every rule that grants it says so. For a later issue.
    pub fn https_records(&self) -> HttpsRecords {
        self.granted.https_records
    }

    /// Whether SRV targets of the name are granted along. For a later issue.
    pub fn srv_targets(&self) -> bool {
        self.granted.srv_targets
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
    /// It is a permitted name with one of the search domains behind it: a step of the stub resolver, not a wish of the app.
    SearchListStep,
}

/// A name that may not be asked for.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub(crate) name: Name,
    pub(crate) reason: Reason,
    pub(crate) place: Option<Place>,
    pub(crate) no_data: bool,
    pub(crate) generation: u64,
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

    /// The deny, the expired rule, or the rule that is outside the limit; `None` where nothing speaks of the name.
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
            Reason::SearchListStep => write!(f, "{name}: a permitted name with a search domain behind it"),
        }?;
        match &self.place {
            Some(place) => write!(f, ": {place}"),
            None => Ok(()),
        }
    }
}
