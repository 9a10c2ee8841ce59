//! Which address is open for which names and until when: the sidecar's account of the lease sets, written when the kernel has
//! acknowledged and never before.

pub mod element;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use policies::Name;

pub use self::element::Element;

/// After its end the kernel may keep an element for up to a second before it sweeps it; till then it takes room.
const SWEEP: Duration = Duration::from_secs(1);

/// One element of one lease set: the opening's key and the address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// The key of the opening.
    pub key: Arc<str>,
    /// The address.
    pub address: IpAddr,
}

/// All leases of the pod. Bounded by the sizes of the sets: what the kernel did not take is not written here.
#[derive(Debug, Clone, Default)]
pub struct AddressBook {
    elements: HashMap<Place, Element>,
}

/// What the kernel must be told so that a lease is as long as wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// Nothing: the address is open long enough, until then.
    Nothing(Instant),
    /// A new element.
    Add,
    /// The element stands and must be started anew, or is to be given the further name.
    Refresh,
}

impl AddressBook {
    /// What it takes to keep `place` open for `name` until `until`.
    pub fn need(&self, place: &Place, name: &Name, until: Instant, now: Instant) -> Need {
        match self.elements.get(place) {
            Some(element) if element.until() >= until && element.has(name, now) => Need::Nothing(element.until()),
            // The kernel may not have swept an element that just ended.
            Some(element) if element.until() + SWEEP > now => Need::Refresh,
            _ => Need::Add,
        }
    }

    /// When the lease of `place` ends, whoever it is for.
    pub fn until(&self, place: &Place) -> Option<Instant> {
        self.elements.get(place).map(Element::until)
    }

    /// The names to write into the kernel with a lease of `place` for `name`: the new one first.
    pub fn label(&self, place: &Place, name: &Name, now: Instant) -> String {
        element::label(name, self.elements.get(place), now)
    }

    /// Writes down what the kernel acknowledged.
    pub fn record(&mut self, place: Place, name: Name, until: Instant) {
        self.elements.entry(place).or_default().add(name, until);
    }

    /// Forgets what ended long enough ago that the kernel has forgotten it too.
    pub fn sweep(&mut self, now: Instant) {
        self.elements.retain(|_, element| element.until() + SWEEP > now);
    }

    /// How many elements are written down, those about to be swept included.
    pub fn elements(&self) -> usize {
        self.elements.len()
    }

    /// The leases that are live.
    pub fn live(&self, now: Instant) -> impl Iterator<Item = (&Place, &Element)> {
        self.elements.iter().filter(move |(_, element)| element.until() > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(last: u8) -> Place {
        Place { key: Arc::from("web"), address: IpAddr::from([198, 51, 100, last]) }
    }

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    #[test]
    fn a_longer_lease_is_never_cut_short_by_a_shorter_answer() {
        let (now, mut book) = (Instant::now(), AddressBook::default());
        let (hour, minute) = (now + Duration::from_secs(3600), now + Duration::from_secs(60));
        assert_eq!(book.need(&place(1), &name("a.example"), hour, now), Need::Add);
        book.record(place(1), name("a.example"), hour);
        assert_eq!(book.need(&place(1), &name("a.example"), minute, now), Need::Nothing(hour));
        book.record(place(1), name("a.example"), minute);
        assert_eq!(book.until(&place(1)), Some(hour));
    }

    #[test]
    fn a_lease_near_its_end_is_started_anew() {
        let (now, mut book) = (Instant::now(), AddressBook::default());
        book.record(place(1), name("a.example"), now + Duration::from_secs(10));
        let later = now + Duration::from_secs(60);
        assert_eq!(book.need(&place(1), &name("a.example"), later, now), Need::Refresh);
        // Ended, and perhaps not swept yet.
        assert_eq!(book.need(&place(1), &name("a.example"), later, now + Duration::from_millis(10_500)), Need::Refresh);
        assert_eq!(book.need(&place(1), &name("a.example"), later, now + Duration::from_secs(12)), Need::Add);
    }

    #[test]
    fn a_second_name_is_written_down_even_when_the_lease_is_long_enough() {
        let (now, mut book) = (Instant::now(), AddressBook::default());
        let hour = now + Duration::from_secs(3600);
        book.record(place(1), name("a.example"), hour);
        assert_eq!(book.need(&place(1), &name("b.example"), now + Duration::from_secs(5), now), Need::Refresh);
        assert_eq!(book.label(&place(1), &name("b.example"), now), "b.example a.example");
    }

    #[test]
    fn a_name_whose_own_lease_has_ended_is_written_down_anew() {
        let (now, mut book) = (Instant::now(), AddressBook::default());
        let (second, hour) = (now + Duration::from_secs(1), now + Duration::from_secs(3600));
        book.record(place(1), name("a.example"), second);
        book.record(place(1), name("b.example"), hour);
        let later = now + Duration::from_secs(2);
        assert_eq!(book.need(&place(1), &name("b.example"), later + Duration::from_secs(1), later), Need::Nothing(hour));
        assert_eq!(book.need(&place(1), &name("a.example"), later + Duration::from_secs(1), later), Need::Refresh);
    }

    #[test]
    fn what_ended_is_swept() {
        let (now, mut book) = (Instant::now(), AddressBook::default());
        book.record(place(1), name("a.example"), now + Duration::from_secs(1));
        book.sweep(now + Duration::from_secs(3));
        assert_eq!(book.live(now).count(), 0);
    }
}
