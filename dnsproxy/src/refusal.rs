//! What a refused name is told: that it does not exist, for how long, and by whose word.

use std::borrow::Cow;

use hickory_proto::{op::ResponseCode, rr::RecordType};
use policies::{Reason, Refusal};

use crate::{
    body::{Body, Marks},
    reply::{Extended, Owner, Records, Reply},
};

/// How long a refusal may be kept, in seconds (RFC 2308). Short, so that a policy that changes is felt soon; long enough that the
/// tries of a search list do not come again with each connection.
pub const REFUSAL_TTL: u32 = 30;

/// A SOA record without its owner, as it stands on the wire: type 6, class IN, 30 s, 55 octets of data. Names under .invalid exist nowhere
/// (RFC 6761 §6.4), so nobody is asked about or mailed to. The last number, MINIMUM, bounds how long an absence is kept.
const SOA: &[u8] = b"\0\x06\0\x01\0\0\0\x1e\0\x37\
    \x09portreeve\x07invalid\0\x06nobody\x07invalid\0\
    \0\0\0\x01\0\0\x07\x08\0\0\x03\x84\0\x09\x3a\x80\0\0\0\x1e";

/// The one record that says that ANY is not answered (RFC 8482 §4.2), without its owner: HINFO, for an hour.
const HINFO: &[u8] = b"\0\x0d\0\x01\0\0\x0e\x10\0\x09\x07RFC8482\0";

impl<'a> Reply<'a> {
    /// Answers a refused name: NXDOMAIN with a SOA, alike for every type, so that an empty AAAA does not spoil what A would say and a
    /// search list goes on. A name above a permitted one is NODATA: NXDOMAIN would deny the permitted one too (RFC 8020).
    ///
    /// `asked` says whether it is the name asked for that is refused, or one that its chain passes.
    pub(crate) fn refuse(refusal: &'a Refusal, asked: bool) -> Self {
        // A chain is refused for a name it passes through; what lies below that one says nothing about the name asked for.
        let nodata = refusal.is_no_data() && asked;
        let owner = if nodata { Owner::Asked } else { Owner::Parent };
        let rcode = if nodata { ResponseCode::NoError } else { ResponseCode::NXDomain };
        Self { rcode, error: Some(Extended::Blocked(refusal)), ..Self::absent(owner) }
    }

    /// Answers a permitted name with nothing, of our own accord: HTTPS and SVCB carry address hints that nothing has opened, and
    /// addresses that the pod has no way to are of no use to it.
    pub(crate) fn empty() -> Self {
        Self::absent(Owner::Asked)
    }

    /// Answers ANY with the one record that says that it is not answered.
    pub(crate) fn minimal_any() -> Self {
        let records = Records { owner: Some(Owner::Asked), octets: HINFO, answers: 1, authorities: 0 };
        Self { records, ..Self::bare(ResponseCode::NoError) }
    }

    /// No records but the SOA that bounds how long the absence is kept (RFC 2308 §2).
    fn absent(owner: Owner) -> Self {
        let records = Records { owner: Some(owner), octets: SOA, answers: 0, authorities: 1 };
        Self { records, ..Self::bare(ResponseCode::NoError) }
    }
}

/// A body that says that there is nothing of the type asked for, for [`REFUSAL_TTL`].
pub(crate) fn absence() -> Body {
    let octets = [&[0xc0, 12], SOA].concat().into();
    Body { octets, answers: 0, authorities: 1, marks: Marks::default() }
}

/// By whose word a name is refused: the text of the extended error 15 "Blocked" (RFC 8914 §4.16).
pub(crate) fn blocked(refusal: &Refusal) -> Cow<'_, str> {
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
        Some(place) => format!("portreeve: policy {}, {place}: {reason}", place.policy()).into(),
        None => format!("portreeve: {reason}").into(),
    }
}

/// Whether records of a type carry addresses as hints.
pub(crate) fn carries_hints(rtype: RecordType) -> bool {
    matches!(rtype, RecordType::HTTPS | RecordType::SVCB)
}
