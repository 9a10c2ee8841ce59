//! A set takes no memory for what it may once hold.

use super::Firewall;
use crate::sys::{Batch, Set};

/// The size that a new set's hash table is made for: 128 places, 1 KiB.
const FIRST_SIZE: u32 = 64;

impl Firewall {
    /// Makes a set, or gives the one that stands its size. The kernel makes a new set's hash table for the size that it is told, 4/3 of it
    /// and up to the next power of two, 8 bytes each: so it is told a small one first, and the true one at once after it. The table grows with
    /// its elements.
    pub(super) fn make(&self, batch: &mut Batch, set: &Set, new: bool) {
        if new && set.size > FIRST_SIZE && self.sets_grow {
            batch.set(&self.inet, &Set { size: FIRST_SIZE, ..set.clone() });
        }
        batch.set(&self.inet, set);
    }
}

/// Whether the kernel lets a set's size be changed: Linux 6.5 and later; older ones take the message and change nothing, so there is nothing to try it by.
pub(super) fn possible() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0_u32));
    (numbers.next(), numbers.next()) >= (Some(6), Some(5))
}
