//! The leases as they stand, by the kernel and by the sidecar: joined, and what only one side knows is marked.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::Fence;
use super::plan::Now;

/// One open address under one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ListedLease {
    /// The address.
    pub address: IpAddr,
    /// The policy and the rule that open it: `shop.web`.
    pub rule: String,
    /// The ports that are open there.
    pub ports: String,
    /// The names it is leased for, by the sidecar; by the kernel's comment where only that knows.
    pub names: Vec<ListedName>,
    /// Seconds until the kernel closes it; absent where the kernel does not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_seconds: Option<u64>,
    /// Whether the sidecar has it in its own account.
    pub sidecar: bool,
    /// Whether packets went there within the last 90 s.
    pub in_use: bool,
}

/// A name of a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ListedName {
    /// The name.
    pub name: String,
    /// Seconds until its own lease ends; absent where only the kernel knows of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
}

impl Fence {
    /// All leases, sorted by rule and address. It costs two dumps for each rule: for people, not for the way of an answer.
    ///
    /// # Errors
    /// The kernel's sets cannot be read.
    pub fn list(&mut self) -> Result<Vec<ListedLease>, nft::ReadError> {
        let now = Instant::now();
        let now = Now { instant: now, tick: self.clock.tick(now) };
        let found = self.firewall.read_back();
        // The reading forgets which set is whose.
        self.find_sets();
        let found = found?;
        let used: std::collections::HashSet<(String, IpAddr)> =
            self.firewall.in_use()?.into_iter().map(|used| (used.key.to_string(), used.address)).collect();
        let mut listed: BTreeMap<(String, IpAddr), ListedLease> = BTreeMap::new();
        for element in self.book.live(now.tick) {
            let Some(opening) = self.policy.openings().get(element.place().opening as usize) else { continue };
            let names = element.names().filter(|named| named.term.end > now.tick);
            let seconds = |end| Some(self.clock.instant(end).saturating_duration_since(now.instant).as_secs());
            let names = names.map(|named| ListedName { name: named.name.to_string(), seconds: seconds(named.term.end) }).collect();
            let lease = ListedLease {
                address: element.address(),
                rule: opening.key.clone(),
                ports: opening.ports.to_string(),
                names,
                kernel_seconds: None,
                sidecar: true,
                in_use: false,
            };
            listed.insert((opening.key.clone(), element.address()), lease);
        }
        for lease in found.leases {
            let at = (lease.key.clone(), lease.address);
            let entry = listed.entry(at).or_insert_with(|| {
                let opening = self.policy.openings().iter().find(|opening| opening.key == lease.key);
                ListedLease {
                    address: lease.address,
                    rule: lease.key.clone(),
                    ports: opening.map(|opening| opening.ports.to_string()).unwrap_or_default(),
                    names: lease.name.split(' ').map(|name| ListedName { name: name.to_owned(), seconds: None }).collect(),
                    kernel_seconds: None,
                    sidecar: false,
                    in_use: false,
                }
            });
            entry.kernel_seconds = Some(lease.left.as_secs());
        }
        let mut listed: Vec<ListedLease> = listed.into_values().collect();
        for lease in &mut listed {
            lease.in_use = used.contains(&(lease.rule.clone(), lease.address));
        }
        Ok(listed)
    }
}
