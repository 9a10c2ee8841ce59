//! What the fence does between answers: forgets, puts back, renews what is in use, and says what an address was open for.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use nft::{Answers, Change, Kind};
use policies::{Name, Protocol, Verdict};

use super::Fence;
use super::plan::Now;
use super::renewal::{Ask, Keep};
use super::view::LINES_A_SECOND;
use crate::addressbook::{Place, Term, element};

/// A packet that the ruleset refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RefusedPacket {
    /// Where it was going.
    pub destination: IpAddr,
    /// By which protocol.
    pub protocol: Protocol,
    /// To which port; 0 where the protocol has none.
    pub port: u16,
}

/// A lease that ended less than five minutes ago and would have let a packet pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// For which name.
    pub name: Name,
    /// The key of the opening.
    pub key: String,
    /// How long ago.
    pub ago: Duration,
}

/// What is to be done about a refused packet whose lease has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renewal {
    /// The lease.
    pub ended: Ended,
    /// The question to ask, past the cache; `None` if it has been asked since the end, or too many are being asked.
    pub ask: Option<Ask>,
}

impl Fence {
    /// To be called every second: forgets what ended, puts a vanished table back, guards new devices.
    pub fn tend(&mut self) {
        let now = self.now();
        self.book.sweep(now.tick, |element| self.past.remember(&element));
        self.past.sweep(now.tick);
        match self.firewall.denied() {
            Err(nft::CountError::TableVanished) => {
                self.restore();
            }
            Ok(counted) => self.view.denied_packets = counted.packets,
            Err(error) => tracing::debug!(%error, "cannot read the counter of denied packets"),
        }
        match self.firewall.refresh_devices() {
            Ok(devices) if !devices.added.is_empty() => tracing::info!(devices = devices.added.join(" "), "raw guard on new devices"),
            Ok(_) => {}
            Err(nft::RefreshError::TableVanished) => {
                self.restore();
            }
            Err(error) => tracing::warn!(error = crate::exit::chain(&error), "cannot guard new devices against raw frames"),
        }
    }

    /// To be called every second, too: the names to ask again now because packets go to their addresses and their leases end soon, at
    /// most ten. Extends the leases in use whose address has left its name's answer.
    pub fn renewals(&mut self, now: Instant) -> Vec<Ask> {
        let now = Now { instant: now, tick: self.clock.tick(now) };
        if self.renewals.wants_scan(now.tick) {
            self.scan(now);
        }
        let keep = self.renewals.keep(&self.book, now.tick);
        if !keep.is_empty() && self.make_sure() {
            self.extend(keep, now);
        }
        let asks = self.renewals.asks(now.tick);
        self.view.renewals.asked += asks.len() as u64;
        asks
    }

    /// Takes in that `name` was answered without any address. Answers with addresses come by [`Fence::open`].
    pub fn answered_nothing(&mut self, name: &Name, ipv6: bool, now: Instant) {
        self.renewals.answered(name, ipv6, &[], self.clock.tick(now));
    }

    /// The names that an address is leased for, each with the end of its lease; under several openings, of the one that ends first.
    pub fn names_of(&self, address: IpAddr, now: Instant) -> Vec<(Name, Instant)> {
        let now = self.clock.tick(now);
        let mut names: Vec<(Name, Instant)> = Vec::new();
        for named in self.book.of_address(address).flat_map(|element| element.names()).filter(|named| named.term.end > now) {
            let end = self.clock.instant(named.term.end);
            match names.iter_mut().find(|(name, _)| *name == named.name) {
                Some((_, known)) => *known = end.min(*known),
                None => names.push((named.name.clone(), end)),
            }
        }
        names
    }

