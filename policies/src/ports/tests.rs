//! Port sets: normal form and set algebra, against sets of single ports.
use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn ports() -> impl Strategy<Value = Ports> {
    let range = (any::<bool>(), prop_oneof![1_u16..40, 65_500_u16..=65_535], 0_u16..12);
    (prop::collection::vec(range, 0..5), any::<bool>()).prop_map(|(ranges, icmp)| {
        let mut ports = Ports::none();
        for (tcp, first, more) in ranges {
            ports.add(if tcp { Protocol::Tcp } else { Protocol::Udp }, PortRange::new(first, first.saturating_add(more)).unwrap());
        }
        if icmp {
            ports.add(Protocol::Icmp, PortRange::ALL);
        }
        ports
    })
}

fn singles(ports: &Ports) -> BTreeSet<(Protocol, u16)> {
    let of = |protocol, ranges: &[PortRange]| {
        ranges.iter().flat_map(|range| range.first()..=range.last()).map(move |port| (protocol, port)).collect::<Vec<_>>()
    };
    let icmp = ports.icmp().then_some((Protocol::Icmp, 0));
    of(Protocol::Tcp, ports.tcp()).into_iter().chain(of(Protocol::Udp, ports.udp())).chain(icmp).collect()
}

fn is_normal(ports: &Ports) -> bool {
    [ports.tcp(), ports.udp()].iter().all(|ranges| ranges.windows(2).all(|pair| u32::from(pair[0].last()) + 1 < u32::from(pair[1].first())))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn set_algebra_is_that_of_single_ports(a in ports(), b in ports()) {
        let (x, y) = (singles(&a), singles(&b));
        prop_assert_eq!(singles(&a.union(&b)), x.union(&y).copied().collect());
        prop_assert_eq!(singles(&a.intersect(&b)), x.intersection(&y).copied().collect());
        prop_assert_eq!(singles(&a.subtract(&b)), x.difference(&y).copied().collect());
        prop_assert_eq!(a.covers(&b), x.is_superset(&y));
        for ports in [&a, &a.union(&b), &a.intersect(&b), &a.subtract(&b)] {
            prop_assert!(is_normal(ports), "{}", ports);
        }
    }
}

#[test]
fn ports_are_shown_as_a_policy_writes_them() {
    let mut ports = Ports::none();
    ports.add(Protocol::Tcp, PortRange::new(443, 443).unwrap());
    ports.add(Protocol::Tcp, PortRange::new(8000, 8100).unwrap());
    ports.add(Protocol::Udp, PortRange::ALL);
    ports.add(Protocol::Icmp, PortRange::ALL);
    assert_eq!(ports.to_string(), "443, 8000-8100, */udp, icmp");
    assert_eq!(Ports::of(Protocol::Tcp, PortRange::ALL).to_string(), "*/tcp");
    assert_eq!(Ports::of(Protocol::Udp, PortRange::new(53, 53).unwrap()).to_string(), "53/udp");
}

#[test]
fn port_0_is_none() {
    assert_eq!(PortRange::new(0, 5), None);
    assert_eq!(PortRange::new(5, 4), None);
    assert!(!Ports::all().contains(Protocol::Tcp, 0));
    assert!(Ports::all().subtract(&Ports::all()).is_empty());
}
