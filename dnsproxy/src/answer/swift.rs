//! The answer that nearly every question for an address gets, verified where it lies: CNAMEs in order, then addresses, nothing else.
//!
//! Fast path. Whatever is otherwise (strays, duplicates, addresses to strip, signatures, a chain in disorder, a denied alias) is left to the
//! careful walk over parsed records; a property test holds that both come to the same.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use policies::{Grant, Name, Policy, Reason, Verdict};

use super::{LeftOut, MAX_LINKS, PermittedAnswer, chain::sane_ttl};
use crate::{
    body::{self, Body, Marks},
    question::Question,
};

/// The most addresses that are compared each with each; more of them are for the careful walk.
const FEW: usize = 32;

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;

/// A record of the answer section.
struct Record<'a> {
    /// Where its owner's name begins.
    owner: usize,
    rtype: u16,
    ttl: u32,
    /// Where its data begin.
    at: usize,
    data: &'a [u8],
}

/// The answer, if it is as plain as most.
pub(super) fn verify(policy: &Policy, grant: &Grant, question: Question<'_>, message: &[u8]) -> Option<PermittedAnswer> {
    if !matches!(question.rtype, A | AAAA) || question.dnssec_ok {
        return None;
    }
    let &[_, _, _, flags, 0, 1, answers0, answers1, ..] = message.first_chunk::<12>()? else { return None };
    let count = u16::from_be_bytes([answers0, answers1]);
    // NOERROR, and something to tell.
    if flags & 0x0f != 0 || count == 0 || usize::from(count) > FEW + MAX_LINKS {
        return None;
    }
    let begin = body::offset(question.name.len());
    let mut walk =
        Walk { message, grant: grant.clone(), chain: Vec::new(), end: 12, addresses: Vec::with_capacity(count.into()), ttl: u32::MAX };
    let mut octets = Vec::with_capacity(usize::from(count) * (if question.rtype == A { 16 } else { 28 }));
    let mut owner = 12;
    let mut at = begin;
    for _ in 0..count {
        let (record, next) = record(message, at)?;
        at = next;
        let data = walk.take(policy, question, &record)?;
        octets.extend([0xc0 | u8::try_from(owner >> 8).ok()?, u8::try_from(owner & 0xff).ok()?]);
        octets.extend(record.rtype.to_be_bytes());
        octets.extend([0, 1]);
        octets.extend(record.ttl.to_be_bytes());
        octets.extend(u16::try_from(data.len() + usize::from(record.rtype == CNAME)).ok()?.to_be_bytes());
        if record.rtype == CNAME {
            // The next record's owner is this one's target. Pointers reach the first 16 KiB (RFC 1035 §4.1.4).
            owner = begin + octets.len();
            octets.extend_from_slice(&data);
            octets.push(0);
        } else {
            octets.extend_from_slice(&data);
        }
        if owner > 0x3fff {
            return None;
        }
    }
    if walk.addresses.is_empty() {
        return None;
    }
    rest_is_whole(message, at)?;
    let Walk { grant, chain, addresses, ttl, .. } = walk;
    let marks = Marks { rcode: 0, authentic: flags & 0x20 != 0, stripped: false };
    let body = Body { octets: octets.into(), answers: count, authorities: 0, marks };
    Some(PermittedAnswer { grant, rtype: question.rtype.into(), chain, addresses, ttl, body, left_out: LeftOut::default() })
}

/// The way from the name asked for to its addresses.
struct Walk<'a> {
    message: &'a [u8],
    grant: Grant,
    chain: Vec<Name>,
    /// Where the name stands that the walk has come to.
    end: usize,
    addresses: Vec<IpAddr>,
    ttl: u32,
}

