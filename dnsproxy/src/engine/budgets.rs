//! Budgets against tunnelling: names that a wildcard lets through carry data to who runs the zone, so what goes up under each is counted.

use std::{
    collections::{HashSet, VecDeque},
    hash::{BuildHasher, RandomState},
    time::{Duration, Instant},
};

use policies::{Budget, BudgetKind};

/// The time that budgets speak of: any minute, not one of the clock.
const MINUTE: Duration = Duration::from_secs(60);

/// What a question costs, in octets, whose name went up within the last minute: which of the known names it has, its type (16 bits) and its
/// two flags can carry data as well, where the zone lets nothing be kept. It is less than this, with up to 2¹⁴ names.
const AGAIN: usize = 4;

/// Such questions are counted together that come within this time of each other, so that what is remembered stays bounded by the names.
const TOGETHER: Duration = Duration::from_secs(1);

/// What was spent of each budget of one generation of the policy.
#[derive(Debug, Default)]
pub(crate) struct Budgets {
    generation: u64,
    spent: Vec<Spent>,
    hasher: RandomState,
}

/// What was spent of one budget in the last minute. Bounded by the names that the budget has.
#[derive(Debug, Default)]
struct Spent {
    /// When each name went up, its fingerprint and its octets, the oldest first; without fingerprint, questions for known names, and when the
    /// last of them may have been.
    recent: VecDeque<(Instant, Option<u64>, usize)>,
    names: HashSet<u64>,
    octets: usize,
}

impl Budgets {
    /// Takes what a question for `name` costs, under the policy of this generation: one of the names and its octets, or [`AGAIN`] octets where
    /// the name went up within the last minute already. What was kept is not asked for and costs nothing.
    ///
    /// # Errors
    ///
    /// Which bound it would go over; then nothing was taken.
    pub(crate) fn take(&mut self, generation: u64, budget: &Budget, name: &[u8], now: Instant) -> Result<(), BudgetKind> {
        if self.generation != generation {
            self.generation = generation;
            self.spent.clear();
        }
        if longest_label(name) > budget.label {
            return Err(BudgetKind::Label);
        }
        let place = budget.id.get();
        if self.spent.len() <= place {
            self.spent.resize_with(place + 1, Spent::default);
        }
        let Some(spent) = self.spent.get_mut(place) else { return Err(BudgetKind::Names) };
        spent.forget(now);
        let fingerprint = self.hasher.hash_one(name);
        if spent.names.contains(&fingerprint) {
            return spent.again(budget, now);
        }
        if spent.names.len() >= budget.names as usize {
            return Err(BudgetKind::Names);
        }
        if spent.octets + name.len() > budget.bytes as usize {
            return Err(BudgetKind::Bytes);
        }
        spent.names.insert(fingerprint);
        spent.recent.push_back((now, Some(fingerprint), name.len()));
        spent.octets += name.len();
        Ok(())
    }
}

impl Spent {
    /// Gives back what is older than a minute.
    fn forget(&mut self, now: Instant) {
        while let Some(&(_, fingerprint, octets)) = self.recent.front().filter(|(at, ..)| now.saturating_duration_since(*at) >= MINUTE) {
            self.recent.pop_front();
            if let Some(fingerprint) = fingerprint {
                self.names.remove(&fingerprint);
            }
            self.octets = self.octets.saturating_sub(octets);
        }
    }

    /// Takes what a question for a known name costs.
    fn again(&mut self, budget: &Budget, now: Instant) -> Result<(), BudgetKind> {
        if self.octets + AGAIN > budget.bytes as usize {
            return Err(BudgetKind::Bytes);
        }
        match self.recent.back_mut() {
            Some((end, None, octets)) if now <= *end => *octets += AGAIN,
            _ => self.recent.push_back((now + TOGETHER, None, AGAIN)),
        }
        self.octets += AGAIN;
        Ok(())
    }
}

fn longest_label(name: &[u8]) -> u8 {
    let (mut rest, mut longest) = (name, 0);
    while let Some((&length, behind)) = rest.split_first() {
        longest = longest.max(length);
        rest = behind.get(usize::from(length)..).unwrap_or_default();
    }
    longest
}

#[cfg(test)]
mod tests;
