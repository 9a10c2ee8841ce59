//! On the real kernel: what netlink is told is what `nft` prints and what packets meet. Each test makes its own network namespace.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "in tests a failed unwrap is the report; clippy.toml covers test functions only, not their helpers"
)]

#[path = "kernel/world.rs"]
mod world;

#[path = "kernel/flows.rs"]
mod flows;
#[path = "kernel/golden.rs"]
mod golden;
#[path = "kernel/install.rs"]
mod install;
#[path = "kernel/leases.rs"]
mod leases;
#[path = "kernel/packets.rs"]
mod packets;
#[path = "kernel/told.rs"]
mod told;
