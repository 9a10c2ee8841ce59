//! Rules written as nft writes them: one method a word, and the dependencies (family, protocol) that nft adds by itself.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::{
    PortRange,
    sys::{Cmp, CtKey, Element, Expr, Ident, MetaKey, PayloadBase, Rule, SetKey, UserData},
};

mod ending;

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ip {
    V4,
    V6,
}

impl Ip {
    pub(crate) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub(crate) const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    const fn nfproto(self) -> u8 {
        match self {
            Self::V4 => 2,
            Self::V6 => 10,
        }
    }

    /// Offsets of source and destination, and their length.
    const fn layout(self) -> (u32, u32, u32) {
        match self {
            Self::V4 => (12, 16, 4),
            Self::V6 => (8, 24, 16),
        }
    }
}

/// A layer 4 protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum L4 {
    Icmp = 1,
    Igmp = 2,
    Tcp = 6,
    Udp = 17,
    Icmpv6 = 58,
}

/// Bits of `ct state`.
pub(crate) const ESTABLISHED: u32 = 2;
pub(crate) const RELATED: u32 = 4;
pub(crate) const NEW: u32 = 8;

/// The half of a ct mark that is ours.
pub(crate) const OURS: u32 = 0xffff_0000;

/// A rule that is being written.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    chain: Ident,
    exprs: Vec<Expr>,
    family: Option<Ip>,
    l4: Option<L4>,
    user_data: UserData,
}

/// Starts a rule of a chain.
pub(crate) fn line(chain: &str) -> Line {
    Line { chain: Ident::new(chain), exprs: Vec::new(), family: None, l4: None, user_data: UserData::default() }
}

impl Line {
    fn push(mut self, expr: Expr) -> Self {
        self.exprs.push(expr);
        self
    }

    fn meta(self, key: MetaKey, op: Cmp, value: u32) -> Self {
        self.push(Expr::MetaLoad(key)).push(Expr::Cmp(op, value.to_ne_bytes().to_vec()))
    }

    /// `oif lo`: the loopback device has index 1 in every network namespace.
    pub(crate) fn oif_lo(self) -> Self {
        self.meta(MetaKey::Oif, Cmp::Eq, 1)
    }

    /// `iif lo`
    pub(crate) fn iif_lo(self) -> Self {
        self.meta(MetaKey::Iif, Cmp::Eq, 1)
    }

    /// `iif != lo`
    pub(crate) fn iif_not_lo(self) -> Self {
        self.meta(MetaKey::Iif, Cmp::Neq, 1)
    }

    /// `KEY 0-4294967295`: whatever the value is, there is one.
    fn exists(self, key: MetaKey) -> Self {
        self.push(Expr::MetaLoad(key)).push(Expr::ByteOrder).push(Expr::Cmp(Cmp::Gte, vec![0; 4])).push(Expr::Cmp(Cmp::Lte, vec![0xff; 4]))
    }

    /// `meta skuid 0-4294967295`: a socket made it.
    pub(crate) fn made_by_a_socket(self) -> Self {
        self.exists(MetaKey::SkUid)
    }

    /// `meta rtclassid 0-4294967295`: it has a route.
    pub(crate) fn has_a_route(self) -> Self {
        self.exists(MetaKey::RtClassId)
    }

    /// `meta skuid UID`
    pub(crate) fn skuid(self, uid: u32) -> Self {
        self.meta(MetaKey::SkUid, Cmp::Eq, uid)
    }

    /// `update @SET { meta skuid }`
    pub(crate) fn note_skuid(self, set: &str) -> Self {
        self.push(Expr::MetaLoad(MetaKey::SkUid)).push(Expr::Update { set: Ident::new(set) })
    }

    /// `meta skuid @SET`
    pub(crate) fn skuid_in(self, set: &str) -> Self {
        self.push(Expr::MetaLoad(MetaKey::SkUid)).push(Expr::Lookup { set: Ident::new(set) })
    }

    /// `meta mark != MARK`
    pub(crate) fn mark_is_not(self, mark: u32) -> Self {
        self.meta(MetaKey::Mark, Cmp::Neq, mark)
    }

