//! Which address is open for which names and until when: the sidecar's account of the lease sets, written when the kernel has
//! acknowledged and never before.
//!
//! Tens of thousands of leases must cost a pod little, and an answer one look-up for each of its leases. So the elements stand side by
//! side in one vector, and an index of four octets a lease finds them by address: that finds the few openings of an address too, which is
//! what a reverse look-up and a refused packet ask for.

pub mod clock;
pub mod element;

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use policies::Name;

pub use self::clock::{Clock, Tick};
pub use self::element::{Element, Named, Term};

/// Elements that one [`AddressBook::sweep`] looks at: a look at all of 32,768 would hold up the answers of that moment.
const SWEEP_STEP: usize = 8192;

/// One element of one lease set: the opening, as its index in the policy in force, and the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// The index of the opening.
    pub opening: u32,
    /// The address.
    pub address: IpAddr,
}

/// What the kernel must be told so that a lease is as long as wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing: the address is open long enough, until then.
    Nothing(Tick),
    /// A new element.
    Add,
    /// The element stands and must be started anew, or is to be given the further name.
    Refresh,
}

/// All leases of the pod. Bounded by the sizes of the sets: what the kernel did not take is not written here.
#[derive(Debug, Clone, Default)]
pub struct AddressBook {
    /// Seeded, and strong: it is upstream that chooses the addresses.
    hasher: RandomState,
    /// Places in `elements`, by the hash of the address.
    index: HashTable<u32>,
    elements: Vec<Element>,
    /// Where the next sweep begins.
    cursor: usize,
}

impl AddressBook {
    /// What is written down for a place.
    pub fn find(&self, place: Place) -> Option<&Element> {
        let slot = self.index.find(self.hasher.hash_one(place.address), |&slot| self.at(slot).is_some_and(|found| found.place() == place));
        slot.and_then(|&slot| self.at(slot))
    }

    /// What is written down for an address, under whatever opening.
    pub fn of_address(&self, address: IpAddr) -> impl Iterator<Item = &Element> {
        let found = self.index.iter_hash(self.hasher.hash_one(address));
        found.filter_map(|&slot| self.at(slot)).filter(move |element| element.address() == address)
    }

    /// Writes down what the kernel acknowledged.
    pub fn record(&mut self, place: Place, name: &Name, term: Term) {
        let AddressBook { hasher, index, elements, .. } = self;
        let same = |&slot: &u32| elements.get(slot as usize).is_some_and(|found| found.place() == place);
        let hash = |&slot: &u32| elements.get(slot as usize).map_or(0, |found| hasher.hash_one(found.address()));
        match index.entry(hasher.hash_one(place.address), same, hash) {
            Entry::Occupied(found) => {
                if let Some(element) = elements.get_mut(*found.get() as usize) {
                    element.add(name, term);
                }
            }
            Entry::Vacant(free) => {
                // The sets hold fewer than 2^32: their sizes are of that type.
                let Ok(slot) = u32::try_from(elements.len()) else { return };
                free.insert(slot);
                elements.push(Element::new(place, name, term));
            }
        }
    }

    /// Forgets what ended long enough ago that the kernel has forgotten it too, and gives it to `ended`. Looks at a part of the book
    /// only; the next call goes on behind it.
    pub fn sweep(&mut self, now: Tick, ended: impl FnMut(Element)) {
        self.sweep_some(SWEEP_STEP, now, ended);
    }

    /// As [`AddressBook::sweep`], the whole book.
    pub fn sweep_all(&mut self, now: Tick, ended: impl FnMut(Element)) {
        self.cursor = 0;
        self.sweep_some(usize::MAX, now, ended);
    }

    fn sweep_some(&mut self, most: usize, now: Tick, mut ended: impl FnMut(Element)) {
        for _ in 0..most.min(self.elements.len()) {
            match self.elements.get(self.cursor) {
                None => self.cursor = 0,
                Some(element) if element.may_stand(now) => self.cursor += 1,
                // Another takes its place, and is looked at next.
                Some(_) => ended(self.remove(self.cursor)),
            }
        }
        if self.elements.capacity() > 64 && self.elements.len() < self.elements.capacity() / 4 {
            let AddressBook { hasher, index, elements, .. } = self;
            elements.shrink_to(elements.len() * 2);
            index.shrink_to(elements.len() * 2, |&slot| elements.get(slot as usize).map_or(0, |found| hasher.hash_one(found.address())));
        }
    }

    /// Takes out the element in `slot`, which must be there; the last one moves into its place.
    fn remove(&mut self, slot: usize) -> Element {
        let last = self.elements.len() - 1;
        let gone = self.elements.swap_remove(slot);
        if let Ok(entry) = self.index.find_entry(self.hasher.hash_one(gone.address()), |&found| found as usize == slot) {
            entry.remove();
        }
        if let Some(moved) = self.elements.get(slot)
            && let Some(found) = self.index.find_mut(self.hasher.hash_one(moved.address()), |&found| found as usize == last)
        {
            *found = u32::try_from(slot).unwrap_or(*found);
        }
        gone
    }

    /// How many elements are written down, those about to be swept included.
    pub fn elements(&self) -> usize {
        self.elements.len()
    }

    /// The leases that are live.
    pub fn live(&self, now: Tick) -> impl Iterator<Item = &Element> {
        self.elements.iter().filter(move |element| element.until() > now)
    }

    /// The leases that have ended and are not swept yet.
    pub fn ended(&self, now: Tick) -> impl Iterator<Item = &Element> {
        self.elements.iter().filter(move |element| element.until() <= now)
    }

    fn at(&self, slot: u32) -> Option<&Element> {
        self.elements.get(slot as usize)
    }
}

#[cfg(test)]
mod tests;
