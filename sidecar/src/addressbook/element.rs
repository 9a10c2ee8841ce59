//! The names one open address is leased for, each with its end; the address is open until the last of them.

use std::fmt::Write;
use std::net::IpAddr;

use policies::Name;

use super::clock::Tick;
use super::{Need, Place};

/// The most names that one address remembers: a content network's address may serve thousands. One more takes the place of the
/// one that ends first.
pub const MOST_NAMES: usize = 16;
/// The most bytes of names in the kernel's comment: above it `nft list ruleset` could not show them.
const LABEL_BYTES: usize = 120;
/// After its end the kernel may keep an element for up to a second before it sweeps it; till then it takes room. And a tick, as the
/// end may have been rounded down when it was read back.
const SWEEP: u32 = 11;

/// How long a lease holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    /// When it ends.
    pub end: Tick,
    /// How long it was when it was given, in ticks: what "ends soon" is measured by.
    pub span: u32,
}

/// One name's lease of an address.
#[derive(Debug, Clone)]
pub struct Named {
    /// The name.
    pub name: Name,
    /// How long the address is its.
    pub term: Term,
}

/// One open address under one opening. 56 octets, as there may be tens of thousands; most have one name.
#[derive(Debug, Clone)]
pub struct Element {
    address: IpAddr,
    opening: u32,
    first: Named,
    others: Option<Box<Others>>,
}

/// Further names: behind a pointer, since few addresses have any.
#[derive(Debug, Clone)]
struct Others(Vec<Named>);

impl Element {
    /// An address opened for its first name.
    pub fn new(place: Place, name: &Name, term: Term) -> Self {
        Element { address: place.address, opening: place.opening, first: Named { name: name.clone(), term }, others: None }
    }

    /// Where it is.
    pub fn place(&self) -> Place {
        Place { opening: self.opening, address: self.address }
    }

    /// The address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// When the address closes.
    pub fn until(&self) -> Tick {
        // What was forgotten for a new name ended before all that are remembered.
        self.names().map(|named| named.term.end).fold(Tick::default(), Tick::max)
    }

    /// The names, each with its own lease.
    pub fn names(&self) -> impl Iterator<Item = &Named> {
        std::iter::once(&self.first).chain(self.others.iter().flat_map(|others| &others.0))
    }

    /// The name's lease, ended or not.
    pub fn of(&self, name: &Name) -> Option<Term> {
        self.names().find(|named| named.name == *name).map(|named| named.term)
    }

    /// Whether the kernel may have the element still: it may not have swept one that just ended.
    pub fn may_stand(&self, now: Tick) -> bool {
        self.until().plus(SWEEP) > now
    }

    /// What it takes to keep the address open for `name` until `end`.
    pub fn need(&self, name: &Name, end: Tick, now: Tick) -> Need {
        let until = self.until();
        if until >= end && self.of(name).is_some_and(|term| term.end > now) {
            Need::Nothing(until)
        } else if self.may_stand(now) {
            Need::Refresh
        } else {
            Need::Add
        }
    }

    /// The name whose lease ends last.
    pub fn last(&self) -> &Named {
        self.names().fold(&self.first, |last, named| if named.term.end > last.term.end { named } else { last })
    }

    /// Notes a lease for `name`; a longer one that it has stays.
    pub fn add(&mut self, name: &Name, term: Term) {
        if let Some(known) = self.names_mut().find(|named| named.name == *name) {
            if term.end > known.term.end {
                known.term = term;
            }
            return;
        }
        let new = Named { name: name.clone(), term };
        let count = 1 + self.others.as_ref().map_or(0, |others| others.0.len());
        if count < MOST_NAMES {
            self.others.get_or_insert_with(|| Box::new(Others(Vec::with_capacity(1)))).0.push(new);
        } else if let Some(first_to_end) = self.names_mut().min_by_key(|named| named.term.end) {
            *first_to_end = new;
        }
    }

    fn names_mut(&mut self) -> impl Iterator<Item = &mut Named> {
        std::iter::once(&mut self.first).chain(self.others.iter_mut().flat_map(|others| &mut others.0))
    }
}

/// Writes `name` behind what `label` has, then the other names of the element that still hold, as many as fit: what the kernel keeps
/// for a restarted sidecar and for who reads `nft list ruleset`.
pub fn write_label(label: &mut String, name: &Name, element: Option<&Element>, now: Tick) {
    let start = label.len();
    // Writing to a String cannot fail.
    let _ = write!(label, "{name}");
    let Some(element) = element else { return };
    for other in element.names().filter(|other| other.name != *name && other.term.end > now) {
        let before = label.len();
        let _ = write!(label, " {}", other.name);
        if label.len() - start > LABEL_BYTES {
            label.truncate(before);
        }
    }
}

/// Adds one more name to what [`write_label`] wrote into an empty label, if it is not there and there is room.
pub fn add_to_label(label: &mut String, name: &Name) {
    let text = name.to_string();
    if label.len() + 1 + text.len() <= LABEL_BYTES && !label.split(' ').any(|there| there == text) {
        label.push(' ');
        label.push_str(&text);
    }
}

/// The names in a label that the kernel gave back.
pub fn names(label: &str) -> impl Iterator<Item = Name> {
    label.split(' ').filter_map(|text| Name::parse(text).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn term(seconds: u32) -> Term {
        Term { end: Tick::default().plus_seconds(seconds), span: seconds * 10 }
    }

    fn element(first: &str, seconds: u32) -> Element {
        Element::new(Place { opening: 0, address: IpAddr::from([198, 51, 100, 1]) }, &name(first), term(seconds))
    }

    fn label(of: &str, element: &Element) -> String {
        let mut label = String::new();
        write_label(&mut label, &name(of), Some(element), Tick::default());
        label
    }

    #[test]
    fn an_element_is_small() {
        assert_eq!(size_of::<Element>(), 56);
    }

    #[test]
    fn names_are_bounded_and_the_one_that_ends_first_goes() {
        let mut element = element("n0.example", 100);
        for n in 1..=MOST_NAMES {
            element.add(&name(&format!("n{n}.example")), term(100 + u32::try_from(n).unwrap()));
        }
        assert_eq!(element.names().count(), MOST_NAMES);
        assert!(element.of(&name("n0.example")).is_none());
        assert_eq!(element.until(), Tick::default().plus_seconds(116));
        assert_eq!(element.last().name, name("n16.example"));
    }

    #[test]
    fn a_label_is_read_back_as_it_was_written() {
        let element = element("a.example", 9);
        assert_eq!(names(&label("b.example", &element)).collect::<Vec<_>>(), [name("b.example"), name("a.example")]);
    }

    #[test]
    fn a_label_does_not_outgrow_the_comment() {
        let long = "x".repeat(40);
        let mut element = element(&format!("0.{long}.example"), 9);
        for n in 1..MOST_NAMES {
            element.add(&name(&format!("{n}.{long}.example")), term(9));
        }
        // Three fit beside it, whatever stands in the buffer before.
        let mut buffer = "y".repeat(200);
        write_label(&mut buffer, &name("new.example"), Some(&element), Tick::default());
        assert_eq!(names(buffer.trim_start_matches('y')).count(), 3);
        assert!(buffer.len() - 200 <= LABEL_BYTES);
    }
}
