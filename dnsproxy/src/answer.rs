//! What of an upstream's answer may be told: a chain from the name asked for to addresses its grant has a right to, and nothing else.

mod chain;
mod hints;
mod swift;

use std::{collections::HashSet, net::IpAddr};

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query as WireQuestion, ResponseCode},
    rr::{Name as WireName, RData, Record, RecordType},
};
use policies::{Grant, Name, Policy, Refusal};

use crate::{
    body::{self, Body, Marks},
    question::Question,
    refusal, wire,
};
use chain::{Chain, Walk, sane_ttl};

/// The most CNAME links followed in one answer; resolvers of the field stop between 8 and 17.
pub const MAX_LINKS: usize = 16;

/// The most addresses of one answer. More of them would fill the leases of a rule with one name; no known service needs half.
pub const MAX_ADDRESSES: usize = 256;

/// The longest that an answer without addresses is kept, in seconds; one with addresses is bounded by its lease.
const MAX_PLAIN_TTL: u32 = 86_400;

/// The longest that the absence of something is believed, in seconds (RFC 2308 §5 leaves it to us; a name that appears must be found soon).
const MAX_NEGATIVE_TTL: u32 = 300;

/// An answer with at least one address, each of them on the chain of the name and within the rights of its grant.
///
/// Only verification makes one. It is not open yet: that is for [`Committed`](crate::Committed) to prove.
#[derive(Clone, Debug)]
pub struct PermittedAnswer {
    grant: Grant,
    rtype: RecordType,
    chain: Vec<Name>,
    addresses: Vec<IpAddr>,
    ttl: u32,
    body: Body,
    left_out: LeftOut,
}

/// An answer that holds no address record: negative, of another type, or with every address stripped.
#[derive(Clone, Debug)]
pub struct PlainAnswer {
    pub(crate) grant: Grant,
    pub(crate) body: Body,
    /// How long it may be kept, in seconds; 0 where nothing says so.
    pub(crate) ttl: u32,
    /// The targets of its SRV records, each with the record's TTL, where the rule grants them along.
    pub(crate) targets: Vec<(Name, u32)>,
    pub(crate) left_out: LeftOut,
}

/// How many records of an answer were not told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LeftOut {
    /// Not on the chain.
    pub(crate) strays: usize,
    /// Addresses in a range the grant has no right to.
    pub(crate) stripped: usize,
}

/// What an answer turned out to be.
#[derive(Clone, Debug)]
pub(crate) enum Verified {
    /// Addresses, to be opened before they are told.
    Addresses(PermittedAnswer),
    /// Nothing to open.
    Plain(PlainAnswer),
    /// The chain passes through a name that a `[[deny]]` names.
    Refused(Refusal),
}

/// Why an answer cannot be told: the client gets SERVFAIL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unusable {
    /// The CNAME chain comes back to a name it has passed.
    #[error("the CNAME chain is a loop")]
    Loop,
    /// The CNAME chain has more than [`MAX_LINKS`] links.
    #[error("the CNAME chain has more than {MAX_LINKS} links")]
    TooManyLinks,
    /// A CNAME leads to a name longer than a name may be.
    #[error("a CNAME leads to what is no name")]
    BadName,
    /// More than [`MAX_ADDRESSES`] addresses.
    #[error("the answer has more than {MAX_ADDRESSES} addresses")]
    TooManyAddresses,
    /// It cannot be read, or not be written again.
    #[error("the answer cannot be read")]
    Unreadable,
}

/// What was asked, for the careful way.
struct Wanted {
    name: WireName,
    rtype: RecordType,
    dnssec_ok: bool,
    /// Where records begin behind the question.
    begin: usize,
}

/// Walks `message`, the answer to `question`, from the name asked for over its CNAMEs to the records asked for, and keeps only what lies
/// on that way.
///
/// A CNAME's target need not be permitted: the name asked for is what the policy speaks of. But a chain through a denied name is
/// refused, and the right to private addresses that the cluster's own names have ends where the chain leaves the cluster domain.
///
/// # Errors
///
/// [`Unusable`] if the answer is broken or beyond its bounds.
pub(crate) fn verify(policy: &Policy, grant: &Grant, question: Question<'_>, message: &[u8]) -> Result<Verified, Unusable> {
    match swift::verify(policy, grant, question, message) {
        Some(answer) => Ok(Verified::Addresses(answer)),
        None => verify_carefully(policy, grant.clone(), question, message),
    }
}

