//! `/proc/net/ipv6_route`: whether any of its routes leads out of the pod.

use std::net::Ipv6Addr;

// linux/route.h and linux/ipv6_route.h.
const UP: u32 = 0x0001;
const REJECT: u32 = 0x0200;
const ANYCAST: u32 = 0x0010_0000;
const LOCAL: u32 = 0x8000_0000;

/// One line, as net/ipv6/route.c (`rt6_native_seq_show`) writes it: destination, length, source, length, next hop, metric, references,
/// use, flags, device; all numbers in hexadecimal.
struct Route<'a> {
    destination: Ipv6Addr,
    length: u8,
    flags: u32,
    device: &'a str,
}

impl<'a> Route<'a> {
    /// `None`: not such a line.
    fn read(line: &'a str) -> Option<Self> {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let &[destination, length, source, source_length, next_hop, metric, references, used, flags, device] = fields.as_slice() else {
            return None;
        };
        let number = |text: &str, digits: usize| (text.len() == digits).then(|| u128::from_str_radix(text, 16).ok()).flatten();
        for (text, digits) in [(source, 32), (source_length, 2), (next_hop, 32), (metric, 8), (references, 8), (used, 8)] {
            number(text, digits)?;
        }
        Some(Route {
            destination: Ipv6Addr::from_bits(number(destination, 32)?),
            length: u8::try_from(number(length, 2)?).ok().filter(|length| *length <= 128)?,
            flags: u32::try_from(number(flags, 8)?).ok()?,
            device,
        })
    }

    /// Whether packets to elsewhere can take it.
    fn leads_out(&self) -> bool {
        // A default route is of no such range: its destination is `::`, of length 0.
        let narrow = self.length > 0;
        let near =
            narrow && (self.destination.is_unicast_link_local() || self.destination.is_multicast() || self.destination.is_loopback());
        self.flags & UP != 0 && self.flags & (REJECT | ANYCAST | LOCAL) == 0 && self.device != "lo" && !near
    }
}

/// Whether any line is a route that leads out of the pod.
pub(super) fn leads_out(text: &str) -> bool {
    text.lines().filter_map(Route::read).any(|route| route.leads_out())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: &str = "00000000000000000000000000000000";

    fn line(destination: &str, length: u8, flags: u32, device: &str) -> String {
        format!("{destination} {length:02x} {NONE} 00 {NONE} 00000100 00000001 00000000 {flags:08x} {device:>8}\n")
    }

    #[test]
    fn a_pod_without_ipv6_has_only_routes_to_itself() {
        let text = [
            line("fe800000000000000000000000000000", 64, UP, "eth0"),
            line("00000000000000000000000000000001", 128, UP | LOCAL, "lo"),
            line("fe800000000000000000000000000000", 128, UP | ANYCAST, "eth0"),
            line("fe80000000000000e0ba4afffe3ba1e3", 128, UP | LOCAL, "eth0"),
            line("ff000000000000000000000000000000", 8, UP, "eth0"),
            // What every namespace has, and what `ip -6 route add unreachable default` makes.
            line(NONE, 0, 0x0020_0200, "lo"),
            line(NONE, 0, UP | REJECT, "lo"),
            line(NONE, 0, UP | REJECT, "eth0"),
            line("20010db8000000000000000000000000", 128, UP | ANYCAST, "eth0"),
            // An address of the pod's own on eth0, without a route.
            line("20010db8000000000000000000000002", 128, UP | LOCAL, "eth0"),
        ];
        assert!(!leads_out(&text.concat()));
        assert!(!leads_out(""));
    }

    #[test]
    fn a_default_route_a_network_and_a_unique_local_one_lead_out() {
        for (destination, length) in [(NONE, 0), ("20010db8000000000000000000000000", 64), ("fd000000000000000000000000000000", 8)] {
            assert!(leads_out(&line(destination, length, UP | 2, "eth0")), "{destination}/{length}");
        }
    }

    #[test]
    fn lines_of_another_form_say_nothing() {
        let good = line(NONE, 0, UP, "eth0");
        assert!(leads_out(&good));
        for bad in [&good[1..], &good.replace("eth0", ""), &good.replace("eth0", "eth0 more"), &good.replacen(" 00 ", " 81 ", 1), "\u{0}"] {
            assert!(!leads_out(bad), "{bad}");
        }
    }
}
