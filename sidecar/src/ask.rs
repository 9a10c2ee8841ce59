//! The commands that ask the running sidecar what it sees; each says whose view it shows.

pub mod dns;
pub mod doctor;
pub mod explain;
pub mod flows;
pub mod leases;

/// A command of a later commit.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not there yet")]
pub(crate) struct NotYet(pub(crate) &'static str);
