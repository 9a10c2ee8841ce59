//! What an entry takes, and how two bounds come down to one: no sequence of answers brings a cache over either.
//!
//! The library bounds the sum of weights alone. An entry weighs what its name and body take, and at least its even share of the room: so
//! what fits by weight fits by octets, and is never more entries than shares.

use quick_cache::{DefaultHashBuilder, Lifecycle, OptionsBuilder, Weighter, unsync};

use super::{
    Bounds,
    entry::{Kept, Key},
};

/// Octets of a slot in the library's slab: [`Key`] and [`Kept`], its two links, its note of use. A test holds it to what the library says.
pub(super) const SLOT: usize = 72;

/// Octets of the index for each entry at the worst: a number of four and a tag of one for each bucket, of which there are up to 16/7 as many
/// (a power of two, at most seven eighths full).
pub(super) const INDEX: usize = 12;

/// Octets of an index besides.
pub(super) const INDEX_BASE: usize = 48;

/// Octets that an entry has room for at the least: two of the allocator's smallest pieces.
const LEAST: usize = 64;

/// How much of the room is for what was asked for again; the rest is where a new answer has to earn that.
const PROVEN: f64 = 0.9;

/// A table with room for all that the bounds allow.
pub(super) fn table(bounds: Bounds) -> unsync::Cache<Key, Kept, Weight, DefaultHashBuilder, Freed> {
    let bytes = bounds.bytes.saturating_sub(INDEX_BASE);
    let entries = bounds.entries.min(bytes / (SLOT + INDEX + LEAST));
    let share = bytes.saturating_sub(entries * (SLOT + INDEX)).checked_div(entries).unwrap_or(0);
    let mut options = OptionsBuilder::new();
    options.estimated_items_capacity(entries).weight_capacity((share * entries) as u64).hot_allocation(PROVEN);
    // What went is not remembered: a ghost would take a whole slot.
    options.ghost_allocation(0.0);
    #[expect(clippy::expect_used, reason = "it fails without the two capacities, which stand above")]
    let options = options.build().expect("both capacities are given");
    let mut table = unsync::Cache::with_options(options, Weight { share }, DefaultHashBuilder::default(), Freed);
    table.reserve(entries);
    table
}

/// Octets that the name and the body take with what the allocator adds: a header of eight, in steps of sixteen, 32 at the least (glibc;
/// musl is within sixteen of it).
pub(super) fn heap(key: &Key, kept: &Kept) -> usize {
    let piece = |len: usize| if len == 0 { 0 } else { (len + 8).next_multiple_of(16).max(32) };
    piece(key.len()) + piece(kept.len())
}

/// Weighs entries.
#[derive(Clone, Debug)]
pub(super) struct Weight {
    share: usize,
}

impl Weighter<Key, Kept> for Weight {
    fn weight(&self, key: &Key, kept: &Kept) -> u64 {
        // Never nothing: what weighs nothing is never over the bound, also where there is room for none.
        heap(key, kept).max(self.share).max(1) as u64
    }
}

/// Counts the octets of what was turned out, replaced, or not let in.
#[derive(Clone, Debug)]
pub(super) struct Freed;

impl Lifecycle<Key, Kept> for Freed {
    type RequestState = usize;

    fn on_evict(&self, freed: &mut usize, key: Key, kept: Kept) {
        *freed += heap(&key, &kept);
    }
}