    /// The lease that ended less than five minutes ago and would have let this packet pass, by the policy of now.
    pub fn ended(&self, packet: &RefusedPacket, now: Instant) -> Option<Ended> {
        let tick = self.clock.tick(now);
        let past = self.past.of(packet.destination, tick);
        let unswept = self.book.of_address(packet.destination).filter(|element| element.until() <= tick);
        let unswept = unswept.flat_map(|element| element.names().map(|named| (&named.name, named.term.end)));
        let candidates = unswept.chain(past.into_iter().flat_map(|past| past.names.iter().map(|name| (name, past.end))));
        for (name, end) in candidates {
            let Verdict::Granted(grant) = self.policy.judge(name) else { continue };
            for index in grant.openings_for(packet.destination) {
                let Some(opening) = self.policy.opening(index).filter(|opening| opening.ports.contains(packet.protocol, packet.port))
                else {
                    continue;
                };
                // Open again by now: the packet came before that.
                let place = u32::try_from(index.get()).ok().map(|opening| Place { opening, address: packet.destination });
                if place.and_then(|place| self.book.find(place)).is_some_and(|element| element.until() > tick) {
                    return None;
                }
                return Some(Ended { name: name.clone(), key: opening.key.clone(), ago: tick.duration_since(end) });
            }
        }
        None
    }

    /// What is to be done about a refused packet: `None` if no lease of it ended lately. Says it in the log, a bounded number of times
    /// a second; one look-up is asked for after each end of a lease.
    pub fn denied(&mut self, packet: &RefusedPacket, now: Instant) -> Option<Renewal> {
        let ended = self.ended(packet, now)?;
        let tick = self.clock.tick(now);
        for element in self.book.of_address(packet.destination).filter(|element| element.until() <= tick) {
            self.past.remember(element);
        }
        let due = self.past.of(packet.destination, tick).is_some_and(|past| !past.looked_up) && self.renewals.may_ask(tick);
        let ask = due.then(|| Ask { name: ended.name.clone(), ipv6: packet.destination.is_ipv6() });
        if ask.is_some() {
            self.past.note_look_up(packet.destination);
            self.view.renewals.ended_looked_up += 1;
        }
        if let Some(left_out) = self.view.ended.due(now, LINES_A_SECOND) {
            let RefusedPacket { destination, port, .. } = packet;
            let (name, rule, seconds) = (&ended.name, &ended.key, ended.ago.as_secs());
            tracing::info!(%destination, port, %name, rule, seconds, asked = ask.is_some(), left_out, "refused: lease-ended");
        }
        Some(Renewal { ended, ask })
    }

    /// Reads what is in use.
    fn scan(&mut self, now: Now) {
        let openings = self.renewals.to_scan(&self.book, now.tick);
        let policy = self.policy.clone();
        let keys = openings.iter().filter_map(|index| Some(policy.openings().get(*index as usize)?.key.as_str()));
        let used = self.firewall.in_use_of(keys);
        let used = used.unwrap_or_else(|error| {
            tracing::debug!(error = crate::exit::chain(&error), "cannot read what is in use");
            Vec::new()
        });
        let indices: HashMap<&str, u32> = (0..).zip(self.policy.openings()).map(|(index, opening)| (opening.key.as_str(), index)).collect();
        let places = used.iter().filter_map(|used| Some(Place { opening: *indices.get(&*used.key)?, address: used.address }));
        self.renewals.scan(&self.book, places, now.tick);
    }

    /// Extends leases: one batch, each for itself.
    fn extend(&mut self, keep: Vec<Keep>, now: Now) {
        let mut batch = Answers::new();
        for Keep { place, name, until } in &keep {
            batch.begin();
            let element = self.book.find(*place);
            // Never shorter than for another name of the address.
            let end = element.map_or(*until, |element| element.until().max(*until));
            let timeout = self.clock.instant(end).saturating_duration_since(now.instant);
            let mut label = String::new();
            element::write_label(&mut label, name, element, now.tick);
            if let Some(opening) = self.sets(*place) {
                batch.push(Change { opening, address: place.address, name: &label, timeout, kind: Kind::Refresh });
            }
        }
        for (Keep { place, name, until }, outcome) in keep.iter().zip(self.send(&batch)) {
            // A vanished table goes back with what the book has; the next second has its turn then.
            if outcome.is_ok() {
                self.book.record(*place, name, Term { end: *until, span: until.since(now.tick) });
                self.view.renewals.kept += 1;
            }
        }
        self.make_sure();
    }
}
