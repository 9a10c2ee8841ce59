//! A verdict that borrows: what a flood of names costs is looking them up, and no allocation.
use std::sync::Arc;

use super::{Grant, Place, Reason, Refusal, Verdict};
use crate::{
    budget::Budget,
    name::Name,
    policy::{Granted, Inner},
};

/// What the policy says of a name, in terms of the policy and of the octets that were asked about.
#[derive(Clone, Copy, Debug)]
pub enum Judged<'a> {
    /// It may be asked for.
    Granted(GrantRef<'a>),
    /// It may not.
    Refused(RefusalRef<'a>),
}

impl Judged<'_> {
    /// The same as a value of its own. Allocates the name.
    pub fn to_verdict(&self) -> Verdict {
        match self {
            Self::Granted(grant) => Verdict::Granted(grant.to_grant()),
            Self::Refused(refusal) => Verdict::Refused(refusal.to_refusal()),
        }
    }
}

/// A grant that borrows. See [`Grant`].
#[derive(Clone, Copy)]
pub struct GrantRef<'a> {
    /// Checked and lower-cased.
    pub(crate) wire: &'a [u8],
    pub(crate) policy: &'a Arc<Inner>,
    pub(crate) granted: &'a Arc<Granted>,
}

impl<'a> GrantRef<'a> {
    /// The octets of the name, as they were given.
    pub fn as_wire(&self) -> &'a [u8] {
        self.wire
    }

    /// See [`Grant::budget`].
    pub fn budget(&self) -> Option<Budget> {
        self.policy.budget_of(self.granted)
    }

    /// See [`Grant::generation`].
    pub fn generation(&self) -> u64 {
        self.policy.generation
    }

    /// The permission itself. Allocates the name.
    pub fn to_grant(&self) -> Grant {
        self.grant_for(Name::of_sound_wire(self.wire))
    }

    /// The permission for the name that has these very octets.
    pub(crate) fn grant_for(&self, name: Name) -> Grant {
        let in_cluster = self.policy.is_in_cluster(name.as_wire());
        Grant { name, policy: Arc::clone(self.policy), granted: Arc::clone(self.granted), in_cluster, would_deny: None }
    }
}

impl std::fmt::Debug for GrantRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GrantRef").field("name", &Name::of_sound_wire(self.wire)).finish_non_exhaustive()
    }
}

/// A refusal that borrows: what the answer to it needs. See [`Refusal`].
#[derive(Clone, Copy, Debug)]
pub struct RefusalRef<'a> {
    pub(crate) wire: &'a [u8],
    pub(crate) reason: Reason,
    pub(crate) place: Option<&'a Place>,
    pub(crate) no_data: bool,
    pub(crate) generation: u64,
}

impl<'a> RefusalRef<'a> {
    /// The octets of the name, as they were given.
    pub fn as_wire(&self) -> &'a [u8] {
        self.wire
    }

    /// See [`Refusal::reason`].
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// See [`Refusal::place`].
    pub fn place(&self) -> Option<&'a Place> {
        self.place
    }

    /// See [`Refusal::is_no_data`].
    pub fn is_no_data(&self) -> bool {
        self.no_data
    }

    /// See [`Refusal::generation`].
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The refusal as a value of its own. Allocates the name.
    pub fn to_refusal(&self) -> Refusal {
        self.refusal_for(Name::of_sound_wire(self.wire))
    }

    /// The refusal of the name that has these very octets.
    pub(crate) fn refusal_for(&self, name: Name) -> Refusal {
        Refusal { name, reason: self.reason, place: self.place.cloned(), no_data: self.no_data, generation: self.generation, figure: None }
    }
}
