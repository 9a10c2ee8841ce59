//! The whole table as values, in the order in which the kernel wants it.

use std::{collections::HashSet, net::IpAddr, time::Duration};

use ipnet::IpNet;

use super::{
    Ruleset, dispatch, dns, egress, guards,
    line::{Ip, L4},
    names::{self, Names},
    openings, ranges,
};
use crate::sys::{Chain, Element, Hook, HookKind, Ident, Object, Policy, Rule, Set, SetFlags, SetKey, UserData, Verdict};

/// Our own entries in user data: nft skips kinds that it does not know.
pub(crate) const UDATA_RECORD: u8 = 0x70;
/// The opening's key, of a set or of a chain.
pub(crate) const UDATA_KEY: u8 = 0x71;
/// A name that is too long for a comment.
pub(crate) const UDATA_NAME: u8 = 0x72;
/// A name that leaves no room for anything else: the whole user data but this byte.
pub(crate) const UDATA_LONG_NAME: u8 = 0x73;

/// The longest key: with the record it leaves room for a comment of 38 bytes.
pub(crate) const MAX_KEY: usize = 200;

/// How long an address counts as in use after a packet: 90 s.
const USED_MS: u64 = 90_000;

/// The ids that hold; emptied and filled at every installation.
pub(crate) const LIVE_RULES: &str = "live_rules";
/// Counters.
pub(crate) const DENIED: &str = "denied";
pub(crate) const SPOOFED: &str = "spoofed";
pub(crate) const PERMITTED: &str = "permitted";
pub(crate) const INBOUND: &str = "inbound";
/// Uids that guessed at the proxy's mark a moment ago.
pub(crate) const GUESSED: &str = "guessed";
/// Connection entries of redirected questions live a few seconds.
pub(crate) const DNS_UDP: &str = "dns_udp";
pub(crate) const DNS_TCP: &str = "dns_tcp";
/// Entries of TCP connections end half a minute after them, not two: what is told of an end comes sooner, and thousands of short
/// connections a second do not fill the table. A last segment that is lost is sent again sooner than that.
pub(crate) const FLOW_TCP: &str = "flow_tcp";

/// What a set holds, and who changes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// Leases: kept over an installation.
    Leases { key: String, family: Ip },
    /// Written by the packet path.
    Used { key: String, family: Ip },
    /// Written by the packet path, and of no opening.
    Noted,
    /// Said by the ruleset: emptied and filled. No intervals.
    Fixed(Vec<Element>),
    /// Said by the ruleset, named by what it holds, and so never changed.
    Intervals(Vec<Element>),
}

/// A set and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PlannedSet {
    pub(crate) set: Set,
    pub(crate) content: Content,
}

/// The table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    pub(crate) objects: Vec<Object>,
    pub(crate) sets: Vec<PlannedSet>,
    pub(crate) chains: Vec<Chain>,
    pub(crate) rules: Vec<Rule>,
}

/// Parts that a kernel may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Extras {
    pub(crate) ct_timeout: bool,
}

/// The names of the maps from ports to chains.
#[derive(Debug, Clone)]
pub(crate) struct Maps {
    pub(crate) tcp: Ident,
    pub(crate) udp: Ident,
}

