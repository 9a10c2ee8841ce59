//! The kernel as the database: what a process before this one left.

use std::{collections::BTreeSet, io, net::IpAddr, sync::Arc};

use super::{CountError, Firewall, Lease, OpeningHandle, ReadError, leases};
use crate::{
    RuleId,
    ruleset::{DENIED, INBOUND, Ip, LIVE_RULES, Names, PERMITTED, SPOOFED, UDATA_KEY, parse_record, raw_guard::RAW},
    sys::{Ident, SetFlags, SetSeen, UserData},
};

/// What stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadBack {
    /// Whether our table stands at all.
    pub table_exists: bool,
    /// The openings with their ids, in order of their ids.
    pub openings: Vec<Standing>,
    /// Ids that hold without an opening (`revoke = "new"`), in order.
    pub retained: Vec<RuleId>,
    /// The leases that are live.
    pub leases: Vec<Lease>,
}

/// An opening as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its key.
    pub key: String,
    /// The id its flows carry.
    pub id: RuleId,
    /// The fingerprint that [`crate::Opening`] gave.
    pub fingerprint: u64,
}

/// An address that packets went to within the last 90 s.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct InUse {
    /// The opening's key.
    pub key: Arc<str>,
    /// The address.
    pub address: IpAddr,
}

/// A counter of the ruleset's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    /// Packets since the table was made.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Every counter of the ruleset's: what was seen, whether or not it was told. They survive reloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Packets that nothing opens.
    pub denied: Counted,
    /// First packets of permitted flows.
    pub permitted: Counted,
    /// First packets of flows that came in.
    pub inbound: Counted,
    /// Packets that speak for others, and guesses at the proxy's identity.
    pub spoofed: Counted,
    /// Frames that no chain of the IP stack saw; none where the raw guard does not stand.
    pub raw: Counted,
}

/// The opening's key and the family, if the set holds leases.
pub(super) fn lease_set(set: &SetSeen) -> Option<(String, Ip)> {
    if set.flags & SetFlags::TIMEOUT == 0 || set.flags & SetFlags::DYNAMIC != 0 {
        return None;
    }
    let key = String::from_utf8(UserData::find(&set.user_data, UDATA_KEY)?.to_vec()).ok()?;
    Some((key, if set.key_len == 4 { Ip::V4 } else { Ip::V6 }))
}

impl Firewall {
    /// Reads the standing openings and leases. An absent table is not an error. From here on, and until the next installation, leases can be
    /// committed to the openings found.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read_back(&mut self) -> Result<ReadBack, ReadError> {
        let Some(seen) = self.seen()? else { return Ok(ReadBack::default()) };
        let mut back = ReadBack { table_exists: true, ..ReadBack::default() };
        let live_rules = Ident::new(LIVE_RULES);
        if seen.sets.contains_key(&live_rules) {
            for element in self.elements_of(&live_rules)? {
                let mark = <[u8; 4]>::try_from(element.key.as_slice()).map(u32::from_ne_bytes);
                let Some(id) = mark.ok().and_then(RuleId::from_ct_mark) else { continue };
                match parse_record(&element.user_data) {
                    Some((fingerprint, key)) => back.openings.push(Standing { key, id, fingerprint }),
                    None => back.retained.push(id),
                }
            }
        }
        back.openings.sort_by_key(|opening| opening.id);
        back.retained.sort_unstable();
        let mut keys = BTreeSet::new();
        for set in seen.sets.values() {
            let Some((key, family)) = lease_set(set) else { continue };
            for element in self.elements_of(&set.name)? {
                let Some(address) = leases::address(&element.key, family) else { continue };
                let (name, left) = (leases::name(&element.user_data), leases::left(&element));
                back.leases.push(Lease { key: key.clone(), address, name, left });
            }
            keys.insert(key);
        }
        self.leased.replace(keys.iter().map(String::as_str));
        back.leases.sort_by(|one, other| (&one.key, one.address).cmp(&(&other.key, other.address)));
        Ok(back)
    }

    /// The leased addresses that packets went to within the last 90 s, of all openings: two dumps for each. Who knows which openings have
    /// leases asks for those alone ([`Firewall::in_use_of`]).
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn in_use(&mut self) -> Result<Vec<InUse>, ReadError> {
        let keys: Vec<Arc<str>> = self.leased.keys().cloned().collect();
        self.noted(keys)
    }

    /// As [`Firewall::in_use`], for some openings only; a key that takes no leases has none in use.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn in_use_of<'a>(&mut self, keys: impl IntoIterator<Item = &'a str>) -> Result<Vec<InUse>, ReadError> {
        let asked: BTreeSet<&str> = keys.into_iter().collect();
        let known = asked.into_iter().filter_map(|key| self.leased.key(self.leased.handle(key)?).cloned()).collect();
        self.noted(known)
    }

    /// Whether packets went to this one leased address within the last 90 s; what it costs does not grow with the leases.
    /// Of a stale handle, and without a table, nothing is in use.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn is_in_use(&mut self, opening: OpeningHandle, address: IpAddr) -> Result<bool, ReadError> {
        let Some(key) = self.leased.key(opening) else { return Ok(false) };
        let set = Names::of(key).used(Ip::of(address));
        let found = self.netlink.has_element(&self.inet, &set, address);
        found.map_err(|source| ReadError::Refused { what: format!("set {set}"), source })
    }

    fn noted(&mut self, keys: Vec<Arc<str>>) -> Result<Vec<InUse>, ReadError> {
        let mut found = Vec::new();
        for key in keys {
            for family in Ip::BOTH {
                let elements = self.elements_of(&Names::of(&key).used(family))?;
                let addresses = elements.iter().filter_map(|element| leases::address(&element.key, family));
                found.extend(addresses.map(|address| InUse { key: key.clone(), address }));
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Reads the counter of denied packets; it survives reloads.
    ///
    /// # Errors
    /// [`CountError`].
    pub fn denied(&mut self) -> Result<Counted, CountError> {
        self.counted(DENIED)
    }

    /// Reads every counter; not at one instant.
    ///
    /// # Errors
    /// [`CountError`].
    pub fn counters(&mut self) -> Result<Counters, CountError> {
        let raw = self.netlink.counter(&self.netdev, &Ident::new(RAW)).ok().flatten();
        Ok(Counters {
            denied: self.counted(DENIED)?,
            permitted: self.counted(PERMITTED)?,
            inbound: self.counted(INBOUND)?,
            spoofed: self.counted(SPOOFED)?,
            raw: raw.map_or_else(Counted::default, |(packets, bytes)| Counted { packets, bytes }),
        })
    }

    fn counted(&mut self, name: &str) -> Result<Counted, CountError> {
        match self.netlink.counter(&self.inet, &Ident::new(name)) {
            Ok(Some((packets, bytes))) => Ok(Counted { packets, bytes }),
            Ok(None) => Err(CountError::TableVanished),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(CountError::TableVanished),
            Err(error) => Err(CountError::Refused(error)),
        }
    }
}
