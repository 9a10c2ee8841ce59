//! Every question is told: alike ones together, the first with all that is known of its answer. On the resolver's thread nothing is
//! allocated for one whose like was told within the window.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use dnsproxy::{Event, Observer, Outcome, Source, Transport};
use policies::{Grant, Mode, Policy, Refusal, Verdict};

use crate::exit::chain;
use crate::record::{DnsRecord, DnsVerdict, LostRecord, LostWhat, LostWhy, Record, Timestamp, cause};
use crate::refusals::RefusalLog;
use crate::worker::selftest;

/// How long alike questions are gathered, in milliseconds.
const WINDOW_MS: u64 = 5_000;
/// The most that are gathered at a time; about a kilobyte each. What is beyond is counted as lost.
const MOST: usize = 2048;
/// Of these, refused ones: an app that asks for ever new names that it may not have takes no room from those that it may.
const MOST_REFUSED: usize = 1536;

/// What was asked lately.
#[derive(Debug, Default)]
pub struct Questions {
    hasher: RandomState,
    asked: Mutex<Asked>,
}

#[derive(Debug, Default)]
struct Asked {
    gathered: HashMap<u64, Gathered>,
    refused: usize,
    lost: u64,
}

#[derive(Debug)]
struct Gathered {
    record: Box<DnsRecord>,
    /// Since the record was told; the first is not counted.
    more: u64,
    first: u64,
    last: u64,
    told: bool,
    ends: u64,
}

impl Questions {
    /// Takes note of an answer that has left.
    fn note(&self, event: &Event<'_>) {
        let now = Timestamp::now().millis();
        let verdict = verdict(event);
        let key = self.hasher.hash_one((event.question(), verdict, u16::from(event.rcode)));
        let refused = is_refused(verdict);
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = asked.gathered.get_mut(&key) {
            found.first = if found.more == 0 { now } else { found.first };
            (found.more, found.last) = (found.more + 1, now);
        } else if asked.gathered.len() >= MOST || (refused && asked.refused >= MOST_REFUSED) {
            asked.lost += 1;
        } else {
            asked.refused += usize::from(refused);
            let record = Box::new(record(event, verdict, Timestamp::from_millis(now)));
            asked.gathered.insert(key, Gathered { record, more: 0, first: now, last: now, told: false, ends: now + WINDOW_MS });
        }
    }

    /// Tells what is new, and what was gathered in windows that have ended.
    pub fn due(&self, now: Timestamp, mut tell: impl FnMut(Record)) {
        let now = now.millis();
        let mut told = Vec::new();
        let lost = {
            let mut guard = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
            let asked = &mut *guard;
            asked.gathered.retain(|_, found| {
                if !found.told {
                    found.told = true;
                    told.push((*found.record).clone());
                }
                if found.ends > now {
                    return true;
                }
                if found.more == 0 {
                    asked.refused -= usize::from(is_refused(found.record.verdict));
                    return false;
                }
                let (first, last) = (Timestamp::from_millis(found.first), Timestamp::from_millis(found.last));
                told.push(DnsRecord { count: found.more, first, last, ..(*found.record).clone() });
                (found.more, found.ends) = (0, now + WINDOW_MS);
                true
            });
            if asked.gathered.capacity() > 256 && asked.gathered.len() < asked.gathered.capacity() / 8 {
                asked.gathered.shrink_to_fit();
            }
            std::mem::take(&mut asked.lost)
        };
        told.sort_by_key(|record| record.first);
        told.into_iter().for_each(|record| tell(Record::Dns(record)));
        if lost > 0 {
            tell(Record::Lost(LostRecord { what: LostWhat::Questions, why: LostWhy::QueueFull, count: lost }));
        }
    }
}

/// The resolver's observer: the log for people, and the log of questions.
#[derive(Debug)]
pub struct Listener {
    log: RefusalLog,
    questions: Option<Arc<Questions>>,
}

impl Listener {
    /// Writes to both; to the first alone where nobody takes what is gathered.
    pub fn new(log: RefusalLog, questions: Option<Arc<Questions>>) -> Self {
        Listener { log, questions }
    }
}

