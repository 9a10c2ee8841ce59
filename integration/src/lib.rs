//! Proof on a real kernel with real servers: namespaces, an authority that can lie, targets, a wire watcher.
//!
//! A test makes a [`World`], adds [`Pod`]s to it, starts servers outside and programs inside, and asks the [`Watcher`] what
//! was on the wire. Everything goes away with the test process, however it ends: namespaces are held by threads and file
//! descriptors alone, children carry a parent-death signal, and a scratch directory whose owner is gone is removed by the next
//! world that starts.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a crate for tests alone: a failed unwrap is the report"
)]

pub mod age;
pub mod attack;
pub mod attempts;
pub mod authority;
pub mod browser;
pub mod budgets;
pub mod clients;
pub mod command;
pub mod demo;
pub mod flowcost;
pub mod frames;
pub mod hour;
pub mod kernel;
pub mod leases;
pub mod namespace;
pub mod pod;
pub mod pods;
pub mod policy_dir;
pub mod product;
mod question;
pub mod resolvers;
pub mod rights;
pub mod scratch;
pub mod servers;
pub mod stream;
pub mod stubs;
pub mod target;
pub mod watcher;
pub mod world;

pub use authority::{Authority, Behaviour};
pub use command::{Cmd, Finished, Running};
pub use namespace::Namespace;
pub use pod::Pod;
pub use pods::{PlayedPod, Podman};
pub use policy_dir::PolicyDir;
pub use product::{Portreeve, Setup};
pub use target::{TcpTarget, UdpTarget};
pub use watcher::{Packet, Watcher};
pub use world::World;

use std::time::{Duration, Instant};

/// Asks `done` every 5 ms until it says something or `limit` has passed.
pub fn wait_until<T>(limit: Duration, mut done: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(value) = done() {
            return Some(value);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