    /// `meta mark MARK`
    pub(crate) fn mark(self, mark: u32) -> Self {
        self.meta(MetaKey::Mark, Cmp::Eq, mark)
    }

    /// `meta priority PRIORITY`
    pub(crate) fn priority(self, priority: u32) -> Self {
        self.meta(MetaKey::Priority, Cmp::Eq, priority)
    }

    /// `meta mark set 0 meta priority set 0`: a tap (AF_PACKET) reads both from every packet that leaves.
    pub(crate) fn forget_identity(self) -> Self {
        let zero = |line: Self, key| line.push(Expr::ImmediateZero).push(Expr::MetaSet(key));
        zero(zero(self, MetaKey::Mark), MetaKey::Priority)
    }

    fn family(mut self, family: Ip) -> Self {
        if self.family == Some(family) {
            return self;
        }
        self.family = Some(family);
        self.push(Expr::MetaLoad(MetaKey::NfProto)).push(Expr::Cmp(Cmp::Eq, vec![family.nfproto()]))
    }

    /// `meta l4proto PROTOCOL`
    pub(crate) fn l4(mut self, protocol: L4) -> Self {
        if self.l4 == Some(protocol) {
            return self;
        }
        self.l4 = Some(protocol);
        self.push(Expr::MetaLoad(MetaKey::L4Proto)).push(Expr::Cmp(Cmp::Eq, vec![protocol as u8]))
    }

    fn load_address(self, family: Ip, source: bool) -> Self {
        let (from, to, len) = family.layout();
        let offset = if source { from } else { to };
        self.family(family).push(Expr::Payload { base: PayloadBase::Network, offset, len })
    }

    fn address(self, net: IpNet, source: bool) -> Self {
        let loaded = self.load_address(Ip::of(net.addr()), source);
        let (address, mask) = match net {
            IpNet::V4(net) => (net.network().octets().to_vec(), net.netmask().octets().to_vec()),
            IpNet::V6(net) => (net.network().octets().to_vec(), net.netmask().octets().to_vec()),
        };
        let masked = if net.prefix_len() == net.max_prefix_len() {
            loaded
        } else {
            let xor = vec![0; mask.len()];
            loaded.push(Expr::Bitwise { mask, xor })
        };
        masked.push(Expr::Cmp(Cmp::Eq, address))
    }

    /// `ip daddr NET` or `ip6 daddr NET`
    pub(crate) fn daddr(self, net: impl Into<IpNet>) -> Self {
        self.address(net.into(), false)
    }

    /// `ip saddr NET` or `ip6 saddr NET`
    pub(crate) fn saddr(self, net: impl Into<IpNet>) -> Self {
        self.address(net.into(), true)
    }

    /// `ip daddr @SET` or `ip6 daddr @SET`
    pub(crate) fn daddr_in(self, family: Ip, set: &Ident) -> Self {
        self.load_address(family, false).push(Expr::Lookup { set: set.clone() })
    }

    /// `update @SET { ip daddr }`
    pub(crate) fn update(self, family: Ip, set: &Ident) -> Self {
        self.load_address(family, false).push(Expr::Update { set: set.clone() })
    }

    fn port(self, protocol: L4, offset: u32) -> Self {
        self.l4(protocol).push(Expr::Payload { base: PayloadBase::Transport, offset, len: 2 })
    }

    /// `tcp dport PORTS` or `udp dport PORTS`
    pub(crate) fn dport(self, protocol: L4, ports: PortRange) -> Self {
        let loaded = self.port(protocol, 2);
        let (first, last) = (ports.first().to_be_bytes().to_vec(), ports.last().to_be_bytes().to_vec());
        if first == last {
            loaded.push(Expr::Cmp(Cmp::Eq, first))
        } else {
            loaded.push(Expr::Cmp(Cmp::Gte, first)).push(Expr::Cmp(Cmp::Lte, last))
        }
    }