impl Observer for Listener {
    fn told(&self, event: &Event<'_>) {
        self.log.told(event);
        // The self-test's own question is no app's.
        if let Some(questions) = &self.questions
            && !event.question().starts_with(selftest::WIRE_NAME)
        {
            questions.note(event);
        }
    }
}

fn is_refused(verdict: DnsVerdict) -> bool {
    matches!(verdict, DnsVerdict::Refused | DnsVerdict::WouldDeny)
}

fn verdict(event: &Event<'_>) -> DnsVerdict {
    let audited = |grant: &Grant| if grant.would_deny().is_some() { DnsVerdict::WouldDeny } else { DnsVerdict::Permitted };
    match event.outcome {
        Outcome::Released(grant) | Outcome::Plain(grant) => audited(grant),
        // What is told again was judged before, under the same policy.
        Outcome::Again if event.policy.mode() == Mode::Audit => match event.policy.judge(&event.name()) {
            Verdict::Granted(_) => DnsVerdict::Permitted,
            Verdict::Refused(_) => DnsVerdict::WouldDeny,
        },
        Outcome::Refused(_) => DnsVerdict::Refused,
        Outcome::NoUpstream(_) | Outcome::Unusable(..) | Outcome::GateFailed(..) => DnsVerdict::Failed,
        _ => DnsVerdict::Permitted,
    }
}

fn record(event: &Event<'_>, verdict: DnsVerdict, at: Timestamp) -> DnsRecord {
    let name = event.name();
    let (reason, place) = match event.outcome {
        Outcome::Refused(refusal) => refused(refusal),
        Outcome::Released(grant) | Outcome::Plain(grant) if grant.would_deny().is_some() => {
            grant.would_deny().map(refused).unwrap_or_default()
        }
        Outcome::Released(grant) | Outcome::Plain(grant) => (None, rule_of(event.policy, grant)),
        Outcome::NoUpstream(grant) => (Some("no-upstream".to_owned()), rule_of(event.policy, grant)),
        Outcome::Unusable(grant, why) => (Some(chain(why)), rule_of(event.policy, grant)),
        Outcome::GateFailed(grant, why) => (Some(chain(why)), rule_of(event.policy, grant)),
        _ => match event.policy.judge(&name) {
            Verdict::Granted(grant) => (None, rule_of(event.policy, &grant)),
            Verdict::Refused(refusal) => refused(&refusal),
        },
    };
    let (rule, policy) = place.unzip();
    let upstream = match event.source {
        Source::Upstream(address) => Some(address.to_string()),
        _ => None,
    };
    DnsRecord {
        name: name.to_string(),
        rtype: event.rtype().to_string(),
        verdict,
        reason,
        rcode: rcode(event.rcode.into()),
        rule,
        policy,
        chain: event.chain().iter().map(ToString::to_string).collect(),
        addresses: event.addresses().collect(),
        ttl: event.ttl,
        source: match event.source {
            Source::Upstream(_) => "upstream",
            Source::Cache => "cache",
            Source::Stale => "stale",
            _ => "here",
        }
        .to_owned(),
        upstream,
        duration_us: u64::try_from(event.duration().as_micros()).unwrap_or(u64::MAX),
        transport: if event.transport == Transport::Udp { "udp" } else { "tcp" }.to_owned(),
        count: 1,
        first: at,
        last: at,
    }
}

/// Why a name is refused, and by which rule.
fn refused(refusal: &Refusal) -> (Option<String>, Option<(String, String)>) {
    let place = refusal.place().map(|place| (place.rule().to_owned(), place.policy().to_owned()));
    (Some(cause::reason(refusal.reason()).to_owned()), place)
}

/// The first rule that grants, and its policy.
fn rule_of(policy: &Policy, grant: &Grant) -> Option<(String, String)> {
    let opening = grant.openings().first().and_then(|index| policy.opening(*index))?;
    Some((opening.rule.to_string(), opening.policy.to_string()))
}

/// The response code by its mnemonic (RFC 6895 §2.3).
fn rcode(number: u16) -> String {
    match number {
        0 => "NOERROR".to_owned(),
        1 => "FORMERR".to_owned(),
        2 => "SERVFAIL".to_owned(),
        3 => "NXDOMAIN".to_owned(),
        4 => "NOTIMP".to_owned(),
        5 => "REFUSED".to_owned(),
        other => format!("RCODE{other}"),
    }
}
