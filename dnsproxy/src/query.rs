//! One question, taken from one message: what cannot be asked here is turned away before anything else looks at it.

use hickory_proto::{
    op::{Message, MessageType, OpCode, ResponseCode},
    rr::{DNSClass, Name as WireName, RecordType},
    serialize::binary::BinEncodable,
};
use policies::Name;

use crate::{glimpse::Glimpse, observer::Transport, question::Question, wire};

/// The longest message taken from a client, in bytes. A question with every EDNS option of the registry stays far below it.
pub const MAX_QUERY: usize = 2047;

/// Length of the header (RFC 1035 §4.1.1).
const HEADER: usize = 12;

/// A question that may be judged: one name, class IN, opcode QUERY, a type that is not a zone transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    head: Head,
    name: Name,
    wire_name: WireName,
    rtype: RecordType,
    /// The question section as the client wrote it.
    section: Box<[u8]>,
}

/// What of a query's header and OPT record shapes the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) id: u16,
    pub(crate) recursion_desired: bool,
    pub(crate) checking_disabled: bool,
    pub(crate) authentic_data: bool,
    pub(crate) edns: Option<ClientEdns>,
    pub(crate) transport: Transport,
}

/// What the client's OPT record says (RFC 6891).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientEdns {
    /// The largest datagram it takes, in bytes.
    pub(crate) payload: u16,
    /// Whether it wants DNSSEC records (RFC 3225).
    pub(crate) dnssec_ok: bool,
}

/// What a message turned out to be.
#[derive(Clone, Debug)]
pub enum Parsed {
    /// A question to judge.
    Query(Query),
    /// No question for us: answered with an error code, see [`Reply::reject`](crate::Reply::reject).
    Rejected(Rejected),
    /// Not to be answered at all: too short for a header, or itself a reply (two servers must not answer each other for ever).
    Ignored,
}

/// A message that gets an error code for an answer.
#[derive(Clone, Debug)]
pub struct Rejected {
    pub(crate) head: Head,
    pub(crate) opcode: OpCode,
    pub(crate) question: Option<hickory_proto::op::Query>,
    pub(crate) rcode: ResponseCode,
}

impl Rejected {
    /// The question section, if it could be read.
    pub(crate) fn section(&self) -> Vec<u8> {
        self.question.as_ref().and_then(|question| question.to_bytes().ok()).unwrap_or_default()
    }

    /// The error code.
    pub fn rcode(&self) -> ResponseCode {
        self.rcode
    }
}

impl Query {
    /// Reads one message, without the length a stream puts before it.
    ///
    /// Answered with an error: opcodes but QUERY (NOTIMP), any number of questions but one (FORMERR, RFC 9619), records where a query
    /// has none, junk, several OPT records (FORMERR, RFC 6891 §6.1.1), EDNS versions but 0 (BADVERS, §6.1.3), classes but IN and
    /// zone transfers (REFUSED), types that are no question (FORMERR).
    pub fn parse(bytes: &[u8], transport: Transport) -> Parsed {
        let Some(&[id0, id1, flags0, flags1, qd0, qd1, an0, an1, ..]) = bytes.first_chunk::<HEADER>() else {
            return Parsed::Ignored;
        };
        if flags0 & 0x80 != 0 {
            return Parsed::Ignored;
        }
        let mut rejected = Rejected {
            head: Head {
                id: u16::from_be_bytes([id0, id1]),
                recursion_desired: flags0 & 0x01 != 0,
                checking_disabled: flags1 & 0x10 != 0,
                authentic_data: flags1 & 0x20 != 0,
                edns: None,
                transport,
            },
            opcode: OpCode::from_u8((flags0 >> 3) & 0x0f),
            question: None,
            rcode: ResponseCode::FormErr,
        };
        if rejected.opcode != OpCode::Query {
            rejected.rcode = ResponseCode::NotImp;
            return Parsed::Rejected(rejected);
        }
        // Counted before anything is read, so that a header cannot make the parser reserve room for 65,535 questions.
        if [qd0, qd1] != [0, 1] || [an0, an1] != [0, 0] || bytes.len() > MAX_QUERY {
            return Parsed::Rejected(rejected);
        }
        let Ok(message) = Message::from_vec(bytes) else {
            return Parsed::Rejected(rejected);
        };
        debug_assert_eq!(message.metadata.message_type, MessageType::Query);
        Self::from_message(message, rejected)
    }

    /// The half of parsing that needs the whole message.
    fn from_message(message: Message, mut rejected: Rejected) -> Parsed {
        let Some(question) = message.queries.into_iter().next() else {
            return Parsed::Rejected(rejected);
        };
        rejected.head.edns =
            message.edns.as_ref().map(|edns| ClientEdns { payload: edns.max_payload(), dnssec_ok: edns.flags().dnssec_ok });
        rejected.question = Some(question.clone());
        let rcode = match message.edns.as_ref().map_or(0, |edns| edns.version()) {
            0 => objection(&question),
            _ => Some(ResponseCode::BADVERS),
        };
        if let Some(rcode) = rcode {
            rejected.rcode = rcode;
            return Parsed::Rejected(rejected);
        }
        match wire::policy_name(&question.name) {
            Some(name) => {
                let section = question.to_bytes().unwrap_or_default().into();
                Parsed::Query(Self { head: rejected.head, name, wire_name: question.name, rtype: question.query_type, section })
            }
            None => Parsed::Rejected(rejected),
        }
    }

    /// The name asked for, as policies know it.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The name asked for, in the client's own case.
    pub fn wire_name(&self) -> &WireName {
        &self.wire_name
    }

    /// The type asked for.
    pub fn rtype(&self) -> RecordType {
        self.rtype
    }

    /// Whether addresses are asked for: only then does anything open.
    pub fn wants_addresses(&self) -> bool {
        matches!(self.rtype, RecordType::A | RecordType::AAAA)
    }

    /// Whether the client wants DNSSEC records (RFC 3225).
    pub fn dnssec_ok(&self) -> bool {
        self.head.edns.is_some_and(|edns| edns.dnssec_ok)
    }

    /// The same as a glimpse would have seen it.
    pub(crate) fn glimpse(&self) -> Glimpse<'_> {
        let question = Question {
            name: self.name.as_wire(),
            rtype: self.rtype.into(),
            dnssec_ok: self.dnssec_ok(),
            checking_disabled: self.head.checking_disabled,
        };
        Glimpse { head: self.head, question, section: &self.section }
    }
}

/// Why a well-formed question is not one for us.
fn objection(question: &hickory_proto::op::Query) -> Option<ResponseCode> {
    if question.query_class != DNSClass::IN {
        return Some(ResponseCode::Refused);
    }
    match question.query_type {
        RecordType::AXFR | RecordType::IXFR => Some(ResponseCode::Refused),
        // ANY is a question; what else lies in 128..=255 is a meta type or not assigned (RFC 6895 §3.1), and 0 and OPT never are asked.
        RecordType::ANY => None,
        other => match u16::from(other) {
            0 | 41 | 128..=255 => Some(ResponseCode::FormErr),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests;
