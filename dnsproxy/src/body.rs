//! The records of an answer as they stand on the wire behind the question: kept once, told many times, each time with the TTL of then.

use crate::question::Question;

/// Where records begin in a message whose question has a name of `name` octets (without the root's own): header, name, root, type, class.
pub(crate) fn offset(name: usize) -> usize {
    12 + name + 1 + 4
}

/// The answer and authority sections of an answer. Compression pointers count from the start of the message, so a body goes behind a
/// question of just the length it was made for, and behind no other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Body {
    /// The records, answers first.
    pub(crate) octets: Box<[u8]>,
    /// How many of them are answers.
    pub(crate) answers: u16,
    /// How many stand in the authority section.
    pub(crate) authorities: u16,
    /// What else is told with it.
    pub(crate) marks: Marks,
}

/// What is told with an answer besides its records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    /// The lower four bits of the response code: NOERROR (0) or NXDOMAIN (3).
    pub(crate) rcode: u8,
    /// Whether the upstream vouches for all of it (AD, RFC 4035 §3.2.3).
    pub(crate) authentic: bool,
    /// Whether addresses were left out because the rule gives no right to their range (told as EDE 17, RFC 8914).
    pub(crate) stripped: bool,
}

/// Walks the records in `octets`; for each the offset at which its TTL stands and the offset behind its data. Ends early at what is no
/// record, which a body that was made here never has.
pub(crate) fn records(octets: &[u8]) -> impl Iterator<Item = (usize, usize)> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        let ttl = skip_name(octets, at)? + 4;
        let length = octets.get(ttl + 4..ttl + 6)?;
        let end = ttl + 6 + usize::from(u16::from_be_bytes([*length.first()?, *length.last()?]));
        octets.get(at..end)?;
        at = end;
        Some((ttl, end))
    })
}

/// The offset behind the name at `at`: labels, then the root or a pointer (RFC 1035 §4.1.4).
pub(crate) fn skip_name(octets: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *octets.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            192..=255 => return Some(at + 2),
            _ => return None,
        }
    }
}

/// Sets the TTL of every record in `octets`.
pub(crate) fn set_ttls(octets: &mut [u8], ttl: u32) {
    let mut at = 0;
    while let Some(place) = skip_name(octets, at).map(|behind| behind + 4) {
        let Some(&[_, _, _, _, length0, length1]) = octets.get(place..).and_then(|rest| rest.first_chunk::<6>()) else { return };
        if let Some(own) = octets.get_mut(place..place + 4) {
            own.copy_from_slice(&ttl.to_be_bytes());
        }
        at = place + 6 + usize::from(u16::from_be_bytes([length0, length1]));
    }
}

/// A whole message with these records, as an upstream would have sent it: what was kept passes verification again by it.
pub(crate) fn message(question: Question<'_>, octets: &[u8], answers: u16, authorities: u16, marks: Marks) -> Vec<u8> {
    let mut message = Vec::with_capacity(offset(question.name.len()) + octets.len());
    // An id of 0; QR, RD, RA; one question.
    message.extend([0, 0, 0x81, 0x80 | u8::from(marks.authentic) << 5 | marks.rcode, 0, 1]);
    message.extend(answers.to_be_bytes());
    message.extend(authorities.to_be_bytes());
    message.extend([0, 0]);
    message.extend(question.name);
    message.push(0);
    message.extend(question.rtype.to_be_bytes());
    message.extend([0, 1]);
    message.extend_from_slice(octets);
    message
}
