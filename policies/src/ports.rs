//! Sets of ports: what a rule opens on an address, kept in normal form so that two equal sets are equal values.
use std::fmt;

use serde::{Serialize, Serializer};

/// What travels over IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP and ICMPv6; has no ports.
    Icmp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
        })
    }
}

/// Ports from first to last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// Every port. Port 0 is none.
    pub const ALL: Self = Self { first: 1, last: u16::MAX };

    /// The range, or `None` where it is empty or begins with 0.
    pub fn new(first: u16, last: u16) -> Option<Self> {
        (first >= 1 && first <= last).then_some(Self { first, last })
    }

    /// The lowest port of the range.
    pub fn first(self) -> u16 {
        self.first
    }

    /// The highest port of the range.
    pub fn last(self) -> u16 {
        self.last
    }

    fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

/// A set of TCP ports, UDP ports and ICMP. Ranges are sorted, disjoint and never adjacent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ports {
    tcp: Vec<PortRange>,
    udp: Vec<PortRange>,
    icmp: bool,
}

impl Ports {
    /// No port at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// Every port of TCP and UDP, and ICMP.
    pub fn all() -> Self {
        Self { tcp: vec![PortRange::ALL], udp: vec![PortRange::ALL], icmp: true }
    }

    /// One range of one protocol; ICMP as a whole, whatever the range.
    pub fn of(protocol: Protocol, range: PortRange) -> Self {
        let mut ports = Self::none();
        ports.add(protocol, range);
        ports
    }

    /// Adds one range of one protocol; ICMP as a whole, whatever the range.
    pub fn add(&mut self, protocol: Protocol, range: PortRange) {
        match protocol {
            Protocol::Tcp => self.tcp = normal(std::mem::take(&mut self.tcp), range),
            Protocol::Udp => self.udp = normal(std::mem::take(&mut self.udp), range),
            Protocol::Icmp => self.icmp = true,
        }
    }

    /// The TCP ports.
    pub fn tcp(&self) -> &[PortRange] {
        &self.tcp
    }

    /// The UDP ports.
    pub fn udp(&self) -> &[PortRange] {
        &self.udp
    }

    /// Whether ICMP (and ICMPv6) is among them.
    pub fn icmp(&self) -> bool {
        self.icmp
    }

    /// Whether nothing is in the set.
    pub fn is_empty(&self) -> bool {
        self.tcp.is_empty() && self.udp.is_empty() && !self.icmp
    }

    /// Whether the port is in the set; ICMP has none, so any will do.
    pub fn contains(&self, protocol: Protocol, port: u16) -> bool {
        match protocol {
            Protocol::Tcp => self.tcp.iter().any(|range| range.contains(port)),
            Protocol::Udp => self.udp.iter().any(|range| range.contains(port)),
            Protocol::Icmp => self.icmp,
        }
    }

    /// Whether everything of `other` is in this set.
    pub fn covers(&self, other: &Ports) -> bool {
        other.subtract(self).is_empty()
    }

    /// What is in either.
    pub fn union(&self, other: &Ports) -> Ports {
        let mut all = self.clone();
        for &range in &other.tcp {
            all.add(Protocol::Tcp, range);
        }
        for &range in &other.udp {
            all.add(Protocol::Udp, range);
        }
        all.icmp |= other.icmp;
        all
    }

    /// What is in both.
    pub fn intersect(&self, other: &Ports) -> Ports {
        Ports { tcp: overlap(&self.tcp, &other.tcp), udp: overlap(&self.udp, &other.udp), icmp: self.icmp && other.icmp }
    }

    /// What is here and not in `other`.
    pub fn subtract(&self, other: &Ports) -> Ports {
        Ports { tcp: overlap(&self.tcp, &gaps(&other.tcp)), udp: overlap(&self.udp, &gaps(&other.udp)), icmp: self.icmp && !other.icmp }
    }
}

/// Sorted, disjoint, adjacent ranges joined.
fn normal(mut ranges: Vec<PortRange>, more: PortRange) -> Vec<PortRange> {
    ranges.push(more);
    ranges.sort_unstable();
    let mut joined: Vec<PortRange> = Vec::with_capacity(ranges.len());
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.first <= last.last.saturating_add(1) => last.last = last.last.max(range.last),
            _ => joined.push(range),
        }
    }
    joined
}

fn overlap(left: &[PortRange], right: &[PortRange]) -> Vec<PortRange> {
    // Both sides are sorted and disjoint, and two gaps-of-ranges never touch: the result needs no joining.
    let pairs = left.iter().flat_map(|a| right.iter().map(move |b| (a, b)));
    pairs.filter_map(|(a, b)| PortRange::new(a.first.max(b.first), a.last.min(b.last))).collect()
}

/// The ports that are in none of the ranges.
fn gaps(ranges: &[PortRange]) -> Vec<PortRange> {
    let mut gaps = Vec::with_capacity(ranges.len() + 1);
    let mut from = 1_u32;
    for range in ranges {
        gaps.extend(gap(from, u32::from(range.first).saturating_sub(1)));
        from = u32::from(range.last) + 1;
    }
    gaps.extend(gap(from, u32::from(u16::MAX)));
    gaps
}

fn gap(first: u32, last: u32) -> Option<PortRange> {
    PortRange::new(u16::try_from(first).ok()?, u16::try_from(last).ok()?)
}

impl fmt::Display for Ports {
    /// As a policy writes them: `443`, `8000-8100`, `53/udp`, `*/tcp`, `icmp`, separated by commas.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (ranges, suffix) in [(&self.tcp, ""), (&self.udp, "/udp")] {
            for range in ranges {
                f.write_str(separator)?;
                separator = ", ";
                match (range.first, range.last) {
                    _ if *range == PortRange::ALL => write!(f, "*{}", if suffix.is_empty() { "/tcp" } else { suffix })?,
                    (first, last) if first == last => write!(f, "{first}{suffix}")?,
                    (first, last) => write!(f, "{first}-{last}{suffix}")?,
                }
            }
        }
        if self.icmp {
            write!(f, "{separator}icmp")?;
        }
        Ok(())
    }
}

impl Serialize for Ports {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests;
