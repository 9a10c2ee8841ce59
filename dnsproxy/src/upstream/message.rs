//! A question to an upstream, and what counts as its answer.

use std::net::SocketAddr;

use hickory_proto::{
    op::{Edns, Header, Message, MessageType, OpCode, Query as Question, ResponseCode},
    rr::{DNSClass, Name as WireName, RecordType},
    serialize::binary::{BinDecodable, BinDecoder, BinEncodable},
};

use crate::{query::Query, wire};

/// Length of a message's header; the question's name is next.
const HEADER: usize = 12;

/// How a server is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// The name in random case, which the answer must repeat (draft-vixie-dnsext-dns0x20): more bits for a forger to guess.
    pub(super) mixed_case: bool,
    /// With an OPT record: larger datagrams and DNSSEC records (RFC 6891).
    pub(super) edns: bool,
}

/// A question as it was sent.
#[derive(Debug)]
pub(super) struct Asked {
    id: u16,
    name: WireName,
    rtype: RecordType,
    mixed_case: bool,
    /// The name as the client spelled it, in the form of the wire.
    spelling: Vec<u8>,
    bytes: Vec<u8>,
}

/// An answer to a question that was asked: id, name, type and class are those asked for.
///
/// Nothing else about it is to be trusted; [`verify`](crate::verify) is next.
#[derive(Clone, Debug)]
pub struct UpstreamReply {
    message: Message,
    from: SocketAddr,
}

/// What a packet from the asked server turned out to be.
#[derive(Debug)]
pub(super) enum Accepted {
    /// The answer.
    Whole(UpstreamReply),
    /// The answer, but for what did not fit: ask over TCP.
    Truncated,
    /// The answer with the name in another case.
    OtherCase,
    /// The answer, with records that cannot be read.
    Broken,
}

impl Asked {
    /// Writes a question with a fresh random id; `None` if the name cannot be written.
    pub(super) fn new(query: &Query, manner: Manner) -> Option<Self> {
        let mut name = query.wire_name().to_lowercase();
        if manner.mixed_case {
            name.randomize_label_case();
        }
        let mut message = Message::query();
        message.metadata.recursion_desired = true;
        message.metadata.checking_disabled = query.head.checking_disabled;
        message.metadata.authentic_data = query.wants_authentic();
        message.queries.push(Question::query(name.clone(), query.rtype()));
        if manner.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(wire::UDP_PAYLOAD).set_dnssec_ok(query.dnssec_ok());
            message.edns = Some(edns);
        }
        let bytes = message.to_vec().ok()?;
        let spelling = query.wire_name().to_bytes().ok()?;
        Some(Self { id: message.metadata.id, name, rtype: query.rtype(), mixed_case: manner.mixed_case, spelling, bytes })
    }

    /// The message to send.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Judges a packet that came from `from`, the server that was asked; `None` if it is no answer to this question.
    pub(super) fn accept(&self, bytes: &[u8], from: SocketAddr) -> Option<Accepted> {
        let mut decoder = BinDecoder::new(bytes);
        let header = Header::read(&mut decoder).ok()?;
        if header.id != self.id || header.message_type != MessageType::Response || header.op_code != OpCode::Query {
            return None;
        }
        if header.counts.queries == 0 && header.response_code != ResponseCode::NoError {
            // A server that could not read the question may leave it out.
            return Message::from_vec(bytes).ok().map(|message| Accepted::Whole(UpstreamReply { message, from }));
        }
        if header.counts.queries != 1 {
            return None;
        }
        let question = Question::read(&mut decoder).ok()?;
        if question.query_type != self.rtype || question.query_class != DNSClass::IN || question.name != self.name {
            return None;
        }
        if self.mixed_case && !question.name.eq_case(&self.name) {
            return Some(Accepted::OtherCase);
        }
        // Looked at before the records are: a server may cut its answer anywhere.
        if header.truncation {
            return Some(Accepted::Truncated);
        }
        Some(match Message::from_vec(&self.respelled(bytes)) {
            Ok(message) => Accepted::Whole(UpstreamReply { message, from }),
            Err(_) => Accepted::Broken,
        })
    }

    /// The message with the client's own spelling in its question. Names in the records end in it by compression, so that they too lose
    /// the random case: a client would see it in the target of an MX record, or in its own canonical name.
    fn respelled(&self, bytes: &[u8]) -> Vec<u8> {
        let mut own = bytes.to_vec();
        let question = HEADER..HEADER + self.spelling.len();
        if let Some(name) = own.get_mut(question).filter(|name| name.eq_ignore_ascii_case(&self.spelling)) {
            name.copy_from_slice(&self.spelling);
        }
        own
    }
}

impl UpstreamReply {
    /// The server it came from.
    pub fn from(&self) -> SocketAddr {
        self.from
    }

    /// Its response code, the EDNS half included.
    pub fn rcode(&self) -> ResponseCode {
        self.message.metadata.response_code
    }

    /// The message.
    pub(crate) fn message(&self) -> &Message {
        &self.message
    }

    /// Takes a message for an answer to whatever it asks.
    #[cfg(test)]
    pub(crate) fn trusted(message: Message) -> Self {
        Self { message, from: SocketAddr::from(([192, 0, 2, 53], 53)) }
    }
}
