//! Rule ids: a rule that still permits all that it did keeps its id, and with it its established flows; any other gets a new one.

use std::collections::{HashMap, HashSet};

use nft::{ReadBack, RuleId};
use policies::{Opening, Policy, Revoke};

/// The most ids of rules that are gone but keep their flows (`revoke = "new"`); the oldest give way.
const MOST_RETAINED: usize = 256;

/// Which opening has which id.
#[derive(Debug, Clone)]
pub struct RuleIds {
    by_key: HashMap<String, (RuleId, u64)>,
    retained: Vec<RuleId>,
    /// The last one given out. Ids are given in a circle, so that one that is free again rests as long as can be: a connection
    /// that carries it may still be alive.
    last: RuleId,
}

impl RuleIds {
    /// None given yet. The first is drawn at random, for the same reason.
    pub fn draw_first() -> Self {
        let mut random = [0; 2];
        // Without randomness the circle starts at its start: no promise hangs on it.
        let _ = getrandom::fill(&mut random);
        RuleIds { by_key: HashMap::new(), retained: Vec::new(), last: RuleId::new(u16::from_ne_bytes(random)).unwrap_or(RuleId::MAX) }
    }

    /// Takes over the ids that stand in the kernel.
    pub fn adopt(&mut self, found: &ReadBack) {
        self.by_key = found.openings.iter().map(|o| (o.key.clone(), (o.id, o.fingerprint))).collect();
        self.retained.clone_from(&found.retained);
    }

    /// The id of an opening of the policy this was made for.
    pub fn of(&self, opening: &Opening) -> Option<RuleId> {
        self.by_key.get(&opening.key).map(|(id, _)| *id)
    }

    /// Ids whose flows go on without their rule.
    pub fn retained(&self) -> &[RuleId] {
        &self.retained
    }

    /// The ids under `new`, after `old`.
    pub fn under(&self, old: &Policy, new: &Policy) -> Self {
        let mut next = RuleIds { by_key: HashMap::new(), retained: self.retained.clone(), last: self.last };
        let mut taken: HashSet<RuleId> = self.by_key.values().map(|(id, _)| *id).chain(self.retained.iter().copied()).collect();
        let before: HashMap<&str, &Opening> = old.openings().iter().map(|o| (o.key.as_str(), o)).collect();
        let fingerprint = new.generation();
        for opening in new.openings() {
            let kept = self.by_key.get(&opening.key).filter(|(_, known)| {
                // After a restart the old policy is not known any more: only under the very same policy ids are kept then.
                *known == fingerprint || before.get(opening.key.as_str()).is_some_and(|older| opening.covers(older))
            });
            let id = match kept {
                Some((id, _)) => *id,
                None => next.draw(&taken),
            };
            taken.insert(id);
            next.by_key.insert(opening.key.clone(), (id, fingerprint));
        }
        let live: HashSet<RuleId> = next.by_key.values().map(|(id, _)| *id).collect();
        for (key, older) in before {
            if let Some((id, _)) = self.by_key.get(key)
                && older.revoke == Revoke::New
                && !live.contains(id)
                && !next.retained.contains(id)
            {
                next.retained.push(*id);
            }
        }
        let excess = next.retained.len().saturating_sub(MOST_RETAINED);
        next.retained.drain(..excess);
        next
    }

    /// The next free id. With 65,533 of them, and fewer openings and retained ones than that, there always is one.
    fn draw(&mut self, taken: &HashSet<RuleId>) -> RuleId {
        for _ in 0..u16::MAX {
            self.last = RuleId::new(self.last.get().wrapping_add(1)).unwrap_or(RuleId::MIN);
            if !taken.contains(&self.last) {
                break;
            }
        }
        self.last
    }
}

#[cfg(test)]
mod tests;
