//! Reverse look-ups: an address that is leased is told by the names it is leased for; nobody is asked.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Instant,
};

use policies::Name;

use crate::{
    body::{Body, Marks},
    gate::whole_seconds,
};

/// The most names that one address is told by.
const MOST_NAMES: usize = 8;

/// PTR (RFC 1035 §3.3.12).
pub(crate) const PTR: u16 = 12;

/// The address that a name under in-addr.arpa (RFC 1035 §3.5) or ip6.arpa (RFC 3596 §2.5) stands for.
pub(crate) fn address(name: &[u8]) -> Option<IpAddr> {
    if let Some(labels) = name.strip_suffix(b"\x07in-addr\x04arpa") {
        let mut octets = [0; 4];
        let mut rest = labels;
        for octet in octets.iter_mut().rev() {
            let label = label(&mut rest)?;
            // Without leading zeros, so that an address has one name.
            *octet = std::str::from_utf8(label).ok()?.parse().ok().filter(|octet: &u8| octet.to_string().as_bytes() == label)?;
        }
        return rest.is_empty().then(|| Ipv4Addr::from(octets).into());
    }
    let mut rest = name.strip_suffix(b"\x03ip6\x04arpa")?;
    let mut address = 0;
    for nibble in 0..32 {
        let &[digit] = label(&mut rest)? else { return None };
        address |= u128::from(char::from(digit).to_digit(16)?) << (4 * nibble);
    }
    rest.is_empty().then(|| Ipv6Addr::from(address).into())
}

/// Splits off the leftmost label.
fn label<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (&length, behind) = rest.split_first()?;
    let (label, behind) = behind.split_at_checked(length.into())?;
    *rest = behind;
    Some(label)
}

/// The PTR records that tell `names`, and the TTL that they may be told with: the least that is left of their leases.
pub(crate) fn body(names: &[(Name, Instant)], now: Instant) -> (Body, u32) {
    let told = || names.iter().take(MOST_NAMES);
    let mut octets = Vec::new();
    for (name, _) in told() {
        // Owner (the name asked for), type, class, TTL (set when told), length, name.
        octets.extend([0xc0, 12, 0, 12, 0, 1, 0, 0, 0, 0, 0]);
        octets.push(u8::try_from(name.as_wire().len() + 1).unwrap_or(u8::MAX));
        octets.extend(name.as_wire());
        octets.push(0);
    }
    let ttl = told().map(|(_, until)| whole_seconds(until.saturating_duration_since(now))).min().unwrap_or(0);
    let answers = u16::try_from(told().count()).unwrap_or(0);
    (Body { octets: octets.into(), answers, authorities: 0, marks: Marks::default() }, ttl)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<IpAddr> {
        address(Name::parse(text).unwrap().as_wire())
    }

    #[test]
    fn names_of_addresses_are_read_and_others_are_not() {
        assert_eq!(of("7.113.0.203.in-addr.arpa"), Some("203.0.113.7".parse().unwrap()));
        let six = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
        assert_eq!(of(six), Some("2001:db8::1".parse().unwrap()));
        for wrong in [
            "113.0.203.in-addr.arpa",
            "1.7.113.0.203.in-addr.arpa",
            "256.0.0.1.in-addr.arpa",
            "07.0.0.1.in-addr.arpa",
            "+7.0.0.1.in-addr.arpa",
            "1.ip6.arpa",
            "in-addr.arpa",
            "example.com",
        ] {
            // "+7" is no host name, so the parser of policies does not take it either.
            if let Ok(name) = Name::parse(wrong) {
                assert_eq!(address(name.as_wire()), None, "{wrong}");
            }
        }
    }
}
