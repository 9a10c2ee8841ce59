//! What is told about each query, after its reply has left: telling never delays an answer.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hickory_proto::op::ResponseCode;
use policies::{Grant, Policy, Refusal};

use crate::{answer::Unusable, gate::GateFailure, query::Query};

/// Who is told. Called on the event loop: it must neither block nor wait.
pub trait Observer: Send + Sync + 'static {
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

/// One query and what became of it.
#[derive(Debug)]
#[non_exhaustive]
pub struct Event<'a> {
    /// The question.
    pub query: &'a Query,
    /// Who asked. After a redirect this is still the asking socket.
    pub client: SocketAddr,
    /// How it came.
    pub transport: Transport,
    /// The policy that was in force when the last verdict fell.
    pub policy: &'a Arc<Policy>,
    /// The verdict and what followed from it.
    pub outcome: &'a Outcome,
    /// The upstream whose answer was used.
    pub upstream: Option<SocketAddr>,
    /// The response code that was told.
    pub rcode: ResponseCode,
    /// The addresses that were told; every one of them was open by then.
    pub addresses: &'a [IpAddr],
    /// The TTL that was told with them, in seconds.
    pub ttl: Option<u32>,
    /// From the receipt of the query to the departure of the reply.
    pub duration: Duration,
}

/// What became of a query.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// Permitted, committed, told.
    Released(Grant),
    /// Permitted and answered, but there was no address to tell: a negative answer, another type, or every address stripped.
    Plain(Grant),
    /// The policy refused the name, or one its chain passes through.
    Refused(Refusal),
    /// Permitted, but no upstream gave an answer.
    NoUpstream(Grant),
    /// Permitted, but the answer was broken.
    Unusable(Grant, Unusable),
    /// Permitted, but the gate did not open: no address was told.
    GateFailed(Grant, GateFailure),
}
