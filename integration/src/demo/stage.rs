//! What is outside during the demo: names, and real servers wherever an attempt leads, so that a held attempt was held by Portreeve and
//! not by an absent server.

use std::net::IpAddr;

use crate::{Authority, TcpTarget, UdpTarget, World};

/// The names that exist, each with one address of either family ending in the same number.
const NAMES: [(&str, u8); 9] = [
    ("github.com", 22),
    ("www.github.com", 22),
    ("evilgithub.com", 66),
    ("github.com.example.net", 66),
    ("pagerduty.com", 42),
    ("events.pagerduty.com", 43),
    ("status.pagerduty.com", 44),
    ("evilpagerduty.com", 67),
    ("api.stripe.com", 80),
];

/// A resolver that an app might have written into itself.
pub(super) const OTHER_RESOLVER: &str = "203.0.113.53";

pub(super) struct Stage {
    pub(super) world: World,
    pub(super) authority: Authority,
    pub(super) other_resolver: Authority,
    _tcp: Vec<TcpTarget>,
    _udp: Vec<UdpTarget>,
}

impl Stage {
    pub(super) fn build() -> Self {
        let world = World::new();
        let outside = world.outside();
        let authority = world.authority();
        let other_resolver = world.authority_at(&[format!("{OTHER_RESOLVER}:53").parse().expect("an address")]);
        for (name, number) in NAMES {
            let (v4, v6) = addresses(number);
            for server in [&authority, &other_resolver] {
                server.a(name, &[&v4.to_string()], 60);
                server.aaaa(name, &[&v6.to_string()], 60);
            }
        }
        other_resolver.a("secrets.evil.example", &["203.0.113.66"], 60);
        let mut tcp = Vec::new();
        let mut numbers: Vec<u8> = NAMES.map(|(_, number)| number).to_vec();
        numbers.dedup();
        for number in numbers {
            let (v4, v6) = addresses(number);
            for (port, banner) in [(22, "SSH-2.0-OpenSSH_9.2\r\n"), (443, ""), (80, "")] {
                tcp.extend([v4, v6].map(|ip| TcpTarget::start(outside, (ip, port), banner)));
            }
        }
        tcp.push(TcpTarget::on(outside, "169.254.169.254:80", ""));
        tcp.push(TcpTarget::on(outside, "203.0.113.53:853", ""));
        let udp = ["198.51.100.43:443", "198.51.100.22:22", "198.51.100.80:9000"].map(|address| UdpTarget::on(outside, address));
        Self { authority, other_resolver, _tcp: tcp, _udp: udp.into(), world }
    }
}

/// Number 22 is 198.51.100.22 and 2001:db8:ffff::22.
fn addresses(number: u8) -> (IpAddr, IpAddr) {
    let v6 = format!("2001:db8:ffff::{number}");
    ([198, 51, 100, number].into(), v6.parse().expect("an address"))
}
