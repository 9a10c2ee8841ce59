//! Names of sets and chains: the opening's key where nft can read it, a digest where it cannot.

use super::line::Ip;
use crate::sys::Ident;

/// The longest stem; the longest thing added to it is `_v4_ranges_` and 16 digits.
const MAX_STEM: usize = 96;

/// The names that belong to one opening.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names {
    stem: String,
}

impl Names {
    pub(crate) fn of(key: &str) -> Self {
        Self { stem: stem(key) }
    }

    fn with(&self, family: Ip, rest: &str) -> Ident {
        let family = match family {
            Ip::V4 => "v4",
            Ip::V6 => "v6",
        };
        Ident::new(&format!("{}_{family}{rest}", self.stem))
    }

    /// The leases: `KEY_v4`, `KEY_v6`.
    pub(crate) fn leases(&self, family: Ip) -> Ident {
        self.with(family, "")
    }

    /// The leases in use: `KEY_v4_used`, `KEY_v6_used`.
    pub(crate) fn used(&self, family: Ip) -> Ident {
        self.with(family, "_used")
    }

    /// The static ranges: `KEY_v4_ranges`, `KEY_v6_ranges`, before what tells their contents apart.
    pub(crate) fn ranges(&self, family: Ip) -> Ident {
        self.with(family, "_ranges")
    }

    /// The chain that its flows begin in: `begin_KEY`.
    pub(crate) fn begin(&self) -> Ident {
        Ident::new(&format!("begin_{}", self.stem))
    }

    /// The chain that its flows end in: `flow_KEY`.
    pub(crate) fn flow(&self) -> Ident {
        Ident::new(&format!("flow_{}", self.stem))
    }
}

/// nft reads a letter or underscore and then letters, digits, `_`, `-`, `.`, `/`. Everything else, and what is too long, becomes
/// `x_DIGEST_BEGINNING`; no key of ours can be that by accident, since such keys are digested too.
fn stem(key: &str) -> String {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let readable = key.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && key.chars().all(legal)
        && key.len() <= MAX_STEM
        && !key.starts_with("x_");
    if readable {
        return key.to_owned();
    }
    let beginning: String = key.chars().take(40).map(|c| if legal(c) { c } else { '_' }).collect();
    format!("x_{:032x}_{beginning}", digest(key.as_bytes()))
}

/// FNV-1a, 128 bits: keys come from policy files, not from the network, and two equal digests are an error at install.
pub(crate) fn digest(bytes: &[u8]) -> u128 {
    bytes.iter().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |hash, byte| {
        (hash ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readable_keys_stay_and_others_are_digested() {
        assert_eq!(Names::of("alerts.pagerduty").leases(Ip::V4).as_str(), "alerts.pagerduty_v4");
        for odd in ["9lives", "x_1", "with space", &"k".repeat(200), "", "ä"] {
            let name = Names::of(odd).used(Ip::V6);
            assert!(name.as_str().starts_with("x_"), "{name}");
            assert!(name.as_str().len() < Ident::MAX);
        }
        let (one, other) = (format!("{}1", "k".repeat(150)), format!("{}2", "k".repeat(150)));
        assert_ne!(Names::of(&one), Names::of(&other));
    }
}
