//! The commands that ask the running sidecar what it sees; each says whose view it shows.

pub mod dns;
pub mod doctor;
pub mod explain;
pub mod flows;
pub mod leases;
pub mod lines;
pub mod paint;
pub mod status;
pub mod table;