    /// `udp sport PORT`
    pub(crate) fn udp_sport(self, port: u16) -> Self {
        self.port(L4::Udp, 0).push(Expr::Cmp(Cmp::Eq, port.to_be_bytes().to_vec()))
    }

    /// `tcp flags & (fin | syn | rst | ack) != syn`: it does not begin a connection.
    pub(crate) fn not_a_first_segment(self) -> Self {
        self.l4(L4::Tcp)
            .push(Expr::Payload { base: PayloadBase::Transport, offset: 13, len: 1 })
            .push(Expr::Bitwise { mask: vec![0x17], xor: vec![0] })
            .push(Expr::Cmp(Cmp::Neq, vec![0x02]))
    }

    /// `tcp dport vmap @MAP` or `udp dport vmap @MAP`
    pub(crate) fn dport_vmap(self, protocol: L4, map: &Ident) -> Rule {
        self.port(protocol, 2).push(Expr::VerdictMap { map: map.clone() }).end()
    }

    /// `icmp type echo-request` or `icmpv6 type echo-request`
    pub(crate) fn echo_request(self, family: Ip) -> Self {
        match family {
            Ip::V4 => self.icmp_type(family, L4::Icmp, 8),
            Ip::V6 => self.icmp_type(family, L4::Icmpv6, 128),
        }
    }

    /// `icmp type redirect`
    pub(crate) fn redirect_message(self) -> Self {
        self.icmp_type(Ip::V4, L4::Icmp, 5)
    }

    fn icmp_type(self, family: Ip, protocol: L4, kind: u8) -> Self {
        self.family(family)
            .l4(protocol)
            .push(Expr::Payload { base: PayloadBase::Transport, offset: 0, len: 1 })
            .push(Expr::Cmp(Cmp::Eq, vec![kind]))
    }

    /// `icmpv6 type { TYPES }`
    pub(crate) fn icmpv6_type_among(self, types: &[u8]) -> Self {
        let elements = types.iter().map(|kind| Element { key: vec![*kind], ..Element::default() }).collect();
        self.family(Ip::V6)
            .l4(L4::Icmpv6)
            .push(Expr::Payload { base: PayloadBase::Transport, offset: 0, len: 1 })
            .push(Expr::LookupAmong { key: SetKey::Icmpv6Type, elements })
    }

    /// `ip6 hoplimit N` or `ip ttl N`
    pub(crate) fn hop_limit(self, family: Ip, limit: u8) -> Self {
        let offset = if family == Ip::V4 { 8 } else { 7 };
        self.family(family).push(Expr::Payload { base: PayloadBase::Network, offset, len: 1 }).push(Expr::Cmp(Cmp::Eq, vec![limit]))
    }

    /// `ether type arp`
    pub(crate) fn arp(self) -> Self {
        self.push(Expr::MetaLoad(MetaKey::IifType))
            .push(Expr::Cmp(Cmp::Eq, 1_u16.to_ne_bytes().to_vec()))
            .push(Expr::Payload { base: PayloadBase::Link, offset: 12, len: 2 })
            .push(Expr::Cmp(Cmp::Eq, 0x0806_u16.to_be_bytes().to_vec()))
    }

    /// `ip hdrlength != 5`: it has options.
    pub(crate) fn has_options(self) -> Self {
        self.family(Ip::V4)
            .push(Expr::Payload { base: PayloadBase::Network, offset: 0, len: 1 })
            .push(Expr::Bitwise { mask: vec![0x0f], xor: vec![0] })
            .push(Expr::Cmp(Cmp::Neq, vec![5]))
    }

    /// `exthdr rt exists`: it has a routing header.
    pub(crate) fn has_routing_header(self) -> Self {
        self.family(Ip::V6).push(Expr::HasExtension(43)).push(Expr::Cmp(Cmp::Eq, vec![1]))
    }

    fn ct_bits(self, key: CtKey, bits: u32) -> Self {
        self.push(Expr::CtLoad(key))
            .push(Expr::Bitwise { mask: bits.to_ne_bytes().to_vec(), xor: vec![0; 4] })
            .push(Expr::Cmp(Cmp::Neq, vec![0; 4]))
    }

