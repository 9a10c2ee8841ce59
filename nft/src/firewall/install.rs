//! One batch from whatever stands to what must hold.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::IpAddr,
    time::Duration,
};

use nix::errno::Errno;

use super::{
    Devices, Firewall, InstallError, LEASE_TOLERANCE, Lease, Ownership, RawGuardMissing, ReadError, devices, leased::LeaseSets, leases,
    standing::Seen,
};
use crate::{
    RawGuard, Ruleset,
    ruleset::{Content, Extras, Plan, raw_guard},
    sys::{Batch, ChainSeen, Element, Family, Ident, Lost, Refused, SendError, Set, SetFlags, SetSeen, Table, TableFlags, What},
};

/// How often an installation is tried again because something moved under it: a lease ended, a device went.
const TRIES: u32 = 4;

/// What an installation did.
#[derive(Debug)]
#[must_use]
pub struct Installed {
    /// Whether raw frames are held.
    pub raw_guard: RawGuardState,
    /// What the kernel lacks and the ruleset does without.
    pub missing: Vec<Missing>,
    /// Whether the table stood before.
    pub table_stood: bool,
    /// Leases that were left alone.
    pub kept: usize,
    /// Leases that were added, or whose time was set anew.
    pub added: usize,
    /// Leases that were taken away.
    pub removed: usize,
}

/// Whether raw frames are held.
#[derive(Debug)]
pub enum RawGuardState {
    /// On these devices.
    Standing(Devices),
    /// They are not, and this is why.
    Missing(RawGuardMissing),
    /// As the ruleset said.
    Off,
}

/// A part of the ruleset that this kernel does without. None of them opens anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Table flags `OWNER|PERSIST` (Linux 6.9), or a table that stood without them: other processes can change the tables.
    Ownership,
    /// `ct timeout` (CONFIG_NF_CONNTRACK_TIMEOUT): a redirected question keeps its connection entry for 30 s, not 2.
    ConntrackTimeout,
}

/// What is tried: less of it after the kernel refused a part.
struct Attempt {
    extras: Extras,
    claim: bool,
    guard: bool,
}

/// Numbers of leases.
#[derive(Default)]
struct Tally {
    kept: usize,
    added: usize,
    removed: usize,
}

