//! What may be asked for, and why: the policy language, matching and explaining, with no sockets and no clock of its own.
#![forbid(unsafe_code)]

mod address;
mod budget;
mod compile;
mod date;
mod expect;
mod explain;
mod file;
mod hashing;
mod host;
mod name;
mod opening;
mod parse;
mod policy;
mod ports;
mod preset;
mod problem;
mod surroundings;
mod target;
mod verdict;

pub use address::{AddressKind, AddressRefusal};
pub use budget::{Budget, BudgetId, BudgetKind, BudgetTerms};
pub use date::Date;
pub use expect::{ExpectationReport, run_expectations};
pub use explain::{BudgetReport, Decision, Explanation, NearestKind, NearestMiss, explain, is_public_suffix};
pub use file::{Allow, Deny, Expectation, Expected, HttpsRecords, LeaseTerms, Limit, Mode, PolicyFile, Private, Revoke, Select};
pub use host::HostPattern;
pub use name::{Name, NameError};
pub use opening::{Opening, OpeningIndex, RangeDeny};
pub use parse::{Parsed, parse};
pub use policy::{FileInUse, Policy};
pub use ports::{PortRange, Ports, Protocol};
pub use preset::{Preset, PresetInfo, presets};
pub use problem::{Problem, Problems, Severity, Source, Style, is_obeyed};
pub use surroundings::{Pod, Surroundings};
pub use target::{Target, TargetError, TargetHost};
pub use verdict::{Grant, GrantRef, Judged, Place, Reason, Refusal, RefusalRef, Verdict};
