//! On the real kernel: what netlink is told is what `nft` prints and what packets meet. Each test makes its own network namespace.

#[path = "kernel/world.rs"]
mod world;

#[path = "kernel/golden.rs"]
mod golden;
#[path = "kernel/install.rs"]
mod install;
#[path = "kernel/leases.rs"]
mod leases;
#[path = "kernel/packets.rs"]
mod packets;
