//! The records of an [`super::Authority`], and the honest answer to a question.

use std::collections::BTreeMap;

use hickory_proto::rr::rdata::SOA;
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// Links of a CNAME chain that are followed within one answer.
const LINKS: usize = 16;

/// Seconds that a negative answer may be kept.
const NEGATIVE_TTL: u32 = 5;

#[derive(Debug, Default)]
pub(super) struct Records(BTreeMap<Name, BTreeMap<u16, Vec<Record>>>);

/// What an honest server says.
#[derive(Debug)]
pub(super) struct Honest {
    pub(super) answers: Vec<Record>,
    /// The SOA of a negative answer.
    pub(super) soa: Option<Record>,
    pub(super) exists: bool,
}

impl Records {
    pub(super) fn set(&mut self, name: &Name, record_type: RecordType, data: &[&str], ttl: u32) {
        let record = |text: &&str| {
            let data = RData::try_from_str(record_type, text).unwrap_or_else(|cause| panic!("{name} {record_type} {text}: {cause}"));
            Record::from_rdata(name.clone(), ttl, data)
        };
        let records = data.iter().map(record).collect();
        self.0.entry(name.clone()).or_default().insert(record_type.into(), records);
    }

    pub(super) fn remove(&mut self, name: &Name, record_type: RecordType) {
        if let Some(types) = self.0.get_mut(name) {
            types.remove(&u16::from(record_type));
            if types.is_empty() {
                self.0.remove(name);
            }
        }
    }

    pub(super) fn answer(&self, asked: &Name, record_type: RecordType) -> Honest {
        let mut answers = Vec::new();
        let mut name = asked.to_lowercase();
        for _ in 0..LINKS {
            let Some(types) = self.find(&name) else { break };
            if let Some(found) = types.get(&record_type.into()) {
                answers.extend(found.iter().map(|record| owned_by(record, &name)));
                break;
            }
            let Some([link, ..]) = types.get(&RecordType::CNAME.into()).map(Vec::as_slice) else { break };
            answers.push(owned_by(link, &name));
            let RData::CNAME(target) = &link.data else { break };
            name = target.0.to_lowercase();
        }
        // The first record keeps the case of the question, as real servers do by name compression.
        for record in answers.iter_mut().filter(|record| record.name == *asked) {
            record.name = asked.clone();
        }
        let complete = answers.iter().any(|record| record.record_type() == record_type);
        Honest { soa: (!complete).then(|| soa(&name)), exists: self.find(&name).is_some() || self.exists(&name), answers }
    }

    /// The records of a name, or of the wildcard next above it.
    fn find(&self, name: &Name) -> Option<&BTreeMap<u16, Vec<Record>>> {
        if let Some(own) = self.0.get(name) {
            return Some(own);
        }
        if self.exists(name) {
            return None;
        }
        let mut above = name.base_name();
        while !above.is_root() {
            if let Some(found) = above.prepend_label("*").ok().and_then(|star| self.0.get(&star)) {
                return Some(found);
            }
            if self.exists(&above) {
                return None;
            }
            above = above.base_name();
        }
        None
    }

    /// The name has records, or a name below it has (an empty non-terminal is NODATA, RFC 8020).
    fn exists(&self, name: &Name) -> bool {
        self.0.contains_key(name) || self.0.keys().any(|known| name.zone_of(known))
    }
}

fn owned_by(record: &Record, name: &Name) -> Record {
    let mut record = record.clone();
    record.name = name.clone();
    record
}

fn soa(name: &Name) -> Record {
    let zone = name.trim_to(2);
    let data = SOA::new(zone.clone(), zone.clone(), 1, 3600, 600, 86_400, NEGATIVE_TTL);
    Record::from_rdata(zone, NEGATIVE_TTL, RData::SOA(data))
}
