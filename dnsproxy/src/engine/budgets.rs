//! Budgets against tunnelling: names that a wildcard lets through carry data to who runs the zone, so what goes up under each is counted.

use std::{
    collections::{HashSet, VecDeque},
    hash::{BuildHasher, RandomState},
    num::NonZeroU64,
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
    /// What moments are counted from.
    start: Option<Instant>,
}

/// A moment in milliseconds. They come round every 49 days, and none is kept for much longer than a minute.
#[derive(Clone, Copy, Debug)]
struct Moment(u32);

/// What makes a moment the next one, unless it is whole: when something went up is rounded up, the present down, so no minute is too short.
const ROUND_UP: Duration = Duration::from_nanos(999_999);

impl Moment {
    fn of(since: Duration) -> Self {
        Self(u32::try_from(since.as_millis() & u128::from(u32::MAX)).unwrap_or(0))
    }

    /// Milliseconds from here to `now`; less than 0 if this is yet to come.
    fn age(self, now: Self) -> i32 {
        now.0.wrapping_sub(self.0).cast_signed()
    }
}

/// Questions that went up. 16 octets, as a budget may have many.
#[derive(Clone, Copy, Debug)]
struct Went {
    at: Moment,
    octets: u32,
    /// The name's fingerprint; none of a question for a name that was known.
    name: Option<NonZeroU64>,
}

/// What was spent of one budget in the last minute. Bounded by the names that the budget has.
#[derive(Debug, Default)]
struct Spent {
    /// The oldest first. Questions for known names are taken together, and stand at the moment when the last of them may have been.
    recent: VecDeque<Went>,
    names: HashSet<NonZeroU64>,
    octets: u32,
    /// When something was taken last: after a long rest moments would have come round.
    last: Option<Instant>,
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
        let start = *self.start.get_or_insert(now);
        if spent.last.replace(now).is_some_and(|last| now.saturating_duration_since(last) >= MINUTE + TOGETHER) {
            *spent = Spent { last: spent.last, ..Spent::default() };
        }
        let since = now.saturating_duration_since(start);
        let (now, went) = (Moment::of(since), Moment::of(since + ROUND_UP));
        spent.forget(now);
        let fingerprint = NonZeroU64::new(self.hasher.hash_one(name)).unwrap_or(NonZeroU64::MIN);
        let octets = u32::try_from(name.len()).unwrap_or(u32::MAX);
        if spent.names.contains(&fingerprint) {
            return spent.again(budget, now);
        }
        if spent.names.len() >= budget.names as usize {
            return Err(BudgetKind::Names);
        }
        if spent.octets.saturating_add(octets) > budget.bytes {
            return Err(BudgetKind::Bytes);
        }
        spent.names.insert(fingerprint);
        spent.recent.push_back(Went { at: went, octets, name: Some(fingerprint) });
        spent.octets += octets;
        Ok(())
    }
}

impl Spent {
    /// Gives back what is older than a minute.
    fn forget(&mut self, now: Moment) {
        while let Some(&Went { octets, name, .. }) = self.recent.front().filter(|went| went.at.age(now) >= MINUTE.as_millis() as i32) {
            self.recent.pop_front();
            if let Some(name) = name {
                self.names.remove(&name);
            }
            self.octets = self.octets.saturating_sub(octets);
        }
    }

    /// Takes what a question for a known name costs.
    fn again(&mut self, budget: &Budget, now: Moment) -> Result<(), BudgetKind> {
        if self.octets.saturating_add(AGAIN as u32) > budget.bytes {
            return Err(BudgetKind::Bytes);
        }
        match self.recent.back_mut() {
            Some(Went { at, octets, name: None }) if at.age(now) <= 0 => *octets += AGAIN as u32,
            _ => self.recent.push_back(Went {
                at: Moment(now.0.wrapping_add(TOGETHER.as_millis() as u32)),
                octets: AGAIN as u32,
                name: None,
            }),
        }
        self.octets += AGAIN as u32;
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
