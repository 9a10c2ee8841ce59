//! What a reply of ours says, read back from its own octets: for who is told of it after it has left.

use std::net::IpAddr;

use hickory_proto::rr::RecordType;
use policies::Name;

use crate::body;

const HEADER: usize = 12;

/// The name in the question; the root where there is none.
pub(crate) fn name(message: &[u8]) -> Name {
    let end = body::skip_name(message, HEADER).unwrap_or(HEADER + 1);
    message.get(HEADER..end - 1).and_then(|name| Name::from_wire(name).ok()).unwrap_or_else(Name::root)
}

/// The type in the question; 0 where there is none.
pub(crate) fn rtype(message: &[u8]) -> RecordType {
    let number = body::skip_name(message, HEADER).and_then(|end| message.get(end..end + 2));
    RecordType::from(number.and_then(|number| number.try_into().ok()).map_or(0, u16::from_be_bytes))
}

/// The question section; empty where there is none.
pub(crate) fn question(message: &[u8]) -> &[u8] {
    body::skip_name(message, HEADER).and_then(|end| message.get(HEADER..end + 4)).unwrap_or_default()
}

/// The targets of the aliases in the answer section.
pub(crate) fn chain(message: &[u8]) -> Vec<Name> {
    let Ok(message) = hickory_proto::op::Message::from_vec(message) else { return Vec::new() };
    let targets = message.answers.iter().filter_map(|record| match &record.data {
        hickory_proto::rr::RData::CNAME(target) => Name::from_labels(target.0.iter()).ok(),
        _ => None,
    });
    targets.collect()
}

/// The addresses in the answer section.
pub(crate) fn addresses(message: &[u8]) -> impl Iterator<Item = IpAddr> + '_ {
    let records = body::skip_name(message, HEADER).and_then(|end| message.get(end + 4..)).unwrap_or_default();
    body::records(records).filter_map(|(ttl, end)| {
        let rtype: [u8; 2] = records.get(ttl - 4..ttl - 2)?.try_into().ok()?;
        let data = records.get(ttl + 6..end)?;
        match u16::from_be_bytes(rtype) {
            1 => <[u8; 4]>::try_from(data).ok().map(IpAddr::from),
            28 => <[u8; 16]>::try_from(data).ok().map(IpAddr::from),
            _ => None,
        }
    })
}
