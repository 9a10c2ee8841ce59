//! What is told about each query, after its reply has left: telling never delays an answer.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use hickory_proto::{op::ResponseCode, rr::RecordType};
use policies::{Grant, Name, Policy, Refusal};

use crate::{answer::Unusable, gate::OpenError, told};

/// Who is told. Called on the resolver's thread: it must neither block nor wait.
pub trait Observer: Send + 'static {
    /// Told once for each query that was understood, after its reply was handed to the kernel.
    fn told(&self, event: &Event<'_>);
}

/// Tells nobody.
impl Observer for () {
    fn told(&self, _: &Event<'_>) {}
}

/// How a query came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One datagram.
    Udp,
    /// A stream, each message with its length before it (RFC 1035 §4.2.2).
    Tcp,
}

/// One query and what became of it. Nothing of it is worked out before it is asked for.
#[derive(Debug)]
#[non_exhaustive]
pub struct Event<'a> {
    /// Who asked. After a redirect this is still the asking socket.
    pub client: SocketAddr,
    /// How it came.
    pub transport: Transport,
    /// The policy that was in force when the last verdict fell.
    pub policy: &'a Arc<Policy>,
    /// The verdict and what followed from it.
    pub outcome: &'a Outcome,
    /// Where the answer came from.
    pub source: Source,
    /// The response code that was told.
    pub rcode: ResponseCode,
    /// The TTL that was told with the records, in seconds.
    pub ttl: Option<u32>,
    /// When it came.
    pub(crate) at: Instant,
    /// The reply as it left, without the length a stream puts before it.
    pub(crate) message: &'a [u8],
}

impl Event<'_> {
    /// From the receipt of the query to now: the reply has just left.
    pub fn duration(&self) -> Duration {
        self.at.elapsed()
    }

    /// The name asked for.
    pub fn name(&self) -> Name {
        told::name(self.message)
    }

    /// The type asked for.
    pub fn rtype(&self) -> RecordType {
        told::rtype(self.message)
    }

    /// The question as it stands in the reply: the name in octets with the root's, then type and class. Costs no allocation.
    pub fn question(&self) -> &[u8] {
        told::question(self.message)
    }

    /// The aliases (CNAME) in the answer, in its order: each the target of one record.
    pub fn chain(&self) -> Vec<Name> {
        told::chain(self.message)
    }

    /// The addresses that were told; every one of them was open by then.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        told::addresses(self.message)
    }
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// From here: a refusal, a failure, an absence of our own accord, a name of the gate's.
    Here,
    /// From the upstream at this address, asked for this query or for an equal one that came shortly before.
    Upstream(SocketAddr),
    /// From what was kept.
    Cache,
    /// From what was kept beyond its time, because no upstream answers (RFC 8767).
    Stale,
}

/// What became of a query.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// Permitted, committed, told.
    Released(Grant),
    /// Permitted and answered, but there was no address to tell: a negative answer, another type, or every address stripped.
    Plain(Grant),
    /// Told again as it was told before, under the same policy; its leases stand.
    Again,
    /// A reverse look-up of a leased address, answered with the names it is leased for.
    Leased,
    /// The policy refused the name, or one its chain passes through.
    Refused(Refusal),
    /// Permitted, but no upstream gave an answer.
    NoUpstream(Grant),
    /// Permitted, but the answer was broken.
    Unusable(Grant, Unusable),
    /// Permitted, but the gate did not open: no address was told.
    GateFailed(Grant, OpenError),
}
