//! Ports that a rule opens or a denial closes, in normal form.

/// Ports from `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// `None` if `first` is greater than `last`.
    #[must_use]
    pub const fn new(first: u16, last: u16) -> Option<Self> {
        if first <= last { Some(Self { first, last }) } else { None }
    }

    /// One port.
    #[must_use]
    pub const fn single(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// The first port.
    #[must_use]
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The last port, which is in the range.
    #[must_use]
    pub const fn last(self) -> u16 {
        self.last
    }
}

/// TCP and UDP port ranges (sorted, apart from each other) and whether echo requests belong to them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Ports {
    tcp: Vec<PortRange>,
    udp: Vec<PortRange>,
    icmp: bool,
}

impl Ports {
    /// Sorts the ranges and merges those that touch.
    pub fn new(tcp: impl IntoIterator<Item = PortRange>, udp: impl IntoIterator<Item = PortRange>, icmp: bool) -> Self {
        Self { tcp: normalise(tcp), udp: normalise(udp), icmp }
    }

    /// One TCP port and nothing else.
    #[must_use]
    pub fn tcp_port(port: u16) -> Self {
        Self::new([PortRange::single(port)], [], false)
    }

    /// One UDP port and nothing else.
    #[must_use]
    pub fn udp_port(port: u16) -> Self {
        Self::new([], [PortRange::single(port)], false)
    }

    /// The TCP ranges.
    #[must_use]
    pub fn tcp(&self) -> &[PortRange] {
        &self.tcp
    }

    /// The UDP ranges.
    #[must_use]
    pub fn udp(&self) -> &[PortRange] {
        &self.udp
    }

    /// Whether ICMP and ICMPv6 echo requests belong to it.
    #[must_use]
    pub const fn icmp(&self) -> bool {
        self.icmp
    }
}

fn normalise(ranges: impl IntoIterator<Item = PortRange>) -> Vec<PortRange> {
    let mut sorted: Vec<PortRange> = ranges.into_iter().collect();
    sorted.sort_unstable();
    let mut merged: Vec<PortRange> = Vec::with_capacity(sorted.len());
    for range in sorted {
        match merged.last_mut() {
            Some(before) if u32::from(range.first) <= u32::from(before.last) + 1 => before.last = before.last.max(range.last),
            _ => merged.push(range),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u16, last: u16) -> PortRange {
        PortRange::new(first, last).unwrap()
    }

    #[test]
    fn ranges_that_touch_or_overlap_become_one() {
        let ports = Ports::new([range(443, 443), range(80, 90), range(91, 95), range(85, 88), range(65535, 65535)], [], false);
        assert_eq!(ports.tcp(), [range(80, 95), range(443, 443), range(65535, 65535)]);
        assert_eq!(PortRange::new(2, 1), None);
    }
}
