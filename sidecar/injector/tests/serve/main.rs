//! The webhook's server over real TLS on loopback: reviews, certificates, clients that are slow, huge or hostile, and its end.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod certificates;
mod client;
mod draining;
mod echo;
mod hostile;
#[path = "../support/mounted.rs"]
mod mounted;
mod reviews;
mod world;
