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

mod answer;
mod asking;
mod body;
mod cache;
mod config;
mod engine;
mod gate;
mod glimpse;
mod listener;
mod observer;
mod proxy;
mod query;
mod question;
mod refusal;
mod reply;
mod stats;
mod told;
mod wire;

pub use answer::{MAX_ADDRESSES, MAX_LINKS, PermittedAnswer, PlainAnswer, Unusable};
pub use asking::{Trouble, UpstreamHealth};
pub use config::{BindError, Config, Identity, Limits};
pub use engine::errand::NotTaken;
pub use gate::{Committed, Gate, OpenError, Opened};
pub use hickory_proto::{op::ResponseCode, rr::RecordType};
pub use observer::{Event, Observer, Outcome, Source, Transport};
pub use proxy::{Handle, Proxy, RunError};
pub use query::{MAX_QUERY, Parsed, Query, Rejected};
pub use refusal::REFUSAL_TTL;
pub use reply::{Failure, Reply};
pub use stats::Stats;
