//! Names that SRV records lead to, where the rule grants them along: for as long as the record's TTL says, and no longer.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use policies::{Grant, Name, Policy, Verdict};

/// The most targets that are known at once; one more takes the place of the one that ends first.
const MOST: usize = 1024;

/// The shortest time that a target is known for, in seconds: the question for it comes after the answer that led there, even where that was
/// for one use (a TTL of 0).
const LEAST: u32 = 2;

/// Targets, each with the grant of the name that led there.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    known: HashMap<Name, (Grant, Instant)>,
}

impl Targets {
    /// Notes that `grant` led to `target`, for `ttl` seconds, and at least for [`LEAST`].
    pub(crate) fn note(&mut self, target: Name, grant: &Grant, ttl: u32, now: Instant) {
        if self.known.len() >= MOST && !self.known.contains_key(&target) {
            self.known.retain(|_, (_, end)| *end > now);
            let first = self.known.iter().min_by_key(|(_, (_, end))| *end).map(|(name, _)| name.clone());
            if let Some(first) = first.filter(|_| self.known.len() >= MOST) {
                self.known.remove(&first);
            }
        }
        self.known.insert(target, (grant.clone(), now + Duration::from_secs(ttl.max(LEAST).into())));
    }

    /// The grant for a name that is a target now, by the policy in force.
    pub(crate) fn grant(&self, name: &Name, policy: &Policy, now: Instant) -> Option<Grant> {
        let (grant, end) = self.known.get(name)?;
        if *end < now {
            return None;
        }
        if grant.generation() == policy.generation() {
            return grant.for_target(name, policy);
        }
        // The answer that led here may be kept by the app beyond a change of policy.
        match policy.judge(grant.name()) {
            Verdict::Granted(grant) => grant.for_target(name, policy),
            Verdict::Refused(_) => None,
        }
    }
}