impl Firewall {
    /// Makes the kernel hold `ruleset` and exactly the leases of `wanted` in one step: no packet sees half of it. (A batch before that step
    /// makes the sets and chains that are new; no rule leads there yet.) A lease that stands with
    /// about the wanted time left ([`crate::LEASE_TOLERANCE`]) and the wanted name is untouched. Leases of openings that the ruleset does
    /// not have are not wanted. It works without a table and with one that an older process left.
    ///
    /// # Errors
    /// [`InstallError`]; the kernel then holds what it held before.
    pub fn install(&mut self, ruleset: &Ruleset, wanted: &[Lease]) -> Result<Installed, InstallError> {
        let mut attempt = Attempt {
            extras: Extras { ct_timeout: true },
            claim: self.options.ownership == Ownership::Claim,
            guard: ruleset.raw_guard != RawGuard::Off,
        };
        let mut missing = Vec::new();
        let mut no_guard = None;
        let mut tries = TRIES;
        loop {
            match self.attempt(ruleset, wanted, &attempt) {
                Ok(mut installed) => {
                    installed.missing = missing;
                    if let Some(why) = no_guard {
                        installed.raw_guard = RawGuardState::Missing(why);
                    }
                    return Ok(installed);
                }
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Refused(refused)) => {
                    let errno = Errno::from_raw(refused.source.raw_os_error().unwrap_or_default());
                    let lacks = matches!(errno, Errno::EOPNOTSUPP | Errno::EINVAL | Errno::ENOENT | Errno::ENODEV);
                    let table = matches!(refused.what, What::Table);
                    if errno == Errno::EPERM {
                        return Err(InstallError::Owned(refused.source));
                    }
                    if attempt.claim && table && matches!(errno, Errno::EOPNOTSUPP | Errno::EINVAL) {
                        attempt.claim = false;
                        missing.push(Missing::Ownership);
                    } else if errno == Errno::ENOENT && tries > 0 && !matches!(refused.what, What::Object(_)) {
                        tries -= 1;
                    } else if refused.table == Some(Family::Netdev) && lacks {
                        let why = match &refused.what {
                            What::Rule { .. } => RawGuardMissing::NoRouteClass(refused.source),
                            _ => RawGuardMissing::NoEgressHook(refused.source),
                        };
                        if ruleset.raw_guard == RawGuard::Require {
                            return Err(InstallError::RawGuard(why));
                        }
                        attempt.guard = false;
                        no_guard = Some(why);
                    } else if attempt.extras.ct_timeout && matches!(refused.what, What::Object(_)) && lacks {
                        attempt.extras.ct_timeout = false;
                        missing.push(Missing::ConntrackTimeout);
                    } else {
                        return Err(InstallError::Refused { what: refused.what.to_string(), source: refused.source });
                    }
                }
            }
        }
    }

    fn attempt(&mut self, ruleset: &Ruleset, wanted: &[Lease], attempt: &Attempt) -> Result<Installed, Failure> {
        let stood = self.seen().map_err(Failure::read)?;
        let table_stood = stood.is_some();
        let seen = stood.unwrap_or_default();
        let plan = Plan::new(ruleset, attempt.extras).map_err(|why| Failure::Final(InstallError::Invalid(why)))?;
        let flags = attempt.claim.then_some(TableFlags::OwnerPersist);

        // Batches of their own, not the one that commits use again: a large ruleset's memory is given back.
        let mut batch = Batch::new();
        batch.table(&self.inet, flags);
        self.stage(&mut batch, &plan, &seen);
        self.send(&mut batch)?;

        let mut batch = Batch::new();
        if table_stood {
            self.clear(&mut batch, &plan, &seen);
        }
        self.fill(&mut batch, &plan, &seen);
        let tally = self.leases(&mut batch, &plan, &seen, wanted).map_err(Failure::read)?;
        let raw_guard = self.raw_guard(&mut batch, ruleset, attempt, flags)?;
        self.send(&mut batch)?;
        self.in_use =
            Some(plan.sets.iter().map(|planned| &planned.set.name).chain(plan.chains.iter().map(|chain| &chain.name)).cloned().collect());
        self.leased.replace(ruleset.openings.iter().filter(|opening| opening.leased).map(|opening| opening.key.as_str()));
        self.guarded = matches!(raw_guard, RawGuardState::Standing(_));
        let Tally { kept, added, removed } = tally;
        Ok(Installed { raw_guard, missing: Vec::new(), table_stood, kept, added, removed })
    }

    fn send(&mut self, batch: &mut Batch) -> Result<(), Failure> {
        match self.netlink.commit(batch) {
            Ok(()) => Ok(()),
            Err(SendError::Refused(refused)) => Err(Failure::Refused(refused)),
            Err(SendError::Lost(Lost(error))) => Err(Failure::Final(InstallError::Unknown(error))),
        }
    }

    /// Makes what no packet sees yet: sets, chains without rules, objects. And takes away what only rules of two installations ago could
    /// see; in a table that another process left, that is not known, and nothing is taken away.
    fn stage(&self, batch: &mut Batch, plan: &Plan, seen: &Seen) {
        let lingers = |name: &Ident| self.in_use.as_ref().is_none_or(|in_use| in_use.contains(name));
        for set in sorted(seen) {
            if intervals(set) && !planned_set(plan, &set.name) && !lingers(&set.name) {
                take_away(batch, &self.inet, set);
            }
        }
        for chain in &seen.chains {
            if of_a_port(chain) && !planned_chain(plan, chain) && !lingers(&chain.name) {
                batch.delete_chain(&self.inet, &chain.name);
            }
        }
        for object in &plan.objects {
            batch.object(&self.inet, object);
        }
        for chain in plan.chains.iter().filter(|chain| chain.hook.is_none()) {
            batch.chain(&self.inet, chain);
        }
        for planned in &plan.sets {
            let stands = seen.sets.get(&planned.set.name);
            if stands.is_none_or(|set| fits(&planned.set, set) && set.size != planned.set.size) {
                self.make(batch, &planned.set, stands.is_none());
            }
            if let (None, Content::Intervals(elements)) = (stands, &planned.content) {
                batch.elements(&self.inet, &planned.set.name, elements);
            }
        }
    }

    /// Takes away what stands and does not belong: all rules, what the map of live rules holds, sets and chains that are not planned. Interval
    /// sets and the chains of ports stay until the next installation: packets that are under way keep to the old rules.
    fn clear(&self, batch: &mut Batch, plan: &Plan, seen: &Seen) {
        batch.flush_rules(&self.inet);
        for set in sorted(seen) {
            let planned = plan.sets.iter().find(|planned| planned.set.name == set.name);
            match planned {
                Some(planned) if fits(&planned.set, set) => {
                    if matches!(planned.content, Content::Fixed(_)) {
                        batch.flush_set(&self.inet, &set.name);
                    }
                }
                Some(_) => take_away(batch, &self.inet, set),
                None if intervals(set) => {}
                None => take_away(batch, &self.inet, set),
            }
        }
        for chain in &seen.chains {
            if !planned_chain(plan, chain) && !of_a_port(chain) {
                batch.delete_chain(&self.inet, &chain.name);
            }
        }
    }

    /// What packets see: base chains, rules, the map of live rules.
    fn fill(&self, batch: &mut Batch, plan: &Plan, seen: &Seen) {
        for planned in &plan.sets {
            if seen.sets.get(&planned.set.name).is_some_and(|set| !fits(&planned.set, set)) {
                self.make(batch, &planned.set, true);
            }
            if let Content::Fixed(elements) = &planned.content {
                batch.elements(&self.inet, &planned.set.name, elements);
            }
        }
        for chain in plan.chains.iter().filter(|chain| chain.hook.is_some()) {
            batch.chain(&self.inet, chain);
        }
        for rule in &plan.rules {
            batch.rule(&self.inet, rule);
        }
    }

    fn leases(&mut self, batch: &mut Batch, plan: &Plan, seen: &Seen, wanted: &[Lease]) -> Result<Tally, ReadError> {
        let mut by_set: HashMap<Ident, HashMap<IpAddr, (&str, Duration)>> = HashMap::new();
        for lease in wanted.iter().filter(|lease| !lease.left.is_zero()) {
            let set = LeaseSets::of(&lease.key).get(lease.address).clone();
            let longest = by_set.entry(set).or_default().entry(lease.address).or_insert((&lease.name, lease.left));
            if longest.1 < lease.left {
                *longest = (&lease.name, lease.left);
            }
        }
        let mut tally = Tally::default();
        for planned in &plan.sets {
            let Content::Leases { family, .. } = &planned.content else { continue };
            let name = &planned.set.name;
            let mut wanted = by_set.remove(name).unwrap_or_default();
            let standing = match seen.sets.get(name) {
                Some(set) if set.flags == planned.set.flags.0 => self.elements_of(name)?,
                _ => Vec::new(),
            };
            let mut gone: Vec<Element> = Vec::new();
            let mut again: Vec<Element> = Vec::new();
            for element in standing {
                let Some(address) = leases::address(&element.key, *family) else { continue };
                let left = leases::left(&element);
                match wanted.get(&address) {
                    None => gone.push(leases::bare(address)),
                    Some((name, time)) if left.abs_diff(*time) < LEASE_TOLERANCE && leases::name(&element.user_data) == *name => {
                        wanted.remove(&address);
                        tally.kept += 1;
                    }
                    Some(_) => again.push(leases::bare(address)),
                }
            }
            let mut added: Vec<Element> =
                wanted.into_iter().filter_map(|(address, (name, left))| leases::element(address, name, left).ok()).collect();
            added.sort_by(|one, other| one.key.cmp(&other.key));
            tally.added += added.len();
            tally.removed += gone.len();
            batch.delete_elements(&self.inet, name, &gone);
            if !again.is_empty() {
                let keys: HashSet<&[u8]> = again.iter().map(|element| element.key.as_slice()).collect();
                let first: Vec<Element> = added.iter().filter(|element| keys.contains(element.key.as_slice())).cloned().collect();
                batch.elements(&self.inet, name, &first);
                batch.delete_elements(&self.inet, name, &again);
            }
            batch.elements(&self.inet, name, &added);
        }
        Ok(tally)
    }

    fn raw_guard(
        &mut self,
        batch: &mut Batch,
        ruleset: &Ruleset,
        attempt: &Attempt,
        flags: Option<TableFlags>,
    ) -> Result<RawGuardState, Failure> {
        let standing = self.netdev_chains().map_err(Failure::read)?;
        if !attempt.guard {
            if standing.is_some() && ruleset.raw_guard == RawGuard::Off {
                batch.delete_table(&self.netdev);
            }
            return Ok(RawGuardState::Off);
        }
        let unlisted = |error| Failure::Final(InstallError::RawGuard(RawGuardMissing::NoDeviceList(error)));
        let present = devices::present().map_err(unlisted)?;
        let chains = standing.clone().unwrap_or_default();
        let mut taken: BTreeSet<Ident> = chains.iter().map(|chain| chain.name.clone()).collect();
        let (counter, frames, rules) = raw_guard::shared(ruleset.posture);
        batch.table(&self.netdev, flags);
        if standing.is_some() {
            batch.flush_rules(&self.netdev);
        }
        batch.object(&self.netdev, &counter);
        batch.chain(&self.netdev, &frames);
        for rule in &rules {
            batch.rule(&self.netdev, rule);
        }
        // Also where the device is away: newer kernels bind the chain again when one of that name comes back.
        for chain in &chains {
            if let Some(device) = &chain.device {
                batch.rule(&self.netdev, &raw_guard::device(&chain.name, device).1);
            }
        }
        let before = devices::guarded(&chains);
        let mut devices = Devices::default();
        for device in present {
            if !before.contains(&device) {
                devices::guard(batch, &self.netdev, &device, &mut taken);
                devices.added.push(device.clone());
            }
            devices.guarded.push(device);
        }
        Ok(RawGuardState::Standing(devices))
    }
}

