//! Leases that ended minutes ago: a connection that is refused now was perhaps permitted then, and its app never asked again.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use policies::Name;

use crate::addressbook::{Element, Tick};

/// For how long an ended lease is remembered.
pub const MEMORY_SECONDS: u32 = 300;
/// The most addresses that are remembered; the oldest gives way. About 120 octets each.
const MOST_PAST: usize = 4096;
/// The most names that are remembered of an address: those whose leases ended last.
const MOST_NAMES: usize = 4;

/// What an address was leased for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// The names, the one whose lease ended last first.
    pub names: Vec<Name>,
    /// When the last lease ended.
    pub end: Tick,
    /// Whether a look-up has been asked for since.
    pub looked_up: bool,
}

/// The memory.
#[derive(Debug, Default)]
pub struct PastLeases {
    by_address: HashMap<IpAddr, Past>,
    /// In the order in which they were noted; a later note of the same address makes an older one void.
    order: VecDeque<(Tick, IpAddr)>,
}

impl PastLeases {
    /// Notes that an element has ended. To note the same end again changes nothing.
    pub fn remember(&mut self, element: &Element) {
        let (address, end) = (element.address(), element.until());
        let mut ended: Vec<_> = element.names().collect();
        ended.sort_by_key(|named| std::cmp::Reverse(named.term.end));
        let names = ended.into_iter().map(|named| named.name.clone());
        match self.by_address.get_mut(&address) {
            // Another opening of the same address.
            Some(past) if past.end >= end => {
                let new: Vec<Name> = names.filter(|name| !past.names.contains(name)).collect();
                past.names.extend(new);
                past.names.truncate(MOST_NAMES);
                return;
            }
            Some(past) => {
                let mut all: Vec<Name> = names.collect();
                all.extend(past.names.drain(..).filter(|name| element.of(name).is_none()));
                all.truncate(MOST_NAMES);
                *past = Past { names: all, end, looked_up: false };
            }
            None => {
                self.by_address.insert(address, Past { names: names.take(MOST_NAMES).collect(), end, looked_up: false });
            }
        }
        self.order.push_back((end, address));
        while self.order.len() > MOST_PAST {
            self.forget_first();
        }
    }

    /// What ended at this address less than five minutes ago.
    pub fn of(&self, address: IpAddr, now: Tick) -> Option<&Past> {
        self.by_address.get(&address).filter(|past| past.end.plus_seconds(MEMORY_SECONDS) > now)
    }

    /// A look-up has been asked for: none more until the next lease has ended.
    pub fn note_look_up(&mut self, address: IpAddr) {
        if let Some(past) = self.by_address.get_mut(&address) {
            past.looked_up = true;
        }
    }

    /// Forgets what is too old.
    pub fn sweep(&mut self, now: Tick) {
        while self.order.front().is_some_and(|(end, _)| end.plus_seconds(MEMORY_SECONDS) <= now) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        let Some((end, address)) = self.order.pop_front() else { return };
        if self.by_address.get(&address).is_some_and(|past| past.end == end) {
            self.by_address.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addressbook::{Place, Term};

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn address(n: u32) -> IpAddr {
        IpAddr::from((0xc612_0000 + n).to_be_bytes())
    }

    fn element(n: u32, of: &str, end: u32) -> Element {
        let term = Term { end: Tick::ZERO.plus_seconds(end), span: 10 };
        Element::new(Place { opening: 0, address: address(n) }, &name(of), term)
    }

    fn at(seconds: u32) -> Tick {
        Tick::ZERO.plus_seconds(seconds)
    }

    #[test]
    fn an_end_is_remembered_for_five_minutes() {
        let mut past = PastLeases::default();
        past.remember(&element(1, "a.example", 10));
        assert_eq!(past.of(address(1), at(309)).unwrap().names, [name("a.example")]);
        assert_eq!(past.of(address(1), at(310)), None);
        assert_eq!(past.of(address(2), at(11)), None);
        past.sweep(at(310));
        assert!(past.by_address.is_empty() && past.order.is_empty());
    }

    #[test]
    fn one_look_up_for_each_end() {
        let mut past = PastLeases::default();
        past.remember(&element(1, "a.example", 10));
        past.note_look_up(address(1));
        // The same end, noted once more when the book is swept.
        past.remember(&element(1, "a.example", 10));
        assert!(past.of(address(1), at(11)).unwrap().looked_up);
        past.remember(&element(1, "b.example", 50));
        let found = past.of(address(1), at(51)).unwrap();
        assert_eq!((found.looked_up, &found.names[..]), (false, &[name("b.example"), name("a.example")][..]));
        // The older note of the address does not take the newer one away.
        past.sweep(at(311));
        assert!(past.of(address(1), at(311)).is_some());
    }

    #[test]
    fn addresses_and_names_are_bounded() {
        let mut past = PastLeases::default();
        for n in 0..=u32::try_from(MOST_PAST).unwrap() {
            past.remember(&element(n, "a.example", 10));
        }
        assert_eq!((past.by_address.len(), past.order.len()), (MOST_PAST, MOST_PAST));
        assert!(past.of(address(0), at(11)).is_none());
        let mut many = element(1, "n0.example", 20);
        for n in 1..10 {
            many.add(&name(&format!("n{n}.example")), Term { end: at(20 + n), span: 10 });
        }
        past.remember(&many);
        assert_eq!(past.of(address(1), at(30)).unwrap().names.len(), MOST_NAMES);
        assert_eq!(past.of(address(1), at(30)).unwrap().names[0], name("n9.example"));
    }
}