/// The same for whatever an upstream may send.
fn verify_carefully(policy: &Policy, grant: Grant, question: Question<'_>, message: &[u8]) -> Result<Verified, Unusable> {
    let message = Message::from_vec(message).map_err(|_| Unusable::Unreadable)?;
    let rcode = message.metadata.response_code;
    let labels = policies::Name::from_wire(question.name).map_err(|_| Unusable::Unreadable)?;
    let name = WireName::from_labels(labels.labels()).map_err(|_| Unusable::Unreadable)?;
    let wanted = Wanted { name, rtype: question.rtype.into(), dnssec_ok: question.dnssec_ok, begin: body::offset(question.name.len()) };
    let chain = match Chain::walk(policy, grant, &wanted, &message.answers)? {
        Walk::Ends(chain) => chain,
        Walk::Denied(refusal) => return Ok(Verified::Refused(refusal)),
    };
    let told = if rcode == ResponseCode::NoError { Told::of(&wanted, &chain, &message.answers)? } else { Told::default() };
    let strays = message.answers.len().saturating_sub(chain.links.len() + told.records.len() + told.duplicates + told.stripped);
    let left_out = LeftOut { strays, stripped: told.stripped };
    // A signature over a set that lost a record, or something of one, does not hold, so neither does the promise that it was checked.
    let authentic = message.metadata.authentic_data && told.stripped == 0 && !told.altered;
    let marks = Marks { rcode: rcode.low(), authentic, stripped: told.stripped > 0 };
    if told.addresses.is_empty() {
        return plain(&wanted, &message, chain, told, left_out, marks).map(Verified::Plain);
    }
    let ttl = told.ttl.min(chain.ttl);
    let body = written(&wanted, [chain.links, told.records].concat(), Vec::new(), marks)?;
    let (grant, rtype, chain) = (chain.grant, wanted.rtype, chain.aliases);
    Ok(Verified::Addresses(PermittedAnswer { grant, rtype, chain, addresses: told.addresses, ttl, body, left_out }))
}

/// The records at the end of a chain, as far as they are told.
#[derive(Default)]
struct Told {
    records: Vec<Record>,
    addresses: Vec<IpAddr>,
    ttl: u32,
    duplicates: usize,
    stripped: usize,
    altered: bool,
}

impl Told {
    /// Takes the records that answer the question and strips the addresses the grant has no right to.
    fn of(wanted: &Wanted, chain: &Chain, answers: &[Record]) -> Result<Self, Unusable> {
        let mut told = Self { ttl: u32::MAX, ..Self::default() };
        let mut seen = HashSet::new();
        for record in answers.iter().filter(|record| chain.ends_at(wanted, record)) {
            if let Some(address) = record.data.ip_addr() {
                if chain.grant.permits_address(address).is_err() {
                    told.stripped += 1;
                    continue;
                }
                if !seen.insert(address) {
                    told.ttl = told.ttl.min(sane_ttl(record.ttl));
                    told.duplicates += 1;
                    continue;
                }
                if told.addresses.len() == MAX_ADDRESSES {
                    return Err(Unusable::TooManyAddresses);
                }
                told.addresses.push(address);
            }
            told.ttl = told.ttl.min(sane_ttl(record.ttl));
            let mut record = chain.as_asked(wanted, record);
            told.altered |= hints::strip(&mut record);
            told.records.push(record);
        }
        Ok(told)
    }
}

