//! Which names are asked again because their addresses are in use, and which addresses are kept though they left their name's answer.
//!
//! Pure reckoning on a clock that is given: what is in use is read, asked and committed by the fence.

mod bucket;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use policies::Name;

use self::bucket::Bucket;
use crate::addressbook::{AddressBook, Element, Named, Place, Tick};

/// How often the kernel is asked what is in use, in seconds: its memory of a packet is 90 s.
const SCAN_SECONDS: u32 = 5;
/// A name is asked again when a quarter of its lease is left, or this many seconds if that is more: two tries of a resolver, with their
/// time-outs, and the back-off between them fit in.
const SOON_SECONDS: u32 = 30;
/// The first pause after a question that brought nothing, in seconds; each further one is twice as long, up to [`MOST_PAUSE_SECONDS`].
const PAUSE_SECONDS: u32 = 5;
/// The longest pause between two questions for a name in use.
const MOST_PAUSE_SECONDS: u32 = 60;
/// By how much a lease is extended whose address left the answer: longer than the kernel's memory of a packet, so that a flow which
/// lives is seen before the end.
const STEP_SECONDS: u32 = 120;
/// For how long at the most an address is kept that left its name's answer: as long as the longest lease that a TTL is given.
const KEPT_SECONDS: u32 = 3600;
/// The most names of one address that are renewed: those whose leases end last. A content network's address may have many more.
const MOST_NAMES: usize = 4;
/// The most questions that wait for their turn, the most names that are remembered as asked, and the most addresses kept.
const MOST_WAITING: usize = 1024;
const MOST_ASKED: usize = 4096;
const MOST_KEPT: usize = 4096;

/// A question to ask upstream, past the cache.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ask {
    /// For which name.
    pub name: Name,
    /// Its AAAA records; else its A records.
    pub ipv6: bool,
}

/// A lease to extend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keep {
    /// Which address.
    pub place: Place,
    /// For which name.
    pub name: Name,
    /// Until when.
    pub until: Tick,
}

/// When a question may be asked again.
#[derive(Debug, Clone, Copy)]
struct Asked {
    next: Tick,
    pause: u32,
}

/// The reckoning.
#[derive(Debug, Default)]
pub struct Renewals {
    hasher: RandomState,
    scanned: Option<Tick>,
    /// The places in use, by the names they are leased for, as of the last scan.
    in_use: HashMap<Name, Vec<Place>>,
    /// Whose turn it is, the lease that ends first in front.
    due: VecDeque<Ask>,
    asked: HashMap<Ask, Asked>,
    /// Addresses in use that the name's last answer did not have, and since when.
    left: HashMap<(Name, IpAddr), Tick>,
    bucket: Bucket,
}

impl Renewals {
    /// Whether it is time to ask the kernel what is in use.
    pub fn wants_scan(&self, now: Tick) -> bool {
        self.scanned.is_none_or(|scanned| now >= scanned.plus_seconds(SCAN_SECONDS))
    }

    /// The openings of which it must be known what is in use: those with a lease that ends soon. The others cost the kernel no dump.
    pub fn to_scan(&self, book: &AddressBook, now: Tick) -> BTreeSet<u32> {
        // A name becomes due between two scans too.
        let ahead = now.plus_seconds(SCAN_SECONDS);
        let soon = |element: &&Element| element.names().any(|named| named.term.end > now && self.is_soon(named, ahead));
        book.live(now).filter(soon).map(|element| element.place().opening).collect()
    }

    /// Takes in what is in use, and finds the names whose leases end soon.
    pub fn scan(&mut self, book: &AddressBook, used: impl Iterator<Item = Place>, now: Tick) {
        self.scanned = Some(now);
        self.in_use.clear();
        self.asked.retain(|_, asked| asked.next.plus_seconds(MOST_PAUSE_SECONDS) > now);
        let mut due: Vec<(Tick, Ask)> = Vec::new();
        for place in used {
            let Some(element) = book.find(place) else { continue };
            let mut names: Vec<&Named> = element.names().filter(|named| named.term.end > now).collect();
            names.sort_by_key(|named| std::cmp::Reverse(named.term.end));
            for named in names.into_iter().take(MOST_NAMES) {
                self.in_use.entry(named.name.clone()).or_default().push(place);
                if self.is_soon(named, now) {
                    due.push((named.term.end, Ask { name: named.name.clone(), ipv6: place.address.is_ipv6() }));
                }
            }
        }
        due.sort_by_key(|(end, _)| *end);
        self.due.clear();
        let mut taken = HashSet::new();
        for (_, ask) in due {
            let pausing = self.asked.get(&ask).is_some_and(|asked| asked.next > now);
            if !pausing && self.due.len() < MOST_WAITING && taken.insert(ask.clone()) {
                self.due.push_back(ask);
            }
        }
        // An address that is not in use any more, but whose lease has time left, is not forgotten: it could come into use again, and
        // its hour would begin anew.
        self.left.retain(|(name, address), since| {
            since.plus_seconds(KEPT_SECONDS) > now
                || book.of_address(*address).any(|element| element.of(name).is_some_and(|term| term.end > now))
        });
    }

