//! What counts as the answer to a question: nothing that differs from what was asked in one octet.

use super::octets::{Asked, HEADER, Spelling};
use crate::body::skip_name;

/// A packet of the asked server that bears an id under which it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// No answer to this question: counted, and else as if it had not come.
    Stray,
    /// The answer, its records whole: NOERROR or NXDOMAIN.
    Answer,
    /// The answer, but for what did not fit: ask over TCP.
    Truncated,
    /// The answer with the name in another case.
    OtherCase,
    /// An error code, with the upper half that an OPT record has (RFC 6891 §6.1.3).
    Code(u16),
    /// The answer, with records that cannot be read.
    Broken,
}

/// Response codes that are looked at (RFC 1035 §4.1.1, RFC 6891 §9).
pub(super) const FORMERR: u16 = 1;
const NXDOMAIN: u16 = 3;
pub(super) const NOTIMP: u16 = 4;
pub(super) const BADVERS: u16 = 16;

/// The id, if it is long enough to have one and says that it is a reply.
pub(super) fn id(octets: &[u8]) -> Option<u16> {
    match octets.first_chunk::<HEADER>()? {
        // QR set, opcode QUERY.
        [high, low, flags, ..] if flags & 0xf8 == 0x80 => Some(u16::from_be_bytes([*high, *low])),
        _ => None,
    }
}

/// Judges a message whose [`id`] is that of a question asked in this spelling. `whole` is false for one longer than the buffer.
///
/// `mixed_case` is false where the server is known to change the case; its answers are then compared without.
pub(super) fn judge(octets: &[u8], whole: bool, asked: &Asked, spelling: &Spelling, mixed_case: bool) -> Heard {
    let Some(&[_, _, flags0, flags1, qd0, qd1, an0, an1, ns0, ns1, ar0, ar1]) = octets.first_chunk::<HEADER>() else {
        return Heard::Stray;
    };
    let rcode = u16::from(flags1 & 0x0f);
    let questions = u16::from_be_bytes([qd0, qd1]);
    if questions == 0 && rcode != 0 && rcode != NXDOMAIN {
        // A server that could not read the question may leave it out. That a name is not there is believed of no such message.
        return Heard::Code(rcode);
    }
    let length = asked.name().len();
    let (Some(name), Some(tail)) = (octets.get(HEADER..HEADER + length), octets.get(HEADER + length..HEADER + length + 5)) else {
        return Heard::Stray;
    };
    if questions != 1 || tail != asked.tail() || !name.eq_ignore_ascii_case(asked.name()) {
        return Heard::Stray;
    }
    if mixed_case && !spelling.of(asked.name()).eq(name.iter().copied()) {
        return Heard::OtherCase;
    }
    // Looked at before the records are: a server may cut its answer anywhere.
    if flags0 & 0x02 != 0 || !whole {
        return Heard::Truncated;
    }
    let counts = [[an0, an1], [ns0, ns1], [ar0, ar1]].map(u16::from_be_bytes);
    match extended(octets, HEADER + length + 5, counts) {
        None if rcode == 0 || rcode == NXDOMAIN => Heard::Broken,
        upper => match upper.unwrap_or_default() << 4 | rcode {
            0 | NXDOMAIN => Heard::Answer,
            code => Heard::Code(code),
        },
    }
}

/// Walks all records from `at`; the upper half of the response code, 0 without OPT. `None` if there are fewer records than counted.
fn extended(octets: &[u8], mut at: usize, [answers, authorities, additional]: [u16; 3]) -> Option<u16> {
    let mut upper = 0;
    let before = u32::from(answers) + u32::from(authorities);
    for index in 0..before + u32::from(additional) {
        let owner = at;
        at = skip_name(octets, at)?;
        let &[type0, type1, _, _, ttl, _, _, _, length0, length1] = octets.get(at..)?.first_chunk::<10>()?;
        if index >= before && [type0, type1] == [0, 41] && octets.get(owner) == Some(&0) {
            upper = u16::from(ttl);
        }
        at += 10 + usize::from(u16::from_be_bytes([length0, length1]));
        if at > octets.len() {
            return None;
        }
    }
    Some(upper)
}
