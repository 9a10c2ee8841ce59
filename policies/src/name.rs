//! A DNS name that is absolute, lower-case and made of labels: two names are compared label by label, never as strings.
use std::{cmp::Ordering, fmt, hash::Hash, sync::Arc};

use serde::{Serialize, Serializer};
use thiserror::Error;

/// The longest label, in octets (RFC 1035 section 2.3.4).
const LABEL_OCTETS: usize = 63;
/// The longest name in its wire form, in octets, without the root's own length octet (RFC 1035 section 2.3.4 counts 255 with it).
pub(crate) const NAME_OCTETS: usize = 254;
/// Text longer than this cannot be a name; said before IDNA does work on it.
const TEXT_BYTES: usize = 2048;

/// An absolute domain name, lower-cased (ASCII), in DNS wire form; cheap to clone.
///
/// Labels may hold any octet when they came from the wire. `Display` writes no trailing dot, the root as `.`, and escapes what is not
/// a plain character as RFC 1035 section 5.1 does (`\.`, `\032`), so that no name can be mistaken for another one or for a terminal
/// sequence.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Name {
    /// Length octet and label, in turn; the root's empty label is left out, so a suffix of the name is a suffix of these octets.
    wire: Arc<[u8]>,
}

/// Why a text or a sequence of labels is no domain name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// Nothing was written.
    #[error("a name is empty")]
    Empty,
    /// Two dots in a row, or a leading one.
    #[error("a label is empty: two dots stand side by side, or one leads")]
    EmptyLabel,
    /// A label is longer than 63 octets.
    #[error("a label has {octets} octets, 63 is the most")]
    LabelTooLong {
        /// Its octets, in the form that goes over the wire.
        octets: usize,
    },
    /// The name is longer than 255 octets.
    #[error("the name is longer than 255 octets")]
    NameTooLong,
    /// A star is a pattern, not a name.
    #[error("a star is no part of a name")]
    Star,
    /// Letters, digits, `-` and `_` are what a written name is made of.
    #[error("{character:?} is no part of a host name")]
    Character {
        /// The first character that is out of place.
        character: char,
    },
    /// The internationalised form does not follow UTS 46.
    #[error("not a valid internationalised name (UTS 46)")]
    Idna,
    /// The octets end inside a label.
    #[error("the octets end inside a label")]
    CutOff,
    /// A capital letter where lower-cased octets are demanded.
    #[error("the name has a capital letter, and must be lower-cased")]
    Capital,
}

impl Name {
    /// The root.
    pub fn root() -> Self {
        Self { wire: Arc::from([]) }
    }

    /// Reads a name as people write it: any case, an optional trailing dot, internationalised or in A-labels.
    ///
    /// # Errors
    /// What is wrong with it first, from left to right.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.len() > TEXT_BYTES {
            return Err(NameError::NameTooLong);
        }
        let ascii = if text.is_ascii() && !has_a_label(text) {
            text.into()
        } else {
            idna::domain_to_ascii_cow(text.as_bytes(), idna::AsciiDenyList::EMPTY).map_err(|_| NameError::Idna)?
        };
        match ascii.as_ref() {
            "" => return Err(NameError::Empty),
            "." => return Ok(Self::root()),
            _ => {}
        }
        let relative = ascii.strip_suffix('.').unwrap_or(&ascii);
        for character in relative.chars() {
            match character {
                '*' => return Err(NameError::Star),
                '.' | '-' | '_' => {}
                _ if character.is_ascii_alphanumeric() => {}
                _ => return Err(NameError::Character { character }),
            }
        }
        Self::from_labels(relative.split('.').map(str::as_bytes))
    }

    /// A name from labels off the wire, leftmost first, without the root's empty label; any octet is taken, ASCII capitals are lowered.
    ///
    /// # Errors
    /// An empty or over-long label, or too many of them.
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, NameError> {
        // Most names are far shorter; the one allocation that stays is the exact one below.
        let mut wire = Vec::with_capacity(64);
        for label in labels {
            let length = match u8::try_from(label.len()) {
                Ok(0) => return Err(NameError::EmptyLabel),
                Ok(length) if label.len() <= LABEL_OCTETS => length,
                _ => return Err(NameError::LabelTooLong { octets: label.len() }),
            };
            if wire.len() + 1 + label.len() > NAME_OCTETS {
                return Err(NameError::NameTooLong);
            }
            wire.push(length);
            wire.extend(label.iter().map(u8::to_ascii_lowercase));
        }
        Ok(Self { wire: wire.into() })
    }

    /// A name from its octets: length octet and label in turn, without the root's empty label. ASCII capitals are lowered.
    ///
    /// # Errors
    /// What is wrong first: an empty label (the root's own too), a label that is over-long (a compression pointer is) or that the octets do
    /// not hold in full, too many of them.
    pub fn from_wire(wire: &[u8]) -> Result<Self, NameError> {
        depth_of(wire)?;
        // Length octets are 63 at most, so none looks like a capital.
        Ok(Self { wire: wire.iter().map(u8::to_ascii_lowercase).collect() })
    }

    /// The octets: length octet and label in turn, lower-cased, without the root's empty label; none for the root. The octets of an
    /// ancestor are a suffix of these.
    pub fn as_wire(&self) -> &[u8] {
        &self.wire
    }

    /// The labels, leftmost first; none for the root.
    pub fn labels(&self) -> Labels<'_> {
        Labels { rest: &self.wire }
    }

    /// Whether this is `ancestor` or a name below it.
    pub fn is_at_or_under(&self, ancestor: &Name) -> bool {
        front_of(&self.wire, &ancestor.wire).is_some()
    }

    /// Whether this is a name below `ancestor`, and not `ancestor` itself.
    pub fn is_under(&self, ancestor: &Name) -> bool {
        self.wire.len() > ancestor.wire.len() && self.is_at_or_under(ancestor)
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.wire.is_empty()
    }

    /// The name one label up; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        self.suffixes().nth(1).map(|wire| Self { wire: wire.into() })
    }

    /// The name in its Unicode form, where that differs from the form that goes over the wire.
    pub fn to_unicode(&self) -> Option<String> {
        let text = self.to_string();
        if !has_a_label(&text) {
            return None;
        }
        let (unicode, outcome) = idna::domain_to_unicode(&text);
        (outcome.is_ok() && unicode != text).then_some(unicode)
    }

    /// Both forms for people: `xn--bcher-kva.example (bücher.example)`, or the one form there is.
    pub fn both_forms(&self) -> String {
        match self.to_unicode() {
            Some(unicode) => format!("{self} ({unicode})"),
            None => self.to_string(),
        }
    }

    /// The name itself, then each ancestor, the root (empty) last, as octets.
    pub(crate) fn suffixes(&self) -> Suffixes<'_> {
        Suffixes { rest: Some(&self.wire) }
    }

    /// The name whose octets these are; for octets that were checked, or came from [`Name::as_wire`].
    pub(crate) fn of_sound_wire(wire: &[u8]) -> Self {
        Self { wire: wire.into() }
    }

    /// How many labels there are.
    pub(crate) fn depth(&self) -> usize {
        self.labels().count()
    }
}