/// An answer without an address, from what the walk kept.
fn plain(wanted: &Wanted, message: &Message, chain: Chain, told: Told, left_out: LeftOut, marks: Marks) -> Result<PlainAnswer, Unusable> {
    if left_out.stripped > 0 {
        // That there was something is told by an extended error; a chain that leads to nothing would only look broken.
        let body = Body { marks, ..refusal::absence() };
        return Ok(PlainAnswer { grant: chain.grant, body, ttl: refusal::REFUSAL_TTL, targets: Vec::new(), left_out });
    }
    let (authorities, ttl) = match told.records.is_empty() {
        true => {
            let proofs = message.authorities.iter().filter(|record| chain.proves_absence(wanted, record)).cloned().collect::<Vec<_>>();
            let kept = proofs.iter().find_map(absence_ttl).map_or(0, |ttl| ttl.min(chain.ttl).min(MAX_NEGATIVE_TTL));
            (proofs, kept)
        }
        false => (Vec::new(), told.ttl.min(chain.ttl).min(MAX_PLAIN_TTL)),
    };
    let targets = match chain.grant.srv_targets() {
        true => told.records.iter().filter_map(target).collect(),
        false => Vec::new(),
    };
    // The last guard, should a walk ever let an address through that nothing opens.
    let without_address = |records: Vec<Record>| records.into_iter().filter(|record| record.data.ip_addr().is_none()).collect();
    let answers = without_address([chain.links, told.records].concat());
    let body = written(wanted, answers, without_address(authorities), marks)?;
    Ok(PlainAnswer { grant: chain.grant, body, ttl, targets, left_out })
}

/// How long a SOA lets an absence be kept (RFC 2308 §5).
fn absence_ttl(record: &Record) -> Option<u32> {
    match &record.data {
        RData::SOA(soa) => Some(sane_ttl(record.ttl).min(soa.minimum)),
        _ => None,
    }
}

/// The target of a SRV record (RFC 2782); the root means that there is no such service.
fn target(record: &Record) -> Option<(Name, u32)> {
    match &record.data {
        RData::SRV(srv) if !srv.target.is_root() => Some((wire::policy_name(&srv.target)?, sane_ttl(record.ttl))),
        _ => None,
    }
}

/// The records as they stand on the wire behind the question.
fn written(wanted: &Wanted, answers: Vec<Record>, authorities: Vec<Record>, marks: Marks) -> Result<Body, Unusable> {
    let mut message = Message::new(0, MessageType::Response, OpCode::Query);
    message.queries.push(WireQuestion::query(wanted.name.clone(), wanted.rtype));
    let count = |records: &[Record]| u16::try_from(records.len()).map_err(|_| Unusable::Unreadable);
    let counts = (count(&answers)?, count(&authorities)?);
    message.answers = answers;
    message.authorities = authorities;
    let octets = message.to_vec().map_err(|_| Unusable::Unreadable)?;
    let octets: Box<[u8]> = octets.get(wanted.begin..).ok_or(Unusable::Unreadable)?.into();
    // The encoder leaves out without a word what does not fit: names that were compressed when they came may not be any longer.
    if body::records(&octets).count() != usize::from(counts.0) + usize::from(counts.1) {
        return Err(Unusable::Unreadable);
    }
    Ok(Body { octets, answers: counts.0, authorities: counts.1, marks })
}

impl PermittedAnswer {
    /// The grant it is told by, with the rights that are left of it at the end of the chain: `grant().openings_for(address)` says
    /// under which openings an address goes.
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The name asked for.
    pub fn name(&self) -> &Name {
        self.grant.name()
    }

    /// The type asked for: A or AAAA.
    pub fn rtype(&self) -> RecordType {
        self.rtype
    }

    /// The targets of the CNAMEs between the name and its addresses, in order.
    pub fn chain(&self) -> &[Name] {
        &self.chain
    }

    /// The addresses, each once, at most [`MAX_ADDRESSES`], at least one.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// The least TTL of the chain and the addresses, in seconds; 0 is possible.
    pub fn ttl(&self) -> u32 {
        self.ttl
    }

    /// The same, with what is left of its time.
    pub(crate) fn aged(self, ttl: u32) -> Self {
        Self { ttl, ..self }
    }

    /// Every record to tell, the chain's first.
    pub(crate) fn body(&self) -> &Body {
        &self.body
    }

    /// What was left out.
    pub(crate) fn left_out(&self) -> LeftOut {
        self.left_out
    }
}

#[cfg(test)]
mod tests;
