//! The proxy over real sockets on loopback, between a scripted upstream and a scripted gate. Needs no rights.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "in tests a failed unwrap is the report, also in what they share"
)]

mod absence;
mod answers;
mod budgets;
mod cache;
mod changes;
mod coalescing;
mod gate;
mod gate_order;
mod handle;
mod hostile_app;
mod hostile_upstream;
mod limits;
mod refusals;
mod reverse;
mod stale;
mod transports;
mod types;
mod upstream;
mod upstreams;
mod world;
