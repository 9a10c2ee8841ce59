//! A question as it goes to an upstream: written by hand, its name in random case.

use super::{random::Random, server::Manner};
use crate::{question::Question, wire};

/// Length of a message's header (RFC 1035 §4.1.1); the question's name is next.
pub(super) const HEADER: usize = 12;

/// The longest name without the root's own octet.
const NAME: usize = 254;

/// What is asked, whoever is asked.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    name: [u8; NAME],
    length: u8,
    rtype: u16,
    dnssec_ok: bool,
    checking_disabled: bool,
    authentic_data: bool,
}

/// Which letters of a name are capitals: bit `i` stands for octet `i`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spelling([u8; NAME.div_ceil(8)]);

impl Asked {
    /// Takes the question; `None` if its name is longer than a name can be.
    pub(super) fn new(question: Question<'_>, authentic_data: bool) -> Option<Self> {
        let mut name = [0; NAME];
        name.get_mut(..question.name.len())?.copy_from_slice(question.name);
        Some(Self {
            name,
            length: u8::try_from(question.name.len()).ok()?,
            rtype: question.rtype,
            dnssec_ok: question.dnssec_ok,
            checking_disabled: question.checking_disabled,
            authentic_data,
        })
    }

    /// The name, in lower case.
    pub(super) fn name(&self) -> &[u8] {
        self.name.get(..usize::from(self.length)).unwrap_or_default()
    }

    /// The octets behind the name: the root, the type, and class IN.
    pub(super) fn tail(&self) -> [u8; 5] {
        let [high, low] = self.rtype.to_be_bytes();
        [0, high, low, 0, 1]
    }

    /// Draws a spelling: each letter is a capital or not.
    pub(super) fn spelling(&self, random: &mut Random) -> Option<Spelling> {
        let mut spelling = Spelling::default();
        random.fill(spelling.0.get_mut(..usize::from(self.length).div_ceil(8))?)?;
        Some(spelling)
    }

    /// Appends the message.
    pub(super) fn write(&self, id: u16, spelling: &Spelling, manner: Manner, to: &mut Vec<u8>) {
        let [high, low] = id.to_be_bytes();
        // RD; AD and CD as the client has them.
        let flags = u8::from(self.authentic_data) << 5 | u8::from(self.checking_disabled) << 4;
        to.extend_from_slice(&[high, low, 1, flags, 0, 1, 0, 0, 0, 0, 0, u8::from(manner.edns)]);
        to.extend(spelling.of(self.name()));
        to.extend_from_slice(&self.tail());
        if manner.edns {
            // The root, OPT, the payload, no extended code, version 0, DO, no options (RFC 6891 §6.1.2).
            let [high, low] = wire::UDP_PAYLOAD.to_be_bytes();
            to.extend_from_slice(&[0, 0, 41, high, low, 0, 0, u8::from(self.dnssec_ok) << 7, 0, 0, 0]);
        }
    }
}

impl Spelling {
    /// The name with its capitals. Octets of length are never touched: they are no letters.
    pub(super) fn of<'a>(&'a self, name: &'a [u8]) -> impl Iterator<Item = u8> + 'a {
        name.chunks(8).zip(self.0).flat_map(|(octets, bits)| {
            octets.iter().enumerate().map(move |(at, octet)| octet ^ (u8::from(octet.is_ascii_lowercase() && bits >> at & 1 == 1) << 5))
        })
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::{op::Message, rr::RecordType};

    use super::*;

    const NAME: &[u8] = b"\x03www\x07example\x03org";

    fn asked(dnssec_ok: bool) -> Asked {
        Asked::new(Question { name: NAME, rtype: 28, dnssec_ok, checking_disabled: true }, true).unwrap()
    }

    #[test]
    fn a_parser_reads_what_was_meant() {
        let mut random = Random::new();
        for (edns, dnssec_ok) in [(true, true), (true, false), (false, false)] {
            let asked = asked(dnssec_ok);
            let mut octets = Vec::new();
            let spelling = asked.spelling(&mut random).unwrap();
            asked.write(0xbeef, &spelling, Manner { mixed_case: true, edns }, &mut octets);
            let message = Message::from_vec(&octets).unwrap();
            assert_eq!(message.metadata.id, 0xbeef);
            assert!(message.metadata.recursion_desired && message.metadata.checking_disabled && message.metadata.authentic_data);
            assert_eq!(message.queries[0].name.to_string().to_lowercase(), "www.example.org.");
            assert_eq!(message.queries[0].query_type, RecordType::AAAA);
            assert_eq!(message.edns.as_ref().map(|edns| (edns.max_payload(), edns.flags().dnssec_ok)), edns.then_some((1232, dnssec_ok)));
        }
    }

    #[test]
    fn every_letter_is_a_capital_about_half_the_time() {
        let mut random = Random::new();
        let asked = asked(false);
        let mut capitals = vec![0; NAME.len()];
        for _ in 0..400 {
            let spelling = asked.spelling(&mut random).unwrap();
            let spelled: Vec<u8> = spelling.of(NAME).collect();
            assert!(spelled.eq_ignore_ascii_case(NAME));
            for (count, octet) in capitals.iter_mut().zip(spelled) {
                *count += usize::from(octet.is_ascii_uppercase());
            }
        }
        for (count, octet) in capitals.iter().zip(NAME) {
            assert!(if octet.is_ascii_lowercase() { (120..280).contains(count) } else { *count == 0 }, "{octet}: {count}");
        }
    }

    #[test]
    fn a_name_that_is_too_long_is_not_taken() {
        let long = [1; 255];
        let question = Question { name: &long, rtype: 1, dnssec_ok: false, checking_disabled: false };
        assert!(Asked::new(question, false).is_none());
        assert!(Asked::new(Question { name: &long[..254], ..question }, false).is_some());
    }
}
