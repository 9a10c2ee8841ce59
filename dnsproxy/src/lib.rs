//! What is asked and answered: no address leaves here before the gate has opened it.
//!
//! The path of one query, each step demanding what only the step before can make:
//!
//! ```text
//! datagram or stream → Query::parse → Policy::judge → Upstreams::ask → verify → Committed::by → Reply::release → wire
//! ```
//!
//! The kernel is reached through the trait [`Gate`] alone, so this crate needs no rights and no unsafe code. README.md beside this
//! crate says what was decided and what is bounded by how much.
#![forbid(unsafe_code)]
#![allow(dead_code)]
mod answer;
mod asking;
mod body;
mod config;
mod gate;
mod listener;
mod observer;
mod proxy;
mod query;
mod question;
mod refusal;
mod reply;
mod resolve;
mod stats;
mod upstream;
mod wire;

pub use answer::{MAX_ADDRESSES, MAX_LINKS, PermittedAnswer, PlainAnswer, Unusable, Verified, verify};
pub use config::{BindError, Config, Identity, Limits};
pub use gate::{Committed, Gate, GateFailure, OpenError, Opened};
pub use hickory_proto::{
    op::ResponseCode,
    rr::{Name as WireName, RecordType},
};
pub use observer::{Event, Observer, Outcome, Transport};
pub use proxy::{Handle, Proxy, RunError};
pub use query::{MAX_QUERY, Parsed, Query, Rejected};
pub use refusal::REFUSAL_TTL;
pub use reply::{Failure, Reply};
pub use stats::Stats;
pub use upstream::{Trouble, UpstreamHealth, message::UpstreamReply};
