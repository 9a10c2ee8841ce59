//! Address ranges and ports as intervals that do not overlap.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::line::Ip;
use crate::sys::{Element, Verdict};

/// The elements of an interval set that holds the ranges of one family, merged.
pub(crate) fn elements<'a>(ranges: impl IntoIterator<Item = &'a IpNet>, family: Ip) -> Vec<Element> {
    let mut bounds: Vec<(u128, u128)> = ranges.into_iter().filter_map(|net| bounds(net, family)).collect();
    bounds.sort_unstable();
    let mut merged: Vec<(u128, u128)> = Vec::with_capacity(bounds.len());
    for (first, last) in bounds {
        match merged.last_mut() {
            Some((_, before)) if first <= before.saturating_add(1) => *before = last.max(*before),
            _ => merged.push((first, last)),
        }
    }
    let width = match family {
        Ip::V4 => 4,
        Ip::V6 => 16,
    };
    intervals(merged.into_iter().map(|(first, last)| (first, last, None)), width)
}

/// Elements for intervals that are sorted and apart, keys `width` bytes wide: each start, and the first key after each interval.
pub(crate) fn intervals(ranges: impl IntoIterator<Item = (u128, u128, Option<Verdict>)>, width: usize) -> Vec<Element> {
    let key = |value: u128| value.to_be_bytes().iter().skip(16 - width).copied().collect::<Vec<u8>>();
    let top = if width >= 16 { u128::MAX } else { (1_u128 << (8 * width)) - 1 };
    let end = |value| Element { key: key(value), interval_end: true, ..Element::default() };
    let mut elements = Vec::new();
    for (first, last, verdict) in ranges {
        // As nft does: what lies before the first interval is marked as outside.
        if elements.is_empty() && first > 0 {
            elements.push(end(0));
        }
        elements.push(Element { key: key(first), verdict, ..Element::default() });
        if last < top {
            elements.push(end(last + 1));
        }
    }
    elements
}

fn bounds(net: &IpNet, family: Ip) -> Option<(u128, u128)> {
    let number4 = |address: Ipv4Addr| u128::from(u32::from(address));
    match (net, family) {
        (IpNet::V4(net), Ip::V4) => Some((number4(net.network()), number4(net.broadcast()))),
        (IpNet::V6(net), Ip::V6) => Some((u128::from(net.network()), u128::from(Ipv6Addr::from(u128::from(net.broadcast()))))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(ranges: &[&str], family: Ip) -> Vec<(Vec<u8>, bool)> {
        let ranges: Vec<IpNet> = ranges.iter().map(|range| range.parse().unwrap()).collect();
        elements(&ranges, family).into_iter().map(|element| (element.key, element.interval_end)).collect()
    }

    #[test]
    fn overlapping_and_touching_ranges_become_one_interval() {
        let found = keys(&["10.0.0.0/9", "10.128.0.0/9", "10.1.0.0/16", "2001:db8::/32"], Ip::V4);
        assert_eq!(found, [(vec![0; 4], true), (vec![10, 0, 0, 0], false), (vec![11, 0, 0, 0], true)]);
    }

    #[test]
    fn an_interval_up_to_the_highest_key_has_no_end() {
        assert_eq!(keys(&["0.0.0.0/0"], Ip::V4), [(vec![0; 4], false)]);
        assert_eq!(keys(&["::/0"], Ip::V6), [(vec![0; 16], false)]);
        assert_eq!(keys(&["255.255.255.255/32"], Ip::V4).len(), 2);
    }
}
