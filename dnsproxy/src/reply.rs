//! The bytes that leave. Addresses are in them only by [`Reply::release`], and that demands a [`Committed`].

use std::{borrow::Cow, time::Instant};

use hickory_proto::op::ResponseCode;
use policies::Refusal;

use crate::{
    answer::PlainAnswer,
    body::{self, Body, Marks},
    cache::Hit,
    gate::Committed,
    glimpse::Glimpse,
    observer::Transport,
    query::{Head, Rejected},
    refusal::blocked,
    wire,
};

/// What is told, whoever asked: made from a proof, written as often as there are clients that wait for it.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    pub(crate) records: Records<'a>,
    pub(crate) rcode: ResponseCode,
    pub(crate) authentic: bool,
    /// The TTL that every record is told with; `None` leaves them as they are.
    pub(crate) ttl: Option<u32>,
    /// An extended error (RFC 8914), told only to who sent OPT.
    pub(crate) error: Option<Extended<'a>>,
}

/// An extended error (RFC 8914). Its text is made only where it is told.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Extended<'a> {
    /// Its code and text.
    Said(u16, &'static str),
    /// "Blocked" (§4.16), and by whose word.
    Blocked(&'a Refusal),
}

/// The records of a reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Records<'a> {
    /// An owner's name as a pointer to this place of the question, before `octets`: for records of our own.
    pub(crate) owner: Option<Owner>,
    /// As they stand on the wire.
    pub(crate) octets: &'a [u8],
    pub(crate) answers: u16,
    pub(crate) authorities: u16,
}

/// Whose record it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The name asked for.
    Asked,
    /// The name one label up; the root has none, and stands for itself.
    Parent,
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

impl<'a> Reply<'a> {
    /// Tells the addresses of an answer that is open, for no longer than it stays open: the TTL is the least of the chain's and the
    /// whole seconds left at `now`, and 0 in the last of them.
    pub fn release(committed: &'a Committed, now: Instant) -> Self {
        let answer = committed.answer();
        Self::of(answer.body(), committed.ttl_at(now))
    }

    /// Tells again what was released before, or what had no address, for what is left of its time.
    pub(crate) fn again(hit: &Hit<'a>) -> Self {
        Self::with(hit.octets, hit.answers, hit.authorities, hit.marks, hit.ttl)
    }

    /// Tells an answer that has no address in it.
    pub fn plain(answer: &'a PlainAnswer) -> Self {
        Self::of(&answer.body, answer.ttl)
    }

    /// Tells the records of a body that has no address in it.
    pub(crate) fn of(body: &'a Body, ttl: u32) -> Self {
        Self::with(&body.octets, body.answers, body.authorities, body.marks, ttl)
    }

    fn with(octets: &'a [u8], answers: u16, authorities: u16, marks: Marks, ttl: u32) -> Self {
        let stripped = Extended::Said(17, "portreeve: addresses were left out that lie in ranges which the rule does not permit");
        Self {
            records: Records { owner: None, octets, answers, authorities },
            rcode: ResponseCode::from(0, marks.rcode),
            authentic: marks.authentic,
            ttl: Some(ttl),
            error: marks.stripped.then_some(stripped),
        }
    }

    /// The same with an extended error of its own.
    pub(crate) fn with_error(self, info: u16, text: &'static str) -> Self {
        Self { error: Some(Extended::Said(info, text)), ..self }
    }

    /// SERVFAIL: the client may ask again at once, and nothing is kept (NXDOMAIN would be).
    pub fn fail(failure: Failure) -> Self {
        let (info, text) = match failure {
            Failure::Upstream => (22, "portreeve: no upstream resolver gave an answer"),
            Failure::Answer => (24, "portreeve: the upstream's answer is broken or beyond its bounds"),
            Failure::Gate => (0, "portreeve: the address could not be opened"),
        };
        Self::bare(ResponseCode::ServFail).with_error(info, text)
    }

    /// A response code and no records.
    pub(crate) fn bare(rcode: ResponseCode) -> Self {
        Self { records: Records::default(), rcode, authentic: false, ttl: None, error: None }
    }

    /// The response code told.
    pub fn rcode(&self) -> ResponseCode {
        self.rcode
    }

    /// The TTL told, in seconds.
    pub fn ttl(&self) -> Option<u32> {
        self.ttl
    }

