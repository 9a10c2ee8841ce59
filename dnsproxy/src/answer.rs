//! What of an upstream's answer may be told: a chain from the name asked for to addresses its grant has a right to, and nothing else.

mod chain;

use std::{collections::HashSet, net::IpAddr};

use hickory_proto::{
    op::ResponseCode,
    rr::{Name as WireName, Record, RecordType},
};
use policies::{Grant, Name, Policy, Refusal};

use crate::{query::Query, upstream::message::UpstreamReply};
use chain::{Chain, Walk};

/// The most CNAME links followed in one answer; resolvers of the field stop between 8 and 17.
pub const MAX_LINKS: usize = 16;

/// The most addresses of one answer. More of them would fill the leases of a rule with one name; no known service needs half.
pub const MAX_ADDRESSES: usize = 256;

/// An answer with at least one address, each of them on the chain of the name and within the rights of its grant.
///
/// Only [`verify`] makes one. It is not open yet: that is for [`Committed`](crate::Committed) to prove.
#[derive(Clone, Debug)]
pub struct PermittedAnswer {
    grant: Grant,
    name: Name,
    rtype: RecordType,
    chain: Vec<WireName>,
    records: Vec<Record>,
    addresses: Vec<IpAddr>,
    ttl: u32,
    authentic: bool,
    left_out: LeftOut,
}

/// An answer that holds no address record: negative, of another type, or with every address stripped.
#[derive(Clone, Debug)]
pub struct PlainAnswer {
    pub(crate) grant: Grant,
    pub(crate) rcode: ResponseCode,
    pub(crate) answers: Vec<Record>,
    pub(crate) authorities: Vec<Record>,
    pub(crate) authentic: bool,
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
pub enum Verified {
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
}

/// Walks `reply` from the name asked for over its CNAMEs to the records asked for, and keeps only what lies on that way.
///
/// A CNAME's target need not be permitted: the name asked for is what the policy speaks of. But a chain through a denied name is
/// refused, and the right to private addresses that the cluster's own names have ends where the chain leaves the cluster domain.
///
/// # Errors
///
/// [`Unusable`] if the answer is broken or beyond its bounds.
pub fn verify(policy: &Policy, grant: Grant, query: &Query, reply: &UpstreamReply) -> Result<Verified, Unusable> {
    let message = reply.message();
    let chain = match Chain::walk(policy, grant, query, &message.answers)? {
        Walk::Ends(chain) => chain,
        Walk::Denied(refusal) => return Ok(Verified::Refused(refusal)),
    };
    let told =
        if message.metadata.response_code == ResponseCode::NoError { Told::of(query, &chain, &message.answers)? } else { Told::default() };
    let strays = message.answers.len().saturating_sub(chain.links.len() + told.records.len() + told.duplicates + told.stripped);
    let left_out = LeftOut { strays, stripped: told.stripped };
    // A signature over a set that lost a record does not hold, so neither does the promise that it was checked.
    let authentic = message.metadata.authentic_data && told.stripped == 0;

    if told.addresses.is_empty() {
        return Ok(Verified::Plain(plain(query, reply, chain, told, left_out, authentic)));
    }
    let ttl = told.ttl.min(chain.ttl);
    let mut records = chain.links;
    records.extend(told.records);
    Ok(Verified::Addresses(PermittedAnswer {
        grant: chain.grant,
        name: query.name().clone(),
        rtype: query.rtype(),
        chain: chain.names,
        records,
        addresses: told.addresses,
        ttl,
        authentic,
        left_out,
    }))
}

/// The records at the end of a chain, as far as they are told.
#[derive(Default)]
struct Told {
    records: Vec<Record>,
    addresses: Vec<IpAddr>,
    ttl: u32,
    duplicates: usize,
    stripped: usize,
}

impl Told {
    /// Takes the records that answer the question and strips the addresses the grant has no right to.
    fn of(query: &Query, chain: &Chain, answers: &[Record]) -> Result<Self, Unusable> {
        let mut told = Self { ttl: u32::MAX, ..Self::default() };
        let mut seen = HashSet::new();
        for record in answers.iter().filter(|record| chain.ends_at(query, record)) {
            if let Some(address) = record.data.ip_addr() {
                if chain.grant.permits_address(address).is_err() {
                    told.stripped += 1;
                    continue;
                }
                told.ttl = told.ttl.min(chain::sane_ttl(record.ttl));
                if !seen.insert(address) {
                    told.duplicates += 1;
                    continue;
                }
                if told.addresses.len() == MAX_ADDRESSES {
                    return Err(Unusable::TooManyAddresses);
                }
                told.addresses.push(address);
            }
            told.records.push(chain.as_asked(query, record));
        }
        Ok(told)
    }
}

/// An answer without an address, from what the walk kept.
fn plain(query: &Query, reply: &UpstreamReply, chain: Chain, told: Told, left_out: LeftOut, authentic: bool) -> PlainAnswer {
    let message = reply.message();
    let negative = told.records.is_empty();
    let authorities = match negative && left_out.stripped == 0 {
        true => message.authorities.iter().filter(|record| chain.proves_absence(query, record)).cloned().collect(),
        false => Vec::new(),
    };
    let mut answers = chain.links;
    answers.extend(told.records);
    PlainAnswer { grant: chain.grant, rcode: message.metadata.response_code, answers, authorities, authentic, left_out }
}

impl PermittedAnswer {
    /// The grant it is told by, with the rights that are left of it at the end of the chain: `grant().openings_for(address)` says
    /// under which openings an address goes.
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The name asked for.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The type asked for: A or AAAA.
    pub fn rtype(&self) -> RecordType {
        self.rtype
    }

    /// The targets of the CNAMEs between the name and its addresses, in order.
    pub fn chain(&self) -> &[WireName] {
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

    /// Every record to tell, the chain's first.
    pub(crate) fn records(&self) -> &[Record] {
        &self.records
    }

    /// Whether the upstream vouches for all of it (the AD bit, RFC 4035 §3.2.3).
    pub(crate) fn is_authentic(&self) -> bool {
        self.authentic
    }

    /// What was left out.
    pub(crate) fn left_out(&self) -> LeftOut {
        self.left_out
    }
}

impl PlainAnswer {
    /// The grant it is told by.
    pub fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The response code: NOERROR or NXDOMAIN.
    pub fn rcode(&self) -> ResponseCode {
        self.rcode
    }

    /// Whether it is empty only because every address was stripped.
    pub fn was_stripped(&self) -> bool {
        self.left_out.stripped > 0
    }
}

#[cfg(test)]
mod tests;