impl<'a> Walk<'a> {
    /// One step further; the data to tell.
    fn take(&mut self, policy: &Policy, question: Question<'_>, record: &Record<'a>) -> Option<std::borrow::Cow<'a, [u8]>> {
        if !self.is_at_end(question, record.owner)? {
            return None;
        }
        self.ttl = self.ttl.min(sane_ttl(record.ttl));
        if record.rtype == CNAME {
            if !self.addresses.is_empty() || self.chain.len() == MAX_LINKS {
                return None;
            }
            let mut target = Vec::with_capacity(64);
            let behind = expand(self.message, record.at, &mut target)?;
            let alias = Name::from_wire(&target).ok()?;
            if behind != record.at + record.data.len() || alias.as_wire() == question.name || self.chain.contains(&alias) {
                return None;
            }
            if matches!(policy.judge(&alias), Verdict::Refused(refusal) if refusal.reason() == Reason::Denied) {
                return None;
            }
            self.grant.follow(&alias);
            self.chain.push(alias);
            self.end = record.at;
            return Some(target.into());
        }
        let address = match record.rtype {
            A if question.rtype == A => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(record.data).ok()?)),
            AAAA if question.rtype == AAAA => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(record.data).ok()?)),
            _ => return None,
        };
        if self.grant.permits_address(address).is_err() || self.addresses.contains(&address) || self.addresses.len() == FEW {
            return None;
        }
        self.addresses.push(address);
        Some(record.data.into())
    }

    /// Whether the name at `owner` is the one the walk has come to.
    fn is_at_end(&self, question: Question<'_>, owner: usize) -> Option<bool> {
        // Nearly always a pointer to the very place.
        if let Some(&[high @ 0xc0..=0xff, low]) = self.message.get(owner..owner + 2)
            && usize::from(u16::from_be_bytes([high & 0x3f, low])) == self.end
        {
            return Some(true);
        }
        let mut name = Vec::with_capacity(64);
        expand(self.message, owner, &mut name)?;
        name.make_ascii_lowercase();
        Some(name == self.chain.last().map_or(question.name, Name::as_wire))
    }
}

/// The record at `at`, and where the next one begins. `None` for another class than IN.
fn record(message: &[u8], at: usize) -> Option<(Record<'_>, usize)> {
    let fixed = body::skip_name(message, at)?;
    let &[type0, type1, 0, 1, ttl0, ttl1, ttl2, ttl3, length0, length1] = message.get(fixed..)?.first_chunk::<10>()? else { return None };
    let begin = fixed + 10;
    let end = begin + usize::from(u16::from_be_bytes([length0, length1]));
    let record = Record {
        owner: at,
        rtype: u16::from_be_bytes([type0, type1]),
        ttl: u32::from_be_bytes([ttl0, ttl1, ttl2, ttl3]),
        at: begin,
        data: message.get(begin..end)?,
    };
    Some((record, end))
}

/// Appends the name at `at` without its root label, pointers followed; where what comes behind it begins. Each pointer must lead further
/// back than the one before (RFC 1035 §4.1.4 speaks of prior occurrences), so there is no loop.
fn expand(message: &[u8], at: usize, name: &mut Vec<u8>) -> Option<usize> {
    let (mut here, mut behind, mut before) = (at, None, at);
    loop {
        match *message.get(here)? {
            0 => return Some(behind.unwrap_or(here + 1)),
            length @ 1..=63 => {
                let end = here + 1 + usize::from(length);
                name.extend_from_slice(message.get(here..end)?);
                if name.len() > crate::glimpse::NAME {
                    return None;
                }
                here = end;
            }
            high @ 0xc0.. => {
                let target = usize::from(u16::from_be_bytes([high & 0x3f, *message.get(here + 1)?]));
                behind.get_or_insert(here + 2);
                if target >= before {
                    return None;
                }
                (here, before) = (target, target);
            }
            _ => return None,
        }
    }
}

/// Whether the other sections end where the message does: a torn message is for the careful walk to judge.
fn rest_is_whole(message: &[u8], at: usize) -> Option<()> {
    let &[authorities0, authorities1, additionals0, additionals1] = message.get(8..12)?.first_chunk::<4>()?;
    let mut left =
        u32::from(u16::from_be_bytes([authorities0, authorities1])) + u32::from(u16::from_be_bytes([additionals0, additionals1]));
    let rest = message.get(at..)?;
    let mut end = 0;
    for (_, behind) in body::records(rest) {
        left = left.checked_sub(1)?;
        end = behind;
    }
    (left == 0 && end == rest.len()).then_some(())
}
