//! A flow joined with the address book as it is now: by which rule, under which names, or why not.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Instant;

use nft::{FlowOwner, RuleId};
use policies::{Mode, Policy, Ports, Protocol, Verdict as Judged};

use super::Fence;
use super::upkeep::RefusedPacket;
use crate::addressbook::{Element, Tick};
use crate::flows::kind::{Kind, Owner, RuleName, Seen};
use crate::record::{Cause, Transport, Verdict};

/// The most rules that are remembered by their id, those that are gone included: a flow may have begun just before.
const MOST_RULES: usize = 4096;

/// For how long after its end a lease may still have let a packet pass that is told now, in ticks.
const JUST_NOW: u32 = 5;

/// The rules by their ids.
#[derive(Debug, Default)]
pub struct RuleNames(HashMap<RuleId, RuleName>);

impl RuleNames {
    /// The rule, where there is one.
    #[cfg(test)]
    pub fn only(&self) -> Option<RuleId> {
        self.0.keys().next().copied()
    }

    /// Takes in the rules of a policy.
    pub fn note(&mut self, policy: &Policy, id_of: impl Fn(&policies::Opening) -> Option<RuleId>) {
        if self.0.len() > MOST_RULES {
            self.0.clear();
        }
        for opening in policy.openings() {
            if let Some(id) = id_of(opening) {
                self.0.insert(id, RuleName { policy: opening.policy.clone(), rule: opening.rule.clone() });
            }
        }
    }
}

impl Fence {
    /// What a flow is. The packet was told a moment ago: what was leased then is leased now, or has just ended.
    pub fn join(&self, seen: Seen, now: Instant) -> Kind {
        let tick = self.clock.tick(now);
        let audit = self.policy.mode() == Mode::Audit;
        // In audit the names of refused answers count as well.
        let leased = |fence: &Fence| {
            let mut names = fence.leased_names(seen.destination, tick);
            names.extend(fence.audited.of(seen.destination, tick).map(|(name, _)| name));
            names.sort_unstable();
            names.dedup();
            names
        };
        let (verdict, names, rule, cause) = match seen.owner {
            Owner::Passed(FlowOwner::Inbound) => (Verdict::Permitted, Vec::new(), None, None),
            Owner::Passed(FlowOwner::Rule(id)) => {
                let rule = self.rules.0.get(&id);
                (Verdict::Permitted, self.names_for(&seen, rule, tick), rule.cloned(), None)
            }
            Owner::Passed(FlowOwner::Audit) => (Verdict::WouldDeny, leased(self), None, Some(self.cause(&seen, now))),
            Owner::Refused => {
                let verdict = if audit { Verdict::WouldDeny } else { Verdict::Refused };
                (verdict, leased(self), None, Some(self.cause(&seen, now)))
            }
        };
        Kind { seen, verdict, audit, names, rule, cause }
    }

    /// The names that lease the destination on the flow's port. Headers that are longer than what is told of a packet hide protocol and port:
    /// the rule is known all the same.
    fn names_for(&self, seen: &Seen, rule: Option<&RuleName>, tick: Tick) -> Vec<String> {
        let place = match (Transport::from_number(seen.protocol).protocol(), seen.port) {
            (Some(Protocol::Icmp), _) => Some((Protocol::Icmp, 0)),
            (Some(protocol), Some(port)) => Some((protocol, port)),
            _ => None,
        };
        let fits = |element: &&Element| {
            let opening = self.policy.openings().get(element.place().opening as usize);
            opening.is_some_and(|opening| match place {
                Some((protocol, port)) => opening.ports.contains(protocol, port),
                None => rule.is_some_and(|rule| rule.policy == opening.policy && rule.rule == opening.rule),
            })
        };
        let named = |live: bool| -> BTreeSet<String> {
            let elements = self.book.of_address(seen.destination).filter(fits);
            let names = elements.flat_map(|element| element.names());
            names
                .filter(|named| if live { named.term.end > tick } else { named.term.end.plus(JUST_NOW) > tick })
                .map(|named| named.name.to_string())
                .collect()
        };
        let names = match named(true) {
            none if none.is_empty() => named(false),
            names => names,
        };
        names.into_iter().collect()
    }

    /// The names that lease an address, on whatever ports.
    fn leased_names(&self, address: IpAddr, tick: Tick) -> Vec<String> {
        let named = self.book.of_address(address).flat_map(|element| element.names()).filter(|named| named.term.end > tick);
        let names: BTreeSet<String> = named.map(|named| named.name.to_string()).collect();
        names.into_iter().collect()
    }

    /// Why nothing opens a flow.
    fn cause(&self, seen: &Seen, now: Instant) -> Cause {
        if self.policy.files().is_empty() {
            return Cause::NoPolicy;
        }
        let Some(protocol) = Transport::from_number(seen.protocol).protocol() else { return Cause::ProtocolNotGranted };
        let (address, port) = (seen.destination, seen.port.unwrap_or(0));
        let denied = self.policy.denies().iter().filter(|deny| deny.ports.as_ref().is_none_or(|ports| ports.contains(protocol, port)));
        for deny in denied {
            if let Some(range) = deny.ranges.iter().find(|range| range.contains(&address)) {
                return Cause::DeniedRange { range: Some(*range), policy: deny.policy.to_string() };
            }
        }
        if let Some(ended) = self.ended(&RefusedPacket { destination: address, protocol, port }, now) {
            return Cause::LeaseEnded { name: ended.name.to_string(), seconds: ended.ago.as_secs() };
        }
        let tick = self.clock.tick(now);
        if let Some(cause) = self.other_ports(address, protocol, port, tick) {
            return cause;
        }
        if let Some((name, reason)) = self.audited.of(address, tick).next() {
            return Cause::RefusedName { name, reason };
        }
        match self.past.of(address, tick).and_then(|past| Some((past.names.first()?, past))) {
            Some((name, past)) => Cause::LeaseEnded { name: name.to_string(), seconds: tick.duration_since(past.end).as_secs() },
            None => Cause::NeverResolved,
        }
    }

    /// What is open at the address, or was until a moment ago, if the port is not among it.
    fn other_ports(&self, address: IpAddr, protocol: Protocol, port: u16, tick: Tick) -> Option<Cause> {
        let (mut ports, mut names) = (Ports::none(), BTreeSet::new());
        for element in self.book.of_address(address).filter(|element| element.until() > tick) {
            if let Some(opening) = self.policy.openings().get(element.place().opening as usize) {
                ports = ports.union(&opening.ports);
                names.extend(element.names().filter(|named| named.term.end > tick).map(|named| named.name.to_string()));
            }
        }
        for opening in self.policy.openings().iter().filter(|opening| opening.cidrs.iter().any(|range| range.contains(&address))) {
            ports = ports.union(&opening.ports);
        }
        // Ended, and on other ports even then.
        if ports.is_empty() {
            for name in self.past.of(address, tick).into_iter().flat_map(|past| &past.names) {
                let Judged::Granted(grant) = self.policy.judge(name) else { continue };
                for opening in grant.openings_for(address).filter_map(|index| self.policy.opening(index)) {
                    ports = ports.union(&opening.ports);
                    names.insert(name.to_string());
                }
            }
        }
        // Open on this very port by now: the packet came before that.
        let told = !ports.is_empty() && !ports.contains(protocol, port);
        told.then(|| Cause::PortNotGranted { names: names.into_iter().collect(), ports: ports.to_string() })
    }

    /// The ruleset's counters.
    pub fn counters(&mut self) -> Option<nft::Counters> {
        self.firewall.counters().ok()
    }
}
