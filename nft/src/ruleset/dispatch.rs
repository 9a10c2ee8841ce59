//! New flows go by their port to the rules that open it, and walk no others.

use std::collections::BTreeSet;

use super::ranges;
use crate::{
    PortRange,
    sys::{Element, Ident, Verdict},
};

/// Ports that are open to the same openings, next to each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) ports: PortRange,
    /// Indices of the openings, in order.
    pub(crate) openings: Vec<usize>,
}

impl Block {
    /// `tcp_443`, `udp_8000-8100`
    pub(crate) fn chain(&self, protocol: &str) -> String {
        let (first, last) = (self.ports.first(), self.ports.last());
        if first == last { format!("{protocol}_{first}") } else { format!("{protocol}_{first}-{last}") }
    }
}

/// Cuts all ranges into blocks that do not overlap.
pub(crate) fn blocks<'a>(openings: impl IntoIterator<Item = &'a [PortRange]>) -> Vec<Block> {
    let openings: Vec<&[PortRange]> = openings.into_iter().collect();
    let mut cuts = BTreeSet::new();
    for range in openings.iter().copied().flatten() {
        cuts.insert(u32::from(range.first()));
        cuts.insert(u32::from(range.last()) + 1);
    }
    let cuts: Vec<u32> = cuts.into_iter().collect();
    let mut blocks: Vec<Block> = Vec::new();
    for (first, next) in cuts.iter().zip(cuts.iter().skip(1)) {
        let (Ok(first), Ok(last)) = (u16::try_from(*first), u16::try_from(next - 1)) else { continue };
        let Some(ports) = PortRange::new(first, last) else { continue };
        let open = |ranges: &[PortRange]| ranges.iter().any(|range| range.first() <= first && last <= range.last());
        let inside: Vec<usize> = openings.iter().enumerate().filter(|(_, ranges)| open(ranges)).map(|(index, _)| index).collect();
        if !inside.is_empty() {
            blocks.push(Block { ports, openings: inside });
        }
    }
    blocks
}

/// The verdict map `port : goto chain`.
pub(crate) fn map(blocks: &[Block], protocol: &str) -> Vec<Element> {
    let entries = blocks.iter().map(|block| {
        let chain = Ident::new(&block.chain(protocol));
        (u128::from(block.ports.first()), u128::from(block.ports.last()), Some(Verdict::Goto(chain)))
    });
    ranges::intervals(entries, 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_port_finds_exactly_the_openings_that_open_it() {
        let range = |first, last| PortRange::new(first, last).unwrap();
        let openings: [&[PortRange]; 4] = [&[range(443, 443)], &[range(0, 65535)], &[range(400, 500), range(8000, 8100)], &[]];
        let blocks = blocks(openings);
        for port in 0..=u16::MAX {
            let wanted: Vec<usize> = openings
                .iter()
                .enumerate()
                .filter(|(_, ranges)| ranges.iter().any(|range| (range.first()..=range.last()).contains(&port)))
                .map(|(index, _)| index)
                .collect();
            let holding: Vec<&Block> = blocks.iter().filter(|block| (block.ports.first()..=block.ports.last()).contains(&port)).collect();
            assert_eq!(holding.len(), 1, "{port}");
            assert_eq!(holding[0].openings, wanted, "{port}");
        }
    }
}
