//! What happened, counted: every drop and every failure shows in a number.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A snapshot of the proxy's counters since its start.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats { $($(#[$doc])* pub $name: u64,)* }

        /// The live counters behind [`Stats`].
        #[derive(Debug, Default)]
        pub(crate) struct Counters { $(pub(crate) $name: Counter,)* }

        impl Counters {
            /// Reads every counter; they are not read at one instant.
            pub(crate) fn snapshot(&self) -> Stats {
                Stats { $($name: self.$name.0.load(Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Messages received, whatever became of them.
    queries,
    /// Messages that got no reply because they could not be or must not be answered (shorter than a header, or themselves replies).
    ignored,
    /// Messages answered FORMERR, NOTIMP, REFUSED or BADVERS.
    rejected,
    /// Names the policy refused.
    refused,
    /// Tries of a search list, refused here without a question upstream and not counted among the refused.
    search_steps,
    /// Names refused because a wildcard's budget was spent; counted among the refused too.
    over_budget,
    /// Answers out of what was kept.
    cached,
    /// Answers out of what was kept beyond its time, because no upstream answers (RFC 8767).
    stale,
    /// Queries that waited for an answer to an equal one.
    coalesced,
    /// Reverse look-ups answered with the names that an address is leased for.
    reverse,
    /// Names asked for anew though nobody waited, because their addresses are in use.
    refreshed,
    /// Answers that left with addresses, every one of them committed.
    released,
    /// Answers that left without an address: negative ones, and other types.
    plain,
    /// Replies of SERVFAIL, whatever the reason.
    servfail,
    /// Queries dropped because too many were in flight.
    dropped_over_limit,
    /// TCP connections closed because too many were open.
    connections_over_limit,
    /// Tries of an upstream that gave nothing usable: time-out, unreachable, error code.
    upstream_errors,
    /// Packets from an upstream that answered no question that was open: wrong id, question or shape.
    upstream_strays,
    /// Questions asked over TCP because the answer was truncated.
    upstream_tcp,
    /// Upstream answers that were broken: loops, too many links, too many addresses.
    unusable_answers,
    /// Records that were left out because they are not on the chain of the name asked for.
    stray_records,
    /// Addresses that were left out because the rule gives no right to their range.
    stripped_addresses,
    /// Answers the gate did not open, its time-outs included.
    gate_failures,
    /// Answers judged again because the policy changed under them.
    rejudged,
    /// Replies the kernel did not take.
    send_errors,
}

/// One counter; only ever grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    /// Counts one.
    pub(crate) fn one(&self) {
        self.many(1);
    }

    /// Counts `n`.
    pub(crate) fn many(&self, n: usize) {
        self.0.fetch_add(n as u64, Relaxed);
    }
}
