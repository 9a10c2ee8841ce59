//! The proxy over real sockets on loopback, between a scripted upstream and a scripted gate. Needs no rights.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "in tests a failed unwrap is the report, also in what they share"
)]

mod answers;
mod gate;
mod gate_order;
mod hostile_app;
mod hostile_upstream;
mod limits;
mod refusals;
mod transports;
mod upstream;
mod upstreams;
mod world;