    /// `ct state STATE`
    pub(crate) fn ct_state(self, state: u32) -> Self {
        self.ct_bits(CtKey::State, state)
    }

    /// `ct status dnat`
    pub(crate) fn ct_status_dnat(self) -> Self {
        self.ct_bits(CtKey::Status, 0x20)
    }

    /// `ct direction original`
    pub(crate) fn original(self) -> Self {
        self.push(Expr::CtLoad(CtKey::Direction)).push(Expr::Cmp(Cmp::Eq, vec![0]))
    }

    /// `ct direction reply`
    pub(crate) fn reply(self) -> Self {
        self.push(Expr::CtLoad(CtKey::Direction)).push(Expr::Cmp(Cmp::Eq, vec![1]))
    }

    fn our_ct_mark(self) -> Self {
        self.push(Expr::CtLoad(CtKey::Mark)).push(Expr::Bitwise { mask: OURS.to_ne_bytes().to_vec(), xor: vec![0; 4] })
    }

    /// `ct mark and 0xffff0000 == MARK`
    pub(crate) fn ct_mark(self, mark: u32) -> Self {
        self.our_ct_mark().push(Expr::Cmp(Cmp::Eq, mark.to_ne_bytes().to_vec()))
    }

    /// `ct bytes 0`: of both directions.
    pub(crate) fn ct_bytes_none(self) -> Self {
        self.push(Expr::CtLoad(CtKey::Bytes)).push(Expr::Cmp(Cmp::Eq, vec![0; 8]))
    }

    /// `ct mark and 0xffff0000 vmap @MAP`
    pub(crate) fn ct_mark_vmap(self, map: &str) -> Rule {
        self.our_ct_mark().push(Expr::VerdictMap { map: Ident::new(map) }).end()
    }

    /// `ct mark set ct mark and 0x0000ffff or MARK`
    pub(crate) fn set_ct_mark(self, mark: u32) -> Self {
        self.push(Expr::CtLoad(CtKey::Mark))
            .push(Expr::Bitwise { mask: (!OURS).to_ne_bytes().to_vec(), xor: mark.to_ne_bytes().to_vec() })
            .push(Expr::CtSetMark)
    }

    /// `ct original zone set ZONE`: what is sent is told apart from what others send, and its replies are found all the same.
    pub(crate) fn set_original_zone(self, zone: u16) -> Self {
        self.push(Expr::ImmediateZone(zone)).push(Expr::CtSetOriginalZone)
    }

    fn fib_type(self, source: bool, op: Cmp) -> Self {
        self.push(Expr::FibType { source }).push(Expr::Cmp(op, 2_u32.to_ne_bytes().to_vec()))
    }

    /// `fib saddr type != local`
    pub(crate) fn source_not_local(self) -> Self {
        self.fib_type(true, Cmp::Neq)
    }

    /// `fib daddr type local`
    pub(crate) fn destination_local(self) -> Self {
        self.fib_type(false, Cmp::Eq)
    }

    /// `ct timeout set "NAME"`
    pub(crate) fn ct_timeout(self, name: &str) -> Self {
        self.push(Expr::CtTimeoutRef(Ident::new(name)))
    }

    /// `counter name "NAME"`
    pub(crate) fn counter(self, name: &str) -> Self {
        self.push(Expr::CounterRef(Ident::new(name)))
    }

    /// `limit rate N/second burst N packets`
    pub(crate) fn limit(self, per_second: u32, burst: u32) -> Self {
        self.push(Expr::Limit { per_second: per_second.max(1), burst })
    }

    /// `log group GROUP snaplen BYTES`
    pub(crate) fn log(self, group: u16, snaplen: u32) -> Self {
        self.push(Expr::Log { prefix: None, group, snaplen })
    }

    /// `log prefix "PREFIX" group GROUP snaplen BYTES`
    pub(crate) fn log_as(self, prefix: &str, group: u16, snaplen: u32) -> Self {
        self.push(Expr::Log { prefix: Some(Ident::new(prefix)), group, snaplen })
    }
}
