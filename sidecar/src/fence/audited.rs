//! In audit, names that the policy refuses are answered: which address was told for which of them, so that a flow can be told by name.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use policies::Name;

use crate::addressbook::Tick;

/// The most addresses; the oldest gives way. About 150 octets each.
const MOST: usize = 4096;
/// How long beyond its TTL an address is known by the name: clients keep what they resolved.
const GRACE_SECONDS: u32 = 300;

/// The addresses that were told for refused names.
#[derive(Debug, Default)]
pub struct Audited {
    by_address: HashMap<IpAddr, (Name, &'static str, Tick)>,
    order: VecDeque<IpAddr>,
}

impl Audited {
    /// Notes that `address` was told for `name`, refused for `reason`, for a time.
    pub fn note(&mut self, address: IpAddr, name: &Name, reason: &'static str, end: Tick) {
        if self.by_address.insert(address, (name.clone(), reason, end)).is_none() {
            self.order.push_back(address);
        }
        while self.order.len() > MOST {
            if let Some(oldest) = self.order.pop_front() {
                self.by_address.remove(&oldest);
            }
        }
    }

    /// The name that the address was told for last, and why that one is refused.
    pub fn of(&self, address: IpAddr, now: Tick) -> Option<(String, String)> {
        let (name, reason, end) = self.by_address.get(&address)?;
        (end.plus_seconds(GRACE_SECONDS) > now).then(|| (name.to_string(), (*reason).to_owned()))
    }

    /// Forgets all: the pod is held again.
    pub fn clear(&mut self) {
        self.by_address.clear();
        self.order.clear();
    }
}
