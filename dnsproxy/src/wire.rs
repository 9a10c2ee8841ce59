//! The OPT record of a reply, and names between the wire and the policy.

use hickory_proto::rr::{Name as WireName, RData, Record, RecordType};
use policies::Name;

/// The largest datagram we ask for and send, in bytes: what passes every path unfragmented (DNS flag day 2020).
pub(crate) const UDP_PAYLOAD: u16 = 1232;

/// The largest datagram for a client without EDNS (RFC 1035 §4.2.1).
pub(crate) const UDP_PLAIN: u16 = 512;

/// Extended DNS errors (RFC 8914): the option's code, and the info codes used here.
const EDE_OPTION: u16 = 15;

/// An OPT record to put into a reply.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Opt<'a> {
    /// The upper eight bits of the response code.
    pub(crate) rcode_high: u8,
    /// Echo of the DO bit (RFC 3225).
    pub(crate) dnssec_ok: bool,
    /// An extended error: info code and text.
    pub(crate) error: Option<(u16, &'a str)>,
}

/// The longest text of an extended error, in bytes: with the longest question and a SOA it still fits into 512.
const EDE_TEXT: usize = 150;

impl Opt<'_> {
    /// How many octets it takes.
    pub(crate) fn length(&self) -> usize {
        11 + self.error.map_or(0, |(_, text)| 6 + cut(text).len())
    }

    /// Appends the record (RFC 6891 §6.1.2).
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.push(0);
        out.extend(u16::from(RecordType::OPT).to_be_bytes());
        out.extend(UDP_PAYLOAD.to_be_bytes());
        out.extend([self.rcode_high, 0, if self.dnssec_ok { 0x80 } else { 0 }, 0]);
        out.extend(length(self.length() - 11).to_be_bytes());
        if let Some((info, text)) = self.error {
            let text = cut(text);
            out.extend(EDE_OPTION.to_be_bytes());
            out.extend(length(text.len() + 2).to_be_bytes());
            out.extend(info.to_be_bytes());
            out.extend(text.as_bytes());
        }
    }
}

/// At most [`EDE_TEXT`] bytes of a text, whole characters.
fn cut(text: &str) -> &str {
    let end = (0..=text.len().min(EDE_TEXT)).rev().find(|end| text.is_char_boundary(*end));
    text.get(..end.unwrap_or(0)).unwrap_or_default()
}

/// A length that fits by construction; saturates where it does not.
fn length(n: usize) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}

/// The name as policies know it; `None` if it is none they can hold.
pub(crate) fn policy_name(name: &WireName) -> Option<Name> {
    Name::from_labels(name.iter()).ok()
}

/// The type whose signature an RRSIG record holds (RFC 4034 §3.1.1); `None` for every other record.
pub(crate) fn covered_type(record: &Record) -> Option<RecordType> {
    match &record.data {
        RData::Unknown { code: RecordType::RRSIG, rdata } => {
            rdata.anything.first_chunk::<2>().map(|covered| RecordType::from(u16::from_be_bytes(*covered)))
        }
        _ => None,
    }
}
