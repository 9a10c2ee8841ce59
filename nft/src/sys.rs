//! The only unsafe of the workspace: a safe vocabulary over libnftnl and libmnl.
//!
//! JUSTIFICATION: the nftnl crate covers a third of the ruleset (no element timeouts, no user data, no maps, no dumps, none of fib, log,
//! limit, redir, dynset, notrack, objref, reject). What it lacks is reached through the C library that it binds, here and nowhere else.
//!
//! SAFETY, for all modules below: libnftnl builds messages without looking at the room that is left, so everything that goes into a
//! message is bounded by its type ([`Ident`], [`UserData`], at most [`MAX_EXPRS`] expressions, at most [`MAX_ELEMENTS`] elements), and the one
//! buffer that messages are built in is larger than the largest of them ([`batch`] has the sum). libnftnl keeps no pointer into what it
//! was given: setters copy.

mod batch;
mod dump;
mod expr;
mod ident;
mod lease;
mod object;
mod owned;
mod socket;

pub(crate) use batch::{Batch, Refused, What};
pub(crate) use dump::{ChainSeen, ElementSeen, SetSeen};
pub(crate) use expr::{Cmp, CtKey, Expr, MAX_EXPRS, MetaKey, PayloadBase, Verdict};
pub(crate) use ident::{Ident, UserData};
pub(crate) use lease::{Act, Lease, Note};
pub(crate) use object::{
    Chain, Element, Family, Hook, HookKind, MAX_ELEMENTS, Object, Policy, Rule, Set, SetFlags, SetKey, Table, TableFlags,
};
pub(crate) use socket::{Lost, Netlink, SendError, next_message};
