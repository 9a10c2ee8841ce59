//! From a policy to the ruleset that holds it: what the two crates say with types of their own, translated and nothing added.

use nft::{Log, PortRange, Ports, Posture, Proxy, RawGuard, Ruleset, Sizes};
use policies::{Mode, Policy};

use super::ids::RuleIds;

/// The part of the ruleset that no policy changes.
#[derive(Debug, Clone)]
pub struct Frame {
    /// How the proxy is known.
    pub proxy: Proxy,
    /// Whether raw frames must be held.
    pub raw_guard: RawGuard,
    /// How packets are told.
    pub log: Log,
    /// Bounds of the sets.
    pub sizes: Sizes,
}

impl Frame {
    /// The ruleset of `policy`. An opening without an id is left out, so stays closed.
    pub fn ruleset(&self, policy: &Policy, ids: &RuleIds) -> Ruleset {
        let openings = policy.openings().iter().filter_map(|opening| {
            Some(nft::Opening {
                id: ids.of(opening)?,
                key: opening.key.clone(),
                comment: format!("{}: {}", opening.policy, opening.rule),
                ports: ports(&opening.ports),
                ranges: opening.cidrs.clone(),
                leased: opening.has_hosts,
                // Told apart by the whole policy: see RuleIds::under.
                fingerprint: policy.generation(),
            })
        });
        let denies = policy.denies().iter().map(|deny| nft::Deny { ranges: deny.ranges.clone(), ports: deny.ports.as_ref().map(ports) });
        Ruleset {
            proxy: self.proxy.clone(),
            denies: denies.collect(),
            openings: openings.collect(),
            retained: ids.retained().to_vec(),
            raw_guard: self.raw_guard,
            posture: match policy.mode() {
                Mode::Enforce => Posture::Enforce,
                Mode::Audit => Posture::Audit,
            },
            log: self.log,
            sizes: self.sizes,
        }
    }
}

fn ports(ports: &policies::Ports) -> Ports {
    Ports::new(ranges(ports.tcp()), ranges(ports.udp()), ports.icmp())
}

fn ranges(ranges: &[policies::PortRange]) -> impl Iterator<Item = PortRange> {
    // Both types hold first <= last: nothing is lost here.
    ranges.iter().filter_map(|range| PortRange::new(range.first(), range.last()))
}
