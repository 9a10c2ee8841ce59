//! The names one open address is leased for, each with its end; the address is open until the last of them.

use std::time::Instant;

use policies::Name;

/// The most names that one address remembers: a content network's address may serve thousands. One more takes the place of the
/// one that ends first.
pub const MOST_NAMES: usize = 16;
/// The most bytes of names in the kernel's comment: above it `nft list ruleset` could not show them.
const LABEL_BYTES: usize = 120;

/// One open address.
#[derive(Debug, Clone, Default)]
pub struct Element {
    names: Vec<(Name, Instant)>,
    until: Option<Instant>,
}

impl Element {
    /// When the address closes.
    pub fn until(&self) -> Instant {
        // Only `Default` has none, and `add` follows it at once.
        self.until.unwrap_or_else(Instant::now)
    }

    /// The names, each with the end of its own lease.
    pub fn names(&self) -> &[(Name, Instant)] {
        &self.names
    }

    /// Whether the address is leased for `name` too, by a lease that has not ended.
    pub fn has(&self, name: &Name, now: Instant) -> bool {
        self.names.iter().any(|(known, end)| known == name && *end > now)
    }

    /// The names to write into the kernel, the one that ends last first.
    pub fn label(&self, now: Instant) -> String {
        match self.names.iter().max_by_key(|(_, end)| *end) {
            Some((name, _)) => label(name, Some(self), now),
            None => String::new(),
        }
    }

    /// Notes a lease for `name` until `until`; a longer one that it has stays.
    pub fn add(&mut self, name: Name, until: Instant) {
        self.until = Some(self.until.map_or(until, |before| before.max(until)));
        if let Some((_, end)) = self.names.iter_mut().find(|(known, _)| *known == name) {
            *end = until.max(*end);
            return;
        }
        if self.names.len() >= MOST_NAMES
            && let Some(first) = self.names.iter().enumerate().min_by_key(|(_, (_, end))| *end).map(|(index, _)| index)
        {
            self.names.swap_remove(first);
        }
        self.names.push((name, until));
    }
}

/// `name`, then the other names of the element that still hold, as many as fit: what the kernel keeps for a restarted sidecar and
/// for who reads `nft list ruleset`.
pub fn label(name: &Name, element: Option<&Element>, now: Instant) -> String {
    let mut label = name.to_string();
    for (other, end) in element.map_or(&[][..], Element::names) {
        let other_text = other.to_string();
        if other != name && *end > now && label.len() + 1 + other_text.len() <= LABEL_BYTES {
            label.push(' ');
            label.push_str(&other_text);
        }
    }
    label
}

/// The names in a label that the kernel gave back.
pub fn names(label: &str) -> impl Iterator<Item = Name> {
    label.split(' ').filter_map(|text| Name::parse(text).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn names_are_bounded_and_the_one_that_ends_first_goes() {
        let now = Instant::now();
        let mut element = Element::default();
        for n in 0..=MOST_NAMES {
            element.add(Name::parse(&format!("n{n}.example")).unwrap(), now + Duration::from_secs(100 + n as u64));
        }
        assert_eq!(element.names().len(), MOST_NAMES);
        assert!(!element.has(&Name::parse("n0.example").unwrap(), now));
        assert_eq!(element.until(), now + Duration::from_secs(100 + MOST_NAMES as u64));
    }

    #[test]
    fn a_label_is_read_back_as_it_was_written() {
        let now = Instant::now();
        let mut element = Element::default();
        let (a, b) = (Name::parse("a.example").unwrap(), Name::parse("b.example").unwrap());
        element.add(a.clone(), now + Duration::from_secs(9));
        let label = label(&b, Some(&element), now);
        assert_eq!(names(&label).collect::<Vec<_>>(), [b, a]);
    }

    #[test]
    fn a_label_does_not_outgrow_the_comment() {
        let now = Instant::now();
        let mut element = Element::default();
        for n in 0..MOST_NAMES {
            element.add(Name::parse(&format!("{n}.{}.example", "x".repeat(40))).unwrap(), now + Duration::from_secs(9));
        }
        assert!(label(&Name::parse("new.example").unwrap(), Some(&element), now).len() <= LABEL_BYTES);
    }
}