impl Plan {
    /// `Err`: why the ruleset contradicts itself.
    pub(crate) fn new(ruleset: &Ruleset, extras: Extras) -> Result<Self, String> {
        check(ruleset)?;
        let mut plan = Self::default();
        plan.objects(extras);
        let live = SetFlags(SetFlags::MAP);
        plan.set(LIVE_RULES.into(), SetKey::Mark, live, Content::Fixed(openings::live_rules(ruleset)));
        let tcp = dispatch::blocks(ruleset.openings.iter().map(|opening| opening.ports.tcp()));
        let udp = dispatch::blocks(ruleset.openings.iter().map(|opening| opening.ports.udp()));
        let mut ports =
            |name, blocks: &[dispatch::Block], protocol| plan.intervals(name, SetKey::Port, SetFlags::MAP, dispatch::map(blocks, protocol));
        let maps = Maps { tcp: ports("tcp_ports", &tcp, "tcp"), udp: ports("udp_ports", &udp, "udp") };
        guards::chains(&mut plan, &ruleset.proxy, ruleset.log, extras);
        guards::identity(&mut plan, &ruleset.proxy);
        dns::chain(&mut plan, &ruleset.proxy);
        egress::chain(&mut plan, ruleset, extras, &maps);
        for opening in &ruleset.openings {
            openings::sets(&mut plan, opening, ruleset.sizes);
            openings::flow(&mut plan, opening);
            openings::begin(&mut plan, opening, ruleset.log, extras);
        }
        openings::kept(&mut plan);
        openings::ports(&mut plan, L4::Tcp, &tcp, &ruleset.openings);
        openings::ports(&mut plan, L4::Udp, &udp, &ruleset.openings);
        openings::echo(&mut plan, &ruleset.openings);
        guards::tell(&mut plan, ruleset.log, ruleset.posture, extras);
        guards::forward(&mut plan, ruleset.log, ruleset.posture);
        guards::accounting(&mut plan);
        // The kernel finds a set by walking over the table's sets in the order of their making, some 10 ns each: what every lease names
        // comes first.
        plan.sets.sort_by_key(|planned| match planned.content {
            Content::Leases { family: Ip::V4, .. } => 0,
            Content::Leases { family: Ip::V6, .. } => 1,
            _ => 2,
        });
        Ok(plan)
    }

    fn objects(&mut self, extras: Extras) {
        for counter in [DENIED, SPOOFED, PERMITTED, INBOUND] {
            self.objects.push(Object::Counter(Ident::new(counter)));
        }
        if extras.ct_timeout {
            // In libnftnl's order. The entry of a question must be there when its answer comes, or the app gets it from an address that it
            // did not ask: the proxy takes up to 4.5 s, stub resolvers wait for 5. For TCP only what follows the exchange is shortened.
            let udp = [6, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            let tcp = [10, 10, 60, 10, 10, 5, 2, 2, 10, 10, 10];
            self.objects.push(Object::CtTimeout { name: Ident::new(DNS_UDP), protocol: L4::Udp as u8, states: udp });
            self.objects.push(Object::CtTimeout { name: Ident::new(DNS_TCP), protocol: L4::Tcp as u8, states: tcp });
            // The kernel's defaults (tcp_timeouts of nf_conntrack_proto_tcp.c) but for time-wait: a state that is left out would be one of 0 s.
            let flow = [120, 60, 432_000, 120, 60, 30, 30, 10, 120, 300, 300];
            self.objects.push(Object::CtTimeout { name: Ident::new(FLOW_TCP), protocol: L4::Tcp as u8, states: flow });
        }
    }

    fn set(&mut self, name: Ident, key: SetKey, flags: SetFlags, content: Content) {
        let set = Set { name, key, flags, size: 0, timeout: 0, user_data: UserData::default() };
        self.sets.push(PlannedSet { set, content });
    }

    /// An interval set or map, named by what it holds: what changes gets another name, and what stands under this name is right.
    ///
    /// Such a set cannot be changed while packets look into it: where elements of both generations lie side by side a look-up misses, and a
    /// set that is filled in the batch that begins to use it is still empty for the first packets (both seen on 6.18, on the wire). So
    /// it is made and filled in a batch before, and the one before it stays until the rules that look into it are long gone.
    fn intervals(&mut self, stem: &str, key: SetKey, flags: u32, elements: Vec<Element>) -> Ident {
        let mut bytes = Vec::new();
        for element in &elements {
            bytes.extend(&element.key);
            bytes.push(u8::from(element.interval_end));
            if let Some(Verdict::Goto(chain)) = &element.verdict {
                bytes.extend(chain.as_str().as_bytes());
            }
            bytes.push(0);
        }
        let digest = names::digest(&bytes);
        let name = Ident::new(&format!("{stem}_{:016x}", (digest ^ (digest >> 64)) & u128::from(u64::MAX)));
        if self.sets.iter().all(|planned| planned.set.name != name) {
            self.set(name.clone(), key, SetFlags(flags | SetFlags::INTERVAL), Content::Intervals(elements));
        }
        name
    }

    /// The set of these ranges; `None` if none of them is of the family.
    pub(crate) fn ranges<'a>(&mut self, stem: &str, family: Ip, nets: impl IntoIterator<Item = &'a IpNet>) -> Option<Ident> {
        let elements = ranges::elements(nets, family);
        let key = if family == Ip::V4 { SetKey::Ipv4 } else { SetKey::Ipv6 };
        (!elements.is_empty()).then(|| self.intervals(stem, key, 0, elements))
    }

