//! The walk from the name asked for over CNAMEs, inside one answer: bounded, without loops, and aware of where the cluster ends.

use hickory_proto::rr::{DNSClass, Name as WireName, RData, Record, RecordType};
use policies::{Grant, Mode, Name, Policy, Reason, Refusal, Verdict};

use super::{MAX_LINKS, Unusable, Wanted};
use crate::wire;

/// Where the walk from the name asked for led.
pub(super) struct Chain {
    /// The targets passed, in order; the last is where the records asked for must be.
    pub(super) names: Vec<WireName>,
    /// The same as policies know them.
    pub(super) aliases: Vec<Name>,
    /// The CNAME records passed, and their signatures for who wants them.
    pub(super) links: Vec<Record>,
    /// The least TTL of the links, in seconds.
    pub(super) ttl: u32,
    /// The grant, with the rights that are left of it at the end: a right to private addresses that comes from the cluster domain ends
    /// where the chain leaves it.
    pub(super) grant: Grant,
}

/// How a walk ended.
pub(super) enum Walk {
    /// At a name without CNAME.
    Ends(Chain),
    /// At a name that is denied.
    Denied(Refusal),
}

impl Chain {
    /// Follows the CNAMEs of `answers` from the name is asked for, which `grant` permits.
    pub(super) fn walk(policy: &Policy, grant: Grant, wanted: &Wanted, answers: &[Record]) -> Result<Walk, Unusable> {
        let mut chain = Self { names: Vec::new(), aliases: Vec::new(), links: Vec::new(), ttl: u32::MAX, grant };
        // Who asks for the CNAME itself, or for everything about the name, gets it and no more.
        if wanted.rtype == RecordType::CNAME {
            return Ok(Walk::Ends(chain));
        }
        while let Some((link, target)) = answers.iter().find_map(|record| chain.link(wanted, record)) {
            if chain.names.len() == MAX_LINKS {
                return Err(Unusable::TooManyLinks);
            }
            if *target == wanted.name || chain.names.contains(target) {
                return Err(Unusable::Loop);
            }
            let alias = wire::policy_name(target).ok_or(Unusable::BadName)?;
            match policy.judge(&alias) {
                // That the target is not permitted is no reason: only the name asked for must be.
                Verdict::Refused(refusal) if refusal.reason() == Reason::Denied && policy.mode() == Mode::Enforce => {
                    return Ok(Walk::Denied(refusal));
                }
                _ => chain.grant.follow(&alias),
            }
            chain.ttl = chain.ttl.min(sane_ttl(link.ttl));
            chain.links.push(chain.as_asked(wanted, link));
            if wanted.dnssec_ok {
                let signatures = answers.iter().filter(|record| chain.is_at_end(wanted, record) && signs(record, RecordType::CNAME));
                let signatures: Vec<_> = signatures.map(|record| chain.as_asked(wanted, record)).collect();
                chain.links.extend(signatures);
            }
            chain.names.push(target.clone());
            chain.aliases.push(alias);
        }
        Ok(Walk::Ends(chain))
    }

    /// The CNAME at the present end, with its target.
    fn link<'a>(&self, wanted: &Wanted, record: &'a Record) -> Option<(&'a Record, &'a WireName)> {
        match &record.data {
            RData::CNAME(target) if self.is_at_end(wanted, record) => Some((record, &target.0)),
            _ => None,
        }
    }

    /// The name the walk has come to.
    fn end<'a>(&'a self, wanted: &'a Wanted) -> &'a WireName {
        self.names.last().unwrap_or(&wanted.name)
    }

    /// Whether `record` belongs to the name the walk has come to.
    fn is_at_end(&self, wanted: &Wanted, record: &Record) -> bool {
        record.dns_class == DNSClass::IN && record.name == *self.end(wanted)
    }

    /// Whether `record` is what was asked for, at the end of the walk: of the type, or its signature for who wants it.
    pub(super) fn ends_at(&self, wanted: &Wanted, record: &Record) -> bool {
        self.is_at_end(wanted, record) && (record.record_type() == wanted.rtype || wanted.dnssec_ok && signs(record, wanted.rtype))
    }

    /// Whether `record` of the authority section tells how long, and to a validator why, there is nothing (RFC 2308, RFC 4035 §3.1.3).
    pub(super) fn proves_absence(&self, wanted: &Wanted, record: &Record) -> bool {
        let kind = match wire::covered_type(record) {
            Some(covered) if wanted.dnssec_ok => covered,
            Some(_) => return false,
            None => record.record_type(),
        };
        match kind {
            RecordType::SOA => record.name.zone_of(self.end(wanted)) || record.name.zone_of(&wanted.name),
            RecordType::NSEC | RecordType::NSEC3 => wanted.dnssec_ok,
            _ => false,
        }
    }

    /// `record` with the client's own spelling of the name it asked for: upstream was asked in another one (0x20).
    pub(super) fn as_asked(&self, wanted: &Wanted, record: &Record) -> Record {
        let mut record = record.clone();
        if record.name == wanted.name {
            record.name = wanted.name.clone();
        }
        record
    }
}

/// The TTL of a record; with the top bit set it counts as 0 (RFC 2181 §8).
pub(super) fn sane_ttl(ttl: u32) -> u32 {
    if ttl > i32::MAX as u32 { 0 } else { ttl }
}

/// Whether `record` is the signature over records of type `covered`.
fn signs(record: &Record, covered: RecordType) -> bool {
    wire::covered_type(record) == Some(covered)
}
