//! The number by which the kernel's connection table remembers the rule that opened a flow.

use std::fmt;

/// A rule's id: `0x0001..=0xfffb`, kept in the upper half of a flow's ct mark. `0xfffd` (passed though no rule permits it, in audit), `0xfffc` (so, and
/// refused since), `0xfffe` (the proxy's own flows) and `0xffff` (came in from outside) are the ruleset's, `0` means "no rule".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(u16);

impl RuleId {
    /// The lowest id.
    pub const MIN: Self = Self(0x0001);
    /// The highest id.
    pub const MAX: Self = Self(0xfffb);

    /// `None` outside of `0x0001..=0xfffb`.
    #[must_use]
    pub const fn new(id: u16) -> Option<Self> {
        if id >= Self::MIN.0 && id <= Self::MAX.0 { Some(Self(id)) } else { None }
    }

    /// The id that a ct mark carries, if it is a rule's.
    #[must_use]
    pub const fn from_ct_mark(mark: u32) -> Option<Self> {
        let [high, low, ..] = mark.to_be_bytes();
        Self::new(u16::from_be_bytes([high, low]))
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The number where the ct mark has it: bits 16 to 31.
    pub(crate) const fn mark(self) -> u32 {
        (self.0 as u32) << 16
    }
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#06x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_numbers_are_no_rule() {
        for reserved in [0, 0xfffc, 0xfffd, 0xfffe, 0xffff] {
            assert_eq!(RuleId::new(reserved), None);
            assert_eq!(RuleId::from_ct_mark(u32::from(reserved) << 16 | 7), None);
        }
        let id = RuleId::new(0xfffb).unwrap();
        assert_eq!(RuleId::from_ct_mark(id.mark() | 0xbeef), Some(id));
    }
}
