//! What a refused name is told: that it does not exist, for how long, and by whose word.

use std::str::FromStr;

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{
        Name as WireName, RData, Record, RecordType,
        rdata::{HINFO, SOA},
    },
};
use policies::{Reason, Refusal};

use crate::{
    query::Query,
    reply::{Draft, Reply},
};

/// How long a refusal may be kept, in seconds (RFC 2308). Short, so that a policy that changes is felt soon; long enough that the
/// tries of a search list do not come again with each connection.
pub const REFUSAL_TTL: u32 = 30;

/// The TTL of the answer to ANY, in seconds: it depends on nothing that changes.
const ANY_TTL: u32 = 3600;

impl Reply {
    /// Answers a refused name: NXDOMAIN with a SOA, alike for every type, so that an empty AAAA does not spoil what A would say and a
    /// search list goes on. A name above a permitted one is NODATA: NXDOMAIN would deny the permitted one too (RFC 8020).
    pub fn refuse(query: &Query, refusal: &Refusal) -> Self {
        // A chain is refused for a name it passes through; what lies below that one says nothing about the name asked for.
        let nodata = refusal.is_no_data() && refusal.name() == query.name();
        let mut draft = Draft::new(query);
        let owner = match nodata {
            true => query.wire_name().clone(),
            false => query.wire_name().base_name(),
        };
        draft.message.metadata.response_code = if nodata { ResponseCode::NoError } else { ResponseCode::NXDomain };
        draft.message.authorities.extend(soa(owner));
        draft.error(15, blocked(refusal));
        draft.finish()
    }

    /// Answers a permitted name with nothing, of our own accord: HTTPS and SVCB carry address hints that nothing has opened.
    pub fn empty(query: &Query) -> Self {
        let mut draft = Draft::new(query);
        add_empty(&mut draft.message, query);
        draft.finish()
    }

    /// Answers ANY with the one record that says that it is not answered (RFC 8482 §4.2).
    pub fn minimal_any(query: &Query) -> Self {
        let mut draft = Draft::new(query);
        let hinfo = RData::HINFO(HINFO::new("RFC8482".into(), String::new()));
        draft.message.answers.push(Record::from_rdata(query.wire_name().clone(), ANY_TTL, hinfo));
        draft.finish()
    }
}

/// By whose word a name is refused: the text of the extended error 15 "Blocked" (RFC 8914 §4.16).
fn blocked(refusal: &Refusal) -> String {
    let reason = match refusal.reason() {
        Reason::NoPolicy => "no policy file selects this pod",
        Reason::NotPermitted => "no rule permits this name",
        Reason::Denied => "denied",
        Reason::Expired(_) => "the rule has expired",
        Reason::OutsideLimit => "outside of the platform's limits",
        Reason::AncestorOfPermitted => "only names below it are permitted",
        Reason::SearchListStep => "a permitted name with a search domain behind it",
        Reason::OverBudget(_) => "over the budget of its wildcard",
    };
    match refusal.place() {
        Some(place) => format!("portreeve: policy {}, {place}: {reason}", place.policy()),
        None => format!("portreeve: {reason}"),
    }
}

/// Whether a type is answered empty for every name.
pub(crate) fn carries_hints(rtype: RecordType) -> bool {
    matches!(rtype, RecordType::HTTPS | RecordType::SVCB)
}

/// Makes `message` an empty answer that may be kept for a short while (NODATA, RFC 2308 §2.2).
pub(crate) fn add_empty(message: &mut Message, query: &Query) {
    message.authorities.extend(soa(query.wire_name().clone()));
}

/// The SOA of `owner` that bounds how long an absence is kept.
fn soa(owner: WireName) -> Option<Record> {
    // Names under .invalid exist nowhere (RFC 6761 §6.4), so nobody is asked about or mailed to.
    let primary = WireName::from_str("portreeve.invalid.").ok()?;
    let mailbox = WireName::from_str("nobody.invalid.").ok()?;
    let soa = SOA::new(primary, mailbox, 1, 1800, 900, 604_800, REFUSAL_TTL);
    Some(Record::from_rdata(owner, REFUSAL_TTL, RData::SOA(soa)))
}
