//! The bytes that leave. Addresses are in them only by [`Reply::release`], and that demands a [`Committed`].

use std::{net::IpAddr, time::Instant};

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query as Question, ResponseCode},
    rr::Record,
};

use crate::{
    answer::PlainAnswer,
    gate::Committed,
    observer::Transport,
    query::{Head, Query, Rejected},
    refusal, wire,
};

/// One reply, ready to be sent to who asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    bytes: Vec<u8>,
    rcode: ResponseCode,
    addresses: Vec<IpAddr>,
    ttl: Option<u32>,
}

/// Why a permitted name gets SERVFAIL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// No upstream answered.
    Upstream,
    /// The upstream's answer was broken.
    Answer,
    /// The gate did not open.
    Gate,
}

impl Reply {
    /// Tells the addresses of an answer that is open, for no longer than it stays open: the TTL is the least of the chain's and the
    /// whole seconds left, and 0 in the last of them.
    ///
    /// An answer to another question than `query`'s is not told: SERVFAIL.
    pub fn release(query: &Query, committed: &Committed) -> Self {
        let answer = committed.answer();
        if answer.name() != query.name() || answer.rtype() != query.rtype() {
            return Self::fail(query, Failure::Gate);
        }
        let ttl = committed.ttl_at(Instant::now());
        let mut draft = Draft::new(query);
        draft.message.metadata.authentic_data = answer.is_authentic() && query.wants_authentic();
        draft.message.answers.extend(answer.records().iter().cloned().map(|mut record| {
            record.ttl = record.ttl.min(ttl);
            record
        }));
        if answer.left_out().stripped > 0 {
            draft.error(17, "portreeve: some addresses lie in ranges that the rule does not permit".into());
        }
        let mut reply = draft.finish();
        if reply.rcode == ResponseCode::NoError {
            reply.addresses = answer.addresses().to_vec();
            reply.ttl = Some(ttl);
        }
        reply
    }

    /// Tells an answer that has no address in it.
    pub fn plain(query: &Query, answer: &PlainAnswer) -> Self {
        let mut draft = Draft::new(query);
        draft.message.metadata.response_code = answer.rcode;
        draft.message.metadata.authentic_data = answer.authentic && query.wants_authentic();
        if answer.was_stripped() {
            refusal::add_empty(&mut draft.message, query);
            draft.error(17, "portreeve: every address lies in a range that the rule does not permit".into());
        } else {
            draft.message.answers.extend(answer.answers.iter().filter(|record| is_plain(record)).cloned());
            draft.message.authorities.extend(answer.authorities.iter().filter(|record| is_plain(record)).cloned());
        }
        draft.finish()
    }

    /// SERVFAIL: the client may ask again at once, and nothing is kept (NXDOMAIN would be).
    pub fn fail(query: &Query, failure: Failure) -> Self {
        let mut draft = Draft::new(query);
        draft.message.metadata.response_code = ResponseCode::ServFail;
        let (info, text) = match failure {
            Failure::Upstream => (22, "portreeve: no upstream resolver gave an answer"),
            Failure::Answer => (24, "portreeve: the upstream's answer is broken or beyond its bounds"),
            Failure::Gate => (0, "portreeve: the address could not be opened"),
        };
        draft.error(info, text.into());
        draft.finish()
    }

    /// Turns away what is no question for us.
    pub fn reject(rejected: &Rejected) -> Self {
        let mut draft = Draft::of(rejected.head, rejected.question.clone());
        draft.message.metadata.op_code = rejected.opcode;
        draft.message.metadata.response_code = rejected.rcode;
        draft.finish()
    }

    /// The message, without the length a stream puts before it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The response code told.
    pub fn rcode(&self) -> ResponseCode {
        self.rcode
    }

    /// The addresses told (a truncated datagram may hold fewer of them).
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// The TTL told with the addresses, in seconds.
    pub fn ttl(&self) -> Option<u32> {
        self.ttl
    }
}

/// Whether a record opens no question of addresses: the last guard, should a walk ever let one through.
fn is_plain(record: &Record) -> bool {
    record.data.ip_addr().is_none()
}

/// A reply in the making.
pub(crate) struct Draft {
    head: Head,
    pub(crate) message: Message,
    error: Option<(u16, String)>,
}

impl Draft {
    /// An empty NOERROR to `query`.
    pub(crate) fn new(query: &Query) -> Self {
        Self::of(query.head, Some(Question::query(query.wire_name().clone(), query.rtype())))
    }

    /// An empty NOERROR with the id, flags and question of what was asked (RFC 6895 §2).
    fn of(head: Head, question: Option<Question>) -> Self {
        let mut message = Message::new(head.id, MessageType::Response, OpCode::Query);
        message.metadata.recursion_desired = head.recursion_desired;
        message.metadata.recursion_available = true;
        message.metadata.checking_disabled = head.checking_disabled;
        message.queries.extend(question);
        Self { head, message, error: None }
    }

    /// Adds an extended error (RFC 8914), told only to who sent OPT.
    pub(crate) fn error(&mut self, info: u16, text: String) {
        self.error = Some((info, text));
    }

    /// The bytes, within what the client takes.
    pub(crate) fn finish(mut self) -> Reply {
        let rcode = self.message.metadata.response_code;
        // The upper half goes into the OPT record, which stands outside the message.
        self.message.metadata.response_code = ResponseCode::from(0, rcode.low());
        let opt = self.head.edns.map(|edns| wire::Opt { rcode_high: rcode.high(), dnssec_ok: edns.dnssec_ok, error: self.error });
        let limit = match (self.head.transport, self.head.edns) {
            (Transport::Tcp, _) => u16::MAX,
            (Transport::Udp, Some(edns)) => edns.payload.clamp(wire::UDP_PLAIN, wire::UDP_PAYLOAD),
            (Transport::Udp, None) => wire::UDP_PLAIN,
        };
        match wire::encode(&self.message, opt.as_ref(), limit) {
            Some(bytes) => Reply { bytes, rcode, addresses: Vec::new(), ttl: None },
            None => Reply {
                bytes: wire::bare_servfail(self.head.id, self.head.recursion_desired),
                rcode: ResponseCode::ServFail,
                addresses: Vec::new(),
                ttl: None,
            },
        }
    }
}