    /// The leases of one opening and family, and the note of those in use.
    pub(crate) fn leases(&mut self, key: &str, family: Ip, sizes: super::Sizes) {
        let names = Names::of(key);
        let mut user_data = UserData::default();
        user_data.put(UDATA_KEY, key.as_bytes());
        let set = |name, flags, size, timeout| Set {
            name,
            key: if family == Ip::V4 { SetKey::Ipv4 } else { SetKey::Ipv6 },
            flags: SetFlags(flags),
            size,
            timeout,
            user_data: user_data.clone(),
        };
        let leases = set(names.leases(family), SetFlags::TIMEOUT, sizes.leases, 0);
        let used = set(names.used(family), SetFlags::TIMEOUT | SetFlags::DYNAMIC, sizes.used, USED_MS);
        self.sets.push(PlannedSet { set: leases, content: Content::Leases { key: key.to_owned(), family } });
        self.sets.push(PlannedSet { set: used, content: Content::Used { key: key.to_owned(), family } });
    }

    /// A set that rules write keys into, each for a time.
    pub(crate) fn noted(&mut self, name: &str, key: SetKey, timeout: Duration) {
        let flags = SetFlags(SetFlags::TIMEOUT | SetFlags::DYNAMIC);
        let timeout = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        // Ended elements count for up to a second: room for some.
        let set = Set { name: Ident::new(name), key, flags, size: 16, timeout, user_data: UserData::default() };
        self.sets.push(PlannedSet { set, content: Content::Noted });
    }

    /// A chain that others go to.
    pub(crate) fn regular(&mut self, name: impl AsRef<str>) {
        self.chains.push(Chain { name: Ident::new(name.as_ref()), hook: None });
    }

    /// A base chain.
    pub(crate) fn base(&mut self, name: &str, kind: HookKind, number: u32, priority: i32, policy: Policy) {
        let hook = Hook { kind, number, priority, policy, device: None };
        self.chains.push(Chain { name: Ident::new(name), hook: Some(hook) });
    }

    pub(crate) fn rule(&mut self, rule: Rule) {
        self.rules.push(rule);
    }
}

/// The key of a set or a map entry for an address.
pub(crate) fn address_key(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn check(ruleset: &Ruleset) -> Result<(), String> {
    let mut ids = HashSet::new();
    let mut stems = HashSet::new();
    for opening in &ruleset.openings {
        if opening.key.is_empty() || opening.key.len() > MAX_KEY {
            return Err(format!("an opening's key has {} bytes (hint: 1 to {MAX_KEY})", opening.key.len()));
        }
        if !ids.insert(opening.id) {
            return Err(format!("two openings have the id {}", opening.id));
        }
        if !stems.insert(Names::of(&opening.key).flow()) {
            return Err(format!("two openings have the key {}", opening.key));
        }
    }
    if let Some(both) = ruleset.retained.iter().find(|id| ids.contains(id)) {
        return Err(format!("{both} is an opening's id and retained as well"));
    }
    if ruleset.proxy.port == 0 {
        return Err("the proxy's port is 0".to_owned());
    }
    Ok(())
}