/// The labels of a name, leftmost first. See [`Name::labels`].
#[derive(Clone, Debug)]
pub struct Labels<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.rest.split_first()?;
        let (label, rest) = rest.split_at_checked(usize::from(*length))?;
        self.rest = rest;
        Some(label)
    }
}

/// The octets of a name and of each of its ancestors.
#[derive(Clone, Debug)]
pub(crate) struct Suffixes<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> Iterator for Suffixes<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let this = self.rest?;
        self.rest = this.split_first().and_then(|(length, rest)| rest.get(usize::from(*length)..));
        Some(this)
    }
}

/// How many labels these octets of a name have.
///
/// # Errors
/// Why they are none of a name.
pub(crate) fn depth_of(wire: &[u8]) -> Result<usize, NameError> {
    let (mut rest, mut depth) = (wire, 0);
    while let Some((length, after)) = rest.split_first() {
        let octets = usize::from(*length);
        match octets {
            0 => return Err(NameError::EmptyLabel),
            1..=LABEL_OCTETS => rest = after.get(octets..).ok_or(NameError::CutOff)?,
            _ => return Err(NameError::LabelTooLong { octets }),
        }
        depth += 1;
    }
    if wire.len() > NAME_OCTETS { Err(NameError::NameTooLong) } else { Ok(depth) }
}

/// What stands in front of `zone` in the octets of a name at or below it; `None` for any other name.
pub(crate) fn front_of<'a>(wire: &'a [u8], zone: &[u8]) -> Option<&'a [u8]> {
    let front = wire.strip_suffix(zone)?;
    // A suffix of the octets is a suffix of the name only where a label begins.
    let mut rest = front;
    while let Some((length, after)) = rest.split_first() {
        rest = after.get(usize::from(*length)..)?;
    }
    Some(front)
}

fn has_a_label(text: &str) -> bool {
    text.split('.').any(|label| label.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("xn--")))
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;

        if self.is_root() {
            return f.write_char('.');
        }
        for (place, label) in self.labels().enumerate() {
            if place > 0 {
                f.write_char('.')?;
            }
            for &octet in label {
                match octet {
                    b'.' | b'\\' => write!(f, "\\{}", char::from(octet))?,
                    0x21..=0x7e => f.write_char(char::from(octet))?,
                    _ => write!(f, "\\{octet:03}")?,
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

impl Ord for Name {
    /// By labels from the right, as RFC 4034 section 6.1 orders them: an ancestor stands before what is below it.
    fn cmp(&self, other: &Self) -> Ordering {
        // A name has at most 127 labels, so where each begins fits on the stack.
        let starts = |name: &Self| {
            let mut starts = [0_u8; 128];
            let mut count = 0;
            for (place, suffix) in starts.iter_mut().zip(name.suffixes().filter(|suffix| !suffix.is_empty())) {
                *place = u8::try_from(name.wire.len() - suffix.len()).unwrap_or(u8::MAX);
                count += 1;
            }
            (starts, count)
        };
        fn label(name: &Name, start: u8) -> Option<&[u8]> {
            Labels { rest: name.wire.get(usize::from(start)..)? }.next()
        }
        let ((own, count), (others, other_count)) = (starts(self), starts(other));
        let own = own.iter().take(count).rev().map(|&start| label(self, start));
        own.cmp(others.iter().take(other_count).rev().map(|&start| label(other, start)))
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl std::str::FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests;