    /// Writes the message for who asked, without the length a stream puts before it: within what the client takes, leaving out whole
    /// records from the end and setting TC where they do not fit.
    pub(crate) fn write(&self, asker: &Glimpse<'_>, out: &mut Vec<u8>) {
        let authentic = self.authentic && asker.wants_authentic();
        self.put(&asker.head, 0, asker.section, authentic, out);
    }

    /// The same for a message that was turned away, whose question may not have been readable.
    pub(crate) fn write_rejected(rejected: &Rejected, out: &mut Vec<u8>) {
        let section = rejected.section();
        Self::bare(rejected.rcode).put(&rejected.head, u8::from(rejected.opcode), &section, false, out);
    }

    fn put(&self, head: &Head, opcode: u8, section: &[u8], authentic: bool, out: &mut Vec<u8>) {
        out.clear();
        let text = head.edns.and(self.error).map(Extended::text);
        let opt = head.edns.map(|edns| wire::Opt {
            rcode_high: self.rcode.high(),
            dnssec_ok: edns.dnssec_ok,
            error: text.as_ref().map(|(info, text)| (*info, text.as_ref())),
        });
        let limit = usize::from(match (head.transport, head.edns) {
            (Transport::Tcp, _) => u16::MAX,
            (Transport::Udp, Some(edns)) => edns.payload.clamp(wire::UDP_PLAIN, wire::UDP_PAYLOAD),
            (Transport::Udp, None) => wire::UDP_PLAIN,
        });
        out.extend(head.id.to_be_bytes());
        // QR, opcode, RD; RA, AD, CD, the lower half of the response code.
        out.push(0x80 | opcode << 3 | u8::from(head.recursion_desired));
        out.push(0x80 | u8::from(authentic) << 5 | u8::from(head.checking_disabled) << 4 | self.rcode.low());
        out.extend(u16::from(!section.is_empty()).to_be_bytes());
        let counts = out.len();
        out.extend([0, 0, 0, 0, 0, u8::from(head.edns.is_some())]);
        out.extend_from_slice(section);
        let (answers, authorities) = self.put_records(limit.saturating_sub(opt.map_or(0, |opt| opt.length())), section, out);
        if let Some(place) = out.get_mut(counts..counts + 4) {
            let ([answers0, answers1], [authorities0, authorities1]) = (answers.to_be_bytes(), authorities.to_be_bytes());
            place.copy_from_slice(&[answers0, answers1, authorities0, authorities1]);
        }
        if (answers, authorities) != (self.records.answers, self.records.authorities)
            && let Some(flags) = out.get_mut(2)
        {
            *flags |= 0x02;
        }
        if let Some(opt) = opt {
            opt.put(out);
        }
    }

    /// Writes as many records as fit into `limit`, all of them with the TTL told; how many of each section that were.
    fn put_records(&self, limit: usize, section: &[u8], out: &mut Vec<u8>) -> (u16, u16) {
        let Records { owner, octets, answers, authorities } = self.records;
        let start = out.len();
        match owner {
            Some(Owner::Asked) => out.extend([0xc0, 12]),
            // A pointer behind the first label; the root has none before it.
            Some(Owner::Parent) => match section.first() {
                Some(&length @ 1..=63) => out.extend([0xc0, 12 + 1 + length]),
                _ => out.push(0),
            },
            None => {}
        }
        out.extend_from_slice(octets);
        let mut told = answers + authorities;
        if out.len() > limit {
            let whole = out.get(start..).unwrap_or_default();
            let fitting = body::records(whole).map(|(_, end)| end).take_while(|end| start + end <= limit);
            let (count, end) = fitting.fold((0, 0), |(count, _), end| (count + 1, end));
            out.truncate(start + end);
            told = count;
        }
        if let Some(ttl) = self.ttl {
            body::set_ttls(out.get_mut(start..).unwrap_or_default(), ttl);
        }
        (told.min(answers), told.saturating_sub(answers))
    }
}

impl<'a> Extended<'a> {
    /// Its code and text.
    fn text(self) -> (u16, Cow<'a, str>) {
        match self {
            Self::Said(info, text) => (info, text.into()),
            Self::Blocked(refusal) => (15, blocked(refusal)),
        }
    }
}

#[cfg(test)]
mod tests;
