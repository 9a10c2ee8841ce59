//! A plain question read where it lies, without a copy and without an allocation: nearly every question that is ever asked.
//!
//! Fast path. What is not plain (records where a question has none, several OPT records, other classes and opcodes, anything broken) is
//! left to [`Query::parse`](crate::Query::parse), which says what is wrong with it; a property test holds that both read the same.

use hickory_proto::rr::RecordType;

use crate::{
    observer::Transport,
    query::{ClientEdns, Head, MAX_QUERY},
    question::Question,
};

/// Length of the header (RFC 1035 §4.1.1).
const HEADER: usize = 12;

/// The longest name, in octets, without the root's own (RFC 1035 §2.3.4).
pub(crate) const NAME: usize = 254;

/// Room for a name in lower case.
pub(crate) type Scratch = [u8; NAME];

/// A question and who asked it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Glimpse<'a> {
    pub(crate) head: Head,
    pub(crate) question: Question<'a>,
    /// The question section as the client wrote it: name, type, class.
    pub(crate) section: &'a [u8],
}

impl Glimpse<'_> {
    /// The type asked for.
    pub(crate) fn rtype(&self) -> RecordType {
        RecordType::from(self.question.rtype)
    }

    /// Whether the client looks at the AD bit (RFC 6840 §5.7): it set AD or DO itself.
    pub(crate) fn wants_authentic(&self) -> bool {
        self.head.authentic_data || self.question.dnssec_ok
    }
}

/// Reads `bytes` if they are a plain question; the name in lower case goes into `scratch`.
pub(crate) fn glimpse<'a>(bytes: &'a [u8], scratch: &'a mut Scratch, transport: Transport) -> Option<Glimpse<'a>> {
    let &[id0, id1, flags0, flags1, counts @ ..] = bytes.first_chunk::<HEADER>()?;
    let additionals = match counts {
        [0, 1, 0, 0, 0, 0, 0, additionals @ (0 | 1)] => additionals,
        _ => return None,
    };
    // Neither a reply nor another opcode than QUERY.
    if flags0 & 0xf8 != 0 || bytes.len() > MAX_QUERY {
        return None;
    }
    let end = lowered(bytes, scratch)?;
    let &[type0, type1, 0, 1] = bytes.get(end + 1..)?.first_chunk::<4>()? else { return None };
    let rtype = u16::from_be_bytes([type0, type1]);
    // Zone transfers, meta types and what is no question.
    if matches!(rtype, 0 | 41 | 128..=254) {
        return None;
    }
    let behind = end + 5;
    let edns = match additionals {
        0 if bytes.len() == behind => None,
        1 => Some(opt(bytes.get(behind..)?)?),
        _ => return None,
    };
    let head = Head {
        id: u16::from_be_bytes([id0, id1]),
        recursion_desired: flags0 & 0x01 != 0,
        checking_disabled: flags1 & 0x10 != 0,
        authentic_data: flags1 & 0x20 != 0,
        edns,
        transport,
    };
    let name = scratch.get(..end - HEADER)?;
    let dnssec_ok = edns.is_some_and(|edns| edns.dnssec_ok);
    let question = Question { name, rtype, dnssec_ok, checking_disabled: head.checking_disabled };
    Some(Glimpse { head, question, section: bytes.get(HEADER..behind)? })
}

/// Copies the name behind the header in lower case; where its root label stands. `None` for pointers and what is too long.
fn lowered(bytes: &[u8], scratch: &mut Scratch) -> Option<usize> {
    let mut at = HEADER;
    loop {
        let length = usize::from(*bytes.get(at)?);
        match length {
            0 => return Some(at),
            1..=63 => {
                let label = bytes.get(at..=at + length)?;
                // No length octet is in the range of the letters, so all of it may be lowered.
                let own = scratch.get_mut(at - HEADER..=at - HEADER + length)?;
                own.copy_from_slice(label);
                own.make_ascii_lowercase();
                at += 1 + length;
            }
            _ => return None,
        }
    }
}

/// The OPT record that `bytes` are, and nothing behind it (RFC 6891 §6.1.2, sizes below 512 count as 512); its options are hop by hop, and end here.
fn opt(bytes: &[u8]) -> Option<ClientEdns> {
    let &[0, 0, 41, size0, size1, 0, 0, flags, _, length0, length1] = bytes.first_chunk::<11>()? else { return None };
    let mut rest = bytes.get(11..)?;
    if rest.len() != usize::from(u16::from_be_bytes([length0, length1])) {
        return None;
    }
    // Each option whole: code, length, data.
    while let Some((&[_, _, length0, length1], behind)) = rest.split_first_chunk::<4>() {
        rest = behind.get(usize::from(u16::from_be_bytes([length0, length1]))..)?;
    }
    rest.is_empty().then_some(ClientEdns { payload: u16::from_be_bytes([size0, size1]).max(512), dnssec_ok: flags & 0x80 != 0 })
}
