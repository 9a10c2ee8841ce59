//! Messages to bytes within a size, and names between the wire and the policy.

use hickory_proto::{
    op::Message,
    rr::{Name as WireName, RData, Record, RecordType},
    serialize::binary::{BinEncodable, BinEncoder},
};
use policies::Name;

/// The largest datagram we ask for and send, in bytes: what passes every path unfragmented (DNS flag day 2020).
pub(crate) const UDP_PAYLOAD: u16 = 1232;

/// The largest datagram for a client without EDNS (RFC 1035 §4.2.1).
pub(crate) const UDP_PLAIN: u16 = 512;

/// Extended DNS errors (RFC 8914): the option's code, and the info codes used here.
const EDE_OPTION: u16 = 15;

/// An OPT record to put into a reply.
#[derive(Clone, Debug, Default)]
pub(crate) struct Opt {
    /// The upper eight bits of the response code.
    pub(crate) rcode_high: u8,
    /// Echo of the DO bit (RFC 3225).
    pub(crate) dnssec_ok: bool,
    /// An extended error: info code and text.
    pub(crate) error: Option<(u16, String)>,
}

/// The longest text of an extended error, in bytes: with the longest question it still fits into 512.
const EDE_TEXT: usize = 160;

impl Opt {
    /// The record's bytes (RFC 6891 §6.1.2).
    fn to_bytes(&self) -> Vec<u8> {
        let mut rdata = Vec::new();
        if let Some((info, text)) = &self.error {
            let end = (0..=text.len().min(EDE_TEXT)).rev().find(|end| text.is_char_boundary(*end));
            let text = text.get(..end.unwrap_or(0)).unwrap_or_default();
            rdata.extend(EDE_OPTION.to_be_bytes());
            rdata.extend(length(text.len() + 2).to_be_bytes());
            rdata.extend(info.to_be_bytes());
            rdata.extend(text.as_bytes());
        }
        let mut bytes = vec![0];
        bytes.extend(u16::from(RecordType::OPT).to_be_bytes());
        bytes.extend(UDP_PAYLOAD.to_be_bytes());
        bytes.extend([self.rcode_high, 0, if self.dnssec_ok { 0x80 } else { 0 }, 0]);
        bytes.extend(length(rdata.len()).to_be_bytes());
        bytes.extend(rdata);
        bytes
    }
}

/// A length that fits by construction; saturates where it does not.
fn length(n: usize) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}

/// Encodes `message` and `opt` into at most `limit` bytes, leaving out whole records from the end and setting TC where they do not fit.
///
/// `None` if not even the question fits or a record cannot be written.
pub(crate) fn encode(message: &Message, opt: Option<&Opt>, limit: u16) -> Option<Vec<u8>> {
    // The OPT record stands outside the encoder: it must be there also when the records before it did not fit.
    let opt = opt.map(Opt::to_bytes).unwrap_or_default();
    let mut bytes = Vec::with_capacity(512);
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.set_max_size(limit.checked_sub(length(opt.len()))?);
    message.emit(&mut encoder).ok()?;
    // A record that did not fit is taken back by the encoder's offset alone: its first bytes are still in the buffer.
    let end = encoder.offset();
    bytes.truncate(end);
    if !opt.is_empty() {
        bytes.extend_from_slice(&opt);
        let count = bytes.get_mut(10..12)?;
        let grown = u16::from_be_bytes([*count.first()?, *count.last()?]).checked_add(1)?;
        count.copy_from_slice(&grown.to_be_bytes());
    }
    Some(bytes)
}

/// A header that says SERVFAIL and nothing else: for the reply that could not be written.
pub(crate) fn bare_servfail(id: u16, recursion_desired: bool) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend([0x80 | u8::from(recursion_desired), 0x82, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes
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

#[cfg(test)]
mod tests;
