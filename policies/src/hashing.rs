//! The hash of the query path: fast on short keys, and seeded anew for each policy.
use std::{
    hash::{BuildHasher, RandomState},
    sync::OnceLock,
};

use foldhash::{SharedSeed, quality::SeedableRandomState};

/// See [`seeded`].
pub(crate) type Seeded = SeedableRandomState;

/// A hasher whose seed nobody can know: both of its seeds come from std's own, which the kernel's generator feeds, and not from the
/// addresses and times that foldhash would take. That is more than enough here: an app chooses what is looked up, and never what is
/// in the table.
pub(crate) fn seeded() -> Seeded {
    static SHARED: OnceLock<SharedSeed> = OnceLock::new();
    let random = || RandomState::new().hash_one(0_u64);
    SeedableRandomState::with_seed(random(), SHARED.get_or_init(|| SharedSeed::from_u64(random())))
}