    /// The questions to ask now: never more than ten a second.
    pub fn asks(&mut self, now: Tick) -> Vec<Ask> {
        let mut asks = Vec::new();
        while let Some(ask) = self.due.front() {
            if self.asked.len() >= MOST_ASKED && !self.asked.contains_key(ask) || !self.bucket.take(now) {
                break;
            }
            let Some(ask) = self.due.pop_front() else { break };
            let pause = self.asked.get(&ask).map_or(PAUSE_SECONDS, |asked| (asked.pause * 2).min(MOST_PAUSE_SECONDS));
            self.asked.insert(ask.clone(), Asked { next: now.plus_seconds(pause), pause });
            asks.push(ask);
        }
        asks
    }

    /// Whether a question that is no renewal (the lease has ended already) may be asked now: it counts against the same ten a second.
    pub fn may_ask(&mut self, now: Tick) -> bool {
        self.bucket.take(now)
    }

    /// The questions that wait for their turn.
    pub fn waiting(&self) -> usize {
        self.due.len()
    }

    /// Takes in an answer for `name`, to whomever: which of its addresses in use it still has.
    pub fn answered(&mut self, name: &Name, ipv6: bool, addresses: &[IpAddr], now: Tick) {
        // Most answers are for names that are not in use yet; and this is on the way of each.
        let Some(places) = self.in_use.get(name) else { return };
        let mut someone_left = false;
        for address in places.iter().map(|place| place.address).filter(|address| address.is_ipv6() == ipv6) {
            if addresses.contains(&address) {
                self.left.remove(&(name.clone(), address));
            } else {
                someone_left = true;
                if self.left.len() < MOST_KEPT {
                    self.left.entry((name.clone(), address)).or_insert(now);
                }
            }
        }
        let ask = Ask { name: name.clone(), ipv6 };
        if someone_left {
            // The lease of what left goes on towards its end, so the name is still due: it has been asked all the same.
            self.asked.insert(ask, Asked { next: now.plus_seconds(MOST_PAUSE_SECONDS), pause: PAUSE_SECONDS });
        } else {
            self.asked.remove(&ask);
        }
    }

    /// The leases to extend now: of addresses in use that left their name's answer less than an hour ago.
    pub fn keep(&self, book: &AddressBook, now: Tick) -> Vec<Keep> {
        let mut keep = Vec::new();
        for ((name, address), since) in &self.left {
            for &place in self.in_use.get(name).into_iter().flatten().filter(|place| place.address == *address) {
                let Some(term) = book.find(place).and_then(|element| element.of(name)).filter(|term| term.end > now) else { continue };
                let until = now.plus_seconds(STEP_SECONDS).min(since.plus_seconds(KEPT_SECONDS));
                if term.end <= now.plus_seconds(SOON_SECONDS) && until > term.end {
                    keep.push(Keep { place, name: name.clone(), until });
                }
            }
        }
        keep
    }

    /// The openings have new indices: what is in use must be read anew.
    pub fn forget_places(&mut self) {
        self.scanned = None;
        self.in_use.clear();
        self.due.clear();
    }

    /// Whether so little is left of the lease that its name is asked again. Names are spread by up to a tenth of their lease: what was
    /// asked together need not be asked together again.
    fn is_soon(&self, named: &Named, now: Tick) -> bool {
        let (span, left) = (named.term.span, named.term.end.since(now));
        // Never at once: a lease may be shorter than all of these.
        let (soon, most) = ((span / 4).max(SOON_SECONDS * 10), span / 4 * 3);
        if left > most.min(soon.saturating_add(span / 10)) {
            // Nearly all of them, nearly always: what follows is for the others.
            return false;
        }
        let spread = u32::try_from(self.hasher.hash_one(&named.name) % u64::from(span / 10).max(1)).unwrap_or(0);
        left <= soon.saturating_add(spread)
    }
}

#[cfg(test)]
mod tests;
