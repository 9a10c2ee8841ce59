//! In audit, names that the policy refuses are answered: which address was told for which of them, so that a flow can be told by name.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use policies::Name;

use crate::addressbook::Tick;

/// The most names of addresses, each told once for each of its addresses; the oldest gives way. About 150 octets each.
const MOST: usize = 4096;
/// The most names of one address: content networks have many, and one flow tells them all.
const MOST_NAMES: usize = 16;
/// How long beyond its TTL an address is known by the name: clients keep what they resolved.
const GRACE_SECONDS: u32 = 300;

/// The addresses that were told for refused names.
#[derive(Debug, Default)]
pub struct Audited {
    /// The one that was told last stands last.
    by_address: HashMap<IpAddr, Vec<Refused>>,
    /// One entry for each name of each address.
    order: VecDeque<IpAddr>,
}

#[derive(Debug)]
struct Refused {
    name: Name,
    reason: &'static str,
    end: Tick,
}

impl Audited {
    /// Notes that `address` was told for `name`, refused for `reason`, for a time.
    pub fn note(&mut self, address: IpAddr, name: &Name, reason: &'static str, end: Tick) {
        let names = self.by_address.entry(address).or_default();
        let known = names.iter().position(|refused| refused.name == *name);
        match known {
            Some(place) => drop(names.remove(place)),
            // Its first name gives way, and the entry in the order stands for the new one.
            None if names.len() >= MOST_NAMES => drop(names.remove(0)),
            None => self.order.push_back(address),
        }
        names.push(Refused { name: name.clone(), reason, end });
        while self.order.len() > MOST {
            let Some(oldest) = self.order.pop_front() else { break };
            let Some(names) = self.by_address.get_mut(&oldest) else { continue };
            names.remove(0);
            if names.is_empty() {
                self.by_address.remove(&oldest);
            }
        }
    }

    /// The names that the address was told for, and why each is refused; the one that was told last comes first.
    pub fn of(&self, address: IpAddr, now: Tick) -> impl Iterator<Item = (String, String)> {
        let names = self.by_address.get(&address).into_iter().flatten().rev();
        let lives = move |refused: &&Refused| refused.end.plus_seconds(GRACE_SECONDS) > now;
        names.filter(lives).map(|refused| (refused.name.to_string(), refused.reason.to_owned()))
    }

    /// Forgets all: the pod is held again.
    pub fn clear(&mut self) {
        self.by_address.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_names_of_an_address_are_known_and_their_number_is_bounded() {
        let (mut audited, now) = (Audited::default(), Tick::default());
        let name = |n: usize| Name::parse(&format!("n{n}.example.org")).unwrap();
        let end = now.plus_seconds(60);
        let of = |audited: &Audited, address: [u8; 4]| audited.of(address.into(), now).map(|(name, _)| name).collect::<Vec<_>>();
        for n in [1, 2, 1] {
            audited.note([198, 51, 100, 7].into(), &name(n), "not-permitted", end);
        }
        assert_eq!(of(&audited, [198, 51, 100, 7]), ["n1.example.org", "n2.example.org"]);
        for n in 0..100 {
            audited.note([198, 51, 100, 8].into(), &name(n), "not-permitted", end);
        }
        assert_eq!(of(&audited, [198, 51, 100, 8]).len(), MOST_NAMES);
        assert_eq!(audited.of([198, 51, 100, 8].into(), end.plus_seconds(GRACE_SECONDS)).count(), 0, "they end");
        for n in 0..2 * MOST {
            let address = u32::try_from(n).unwrap().to_be_bytes();
            audited.note(address.into(), &name(n), "not-permitted", end);
        }
        assert_eq!((audited.order.len(), audited.by_address.len()), (MOST, MOST));
        assert_eq!(audited.by_address.values().map(Vec::len).sum::<usize>(), MOST);
    }
}
