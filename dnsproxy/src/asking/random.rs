//! Octets nobody can foresee, from the kernel's generator: asked for many at a time, and gone from memory once used.

/// How many are asked for at a time.
const STOCK: usize = 4096;

/// A stock of random octets.
pub(super) struct Random {
    stock: Box<[u8; STOCK]>,
    used: usize,
}

impl std::fmt::Debug for Random {
    /// Keeps what will be drawn out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Random(secret)")
    }
}

impl Random {
    /// An empty stock: the first draw fills it.
    pub(super) fn new() -> Self {
        Self { stock: Box::new([0; STOCK]), used: STOCK }
    }

    /// Fills `into`; `None` if the kernel has none to give, and then nothing may be asked.
    pub(super) fn fill(&mut self, into: &mut [u8]) -> Option<()> {
        if self.used + into.len() > STOCK {
            getrandom::fill(self.stock.as_mut_slice()).ok()?;
            self.used = 0;
        }
        let drawn = self.stock.get_mut(self.used..self.used + into.len())?;
        into.copy_from_slice(drawn);
        drawn.fill(0);
        self.used += into.len();
        Some(())
    }

    /// A number of sixteen bits.
    pub(super) fn number(&mut self) -> Option<u16> {
        let mut octets = [0; 2];
        self.fill(&mut octets)?;
        Some(u16::from_ne_bytes(octets))
    }

    /// A number below `bound`, even but for the rest of a division: for choices where a bias of a bound's size in 65,536 does no harm.
    pub(super) fn below(&mut self, bound: usize) -> Option<usize> {
        match bound {
            0 | 1 => Some(0),
            _ => Some(usize::from(self.number()?) % bound),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_octet_is_drawn_twice_or_kept() {
        let mut random = Random::new();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..2000 {
            let mut drawn = [0; 16];
            random.fill(&mut drawn).unwrap();
            assert!(seen.insert(drawn));
            assert!(random.stock[..random.used].iter().all(|octet| *octet == 0));
        }
    }
}