/// Why an attempt failed.
enum Failure {
    Refused(Refused),
    Final(InstallError),
}

impl Failure {
    fn read(error: ReadError) -> Self {
        Self::Final(InstallError::Read(error))
    }
}

fn sorted(seen: &Seen) -> Vec<&SetSeen> {
    let mut sets: Vec<&SetSeen> = seen.sets.values().collect();
    sets.sort_by(|one, other| one.name.cmp(&other.name));
    sets
}

/// A map's elements hold chains in use: they go first.
fn take_away(batch: &mut Batch, table: &Table, set: &SetSeen) {
    if set.flags & SetFlags::MAP != 0 {
        batch.flush_set(table, &set.name);
    }
    batch.delete_set(table, &set.name);
}

const fn intervals(set: &SetSeen) -> bool {
    set.flags & SetFlags::INTERVAL != 0
}

/// Whether the set can become the planned one; else it is of an older make.
const fn fits(planned: &Set, seen: &SetSeen) -> bool {
    planned.flags.0 == seen.flags && planned.key.nft_type() == seen.key_type && planned.key.len() == seen.key_len
}

fn planned_set(plan: &Plan, name: &Ident) -> bool {
    plan.sets.iter().any(|planned| planned.set.name == *name)
}

fn planned_chain(plan: &Plan, chain: &ChainSeen) -> bool {
    plan.chains.iter().any(|planned| planned.name == chain.name && planned.hook.is_some() == chain.hooked)
}

/// Whether a map from ports leads to the chain.
fn of_a_port(chain: &ChainSeen) -> bool {
    let name = chain.name.as_str();
    let ports = name.strip_prefix("tcp_").or_else(|| name.strip_prefix("udp_"));
    ports.is_some_and(|ports| ports.starts_with(|c: char| c.is_ascii_digit()))
}
