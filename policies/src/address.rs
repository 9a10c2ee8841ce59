//! Which addresses a name may not lead to: what an answer must not open unless a rule says so (DNS rebinding).
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use serde::Serialize;
use thiserror::Error;

use crate::{file::Private, verdict::Place};

/// Why an address is special.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddressKind {
    /// `0.0.0.0/8` and `::`: this host, in practice loopback.
    Unspecified,
    /// `127.0.0.0/8` and `::1`.
    Loopback,
    /// `169.254.0.0/16` and `fe80::/10`.
    LinkLocal,
    /// A cloud's metadata or credential service.
    Metadata,
    /// `224.0.0.0/4` and `ff00::/8`.
    Multicast,
    /// `240.0.0.0/4`, the limited broadcast address in it.
    Broadcast,
    /// `10.0.0.0/8`, `172.16.0.0/12`, `192.168.0.0/16`, and `64:ff9b:1::/48`.
    Private,
    /// `100.64.0.0/10`, between a carrier and its customers.
    CarrierGrade,
    /// `fc00::/7`.
    UniqueLocal,
    /// `fec0::/10`, deprecated and still routed by some.
    SiteLocal,
}

impl AddressKind {
    /// What is special about an address; `None` of an ordinary one. One that carries an IPv4 address is what that one is.
    pub fn of(address: IpAddr) -> Option<Self> {
        kind_of(address)
    }
}

impl fmt::Display for AddressKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "unspecified",
            Self::Loopback => "loopback",
            Self::LinkLocal => "link-local",
            Self::Metadata => "cloud metadata",
            Self::Multicast => "multicast",
            Self::Broadcast => "broadcast",
            Self::Private => "private",
            Self::CarrierGrade => "carrier-grade",
            Self::UniqueLocal => "unique local",
            Self::SiteLocal => "site-local",
        })
    }
}

/// Why an address of a permitted name is not opened: it is stripped from the answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AddressRefusal {
    /// The address is special and no rule that permits the name has the right to it.
    #[error("{address} is a {kind} address, and no rule gives the name a right to it")]
    Forbidden {
        /// The address.
        address: IpAddr,
        /// Why it is special.
        kind: AddressKind,
    },
    /// A `[[deny]]` covers the address.
    #[error("{address} is denied by policy {}", place.policy())]
    Denied {
        /// The address.
        address: IpAddr,
        /// The deny.
        place: Place,
    },
}

/// The services that hand out a node's or a pod's credentials, on fixed addresses.
pub(crate) const METADATA: [IpAddr; 11] = [
    // AWS, Google, Azure, Oracle, OpenStack and most others.
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    // AWS over IPv6.
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    // ECS task credentials.
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),
    // EKS Pod Identity.
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    // Google over IPv6.
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    // Alibaba; inside the carrier-grade range.
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    // Azure's platform address; a public one by its number.
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    // Oracle's older platform; in a block for protocol assignments.
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    // Tencent, Scaleway.
    IpAddr::V4(Ipv4Addr::new(169, 254, 0, 23)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 42, 42)),
];

/// What kind of special address it is, in any of its disguises; `None` for an ordinary one.
pub(crate) fn kind_of(address: IpAddr) -> Option<AddressKind> {
    if METADATA.contains(&address) {
        return Some(AddressKind::Metadata);
    }
    match address {
        IpAddr::V4(v4) => kind_of_v4(v4),
        IpAddr::V6(v6) => kind_of_v6(v6),
    }
}

fn kind_of_v4(address: Ipv4Addr) -> Option<AddressKind> {
    match address.octets() {
        [0, ..] => Some(AddressKind::Unspecified),
        [127, ..] => Some(AddressKind::Loopback),
        [169, 254, ..] => Some(AddressKind::LinkLocal),
        [224..=239, ..] => Some(AddressKind::Multicast),
        [240..=255, ..] => Some(AddressKind::Broadcast),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Some(AddressKind::Private),
        [100, 64..=127, ..] => Some(AddressKind::CarrierGrade),
        _ => None,
    }
}

fn kind_of_v6(address: Ipv6Addr) -> Option<AddressKind> {
    if address.is_unspecified() {
        return Some(AddressKind::Unspecified);
    }
    if address.is_loopback() {
        return Some(AddressKind::Loopback);
    }
    if let Some(kind) = embedded(address).and_then(|v4| kind_of(IpAddr::V4(v4))) {
        return Some(kind);
    }
    match address.segments() {
        // The translation prefix for local use (RFC 8215): where it leads is the network's own affair.
        [0x64, 0xff9b, 1, ..] => Some(AddressKind::Private),
        [0xfe80..=0xfebf, ..] => Some(AddressKind::LinkLocal),
        [0xfec0..=0xfeff, ..] => Some(AddressKind::SiteLocal),
        [0xfc00..=0xfdff, ..] => Some(AddressKind::UniqueLocal),
        [0xff00..=0xffff, ..] => Some(AddressKind::Multicast),
        _ => None,
    }
}

/// The IPv4 address inside an IPv6 one that a translator, a tunnel or the kernel itself would turn into it.
pub(crate) fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Some(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match address.segments() {
        // v4-compatible (RFC 4291 section 2.5.5.1), v4-mapped (2.5.5.2), v4-translated (RFC 2765).
        [0, 0, 0, 0, 0, 0, high, low] | [0, 0, 0, 0, 0, 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => v4(high, low),
        // NAT64: the well-known prefix (RFC 6052) and the usual place in the local one (RFC 8215).
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 1, _, _, _, high, low] => v4(high, low),
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => v4(high, low),
        _ => None,
    }
}

/// What a rule's names may lead to beside ordinary addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct AddressRights {
    /// Private, carrier-grade and unique local addresses, whichever.
    pub(crate) private: bool,
    /// What is listed.
    pub(crate) ranges: Vec<IpNet>,
}

impl AddressRights {
    pub(crate) fn of(private: &Private, cidrs: &[IpNet]) -> Self {
        // A range that the rule opens without any name may also be reached by one of its names.
        let mut ranges = cidrs.to_vec();
        if let Private::Ranges(listed) = private {
            ranges.extend(listed);
        }
        ranges.sort_unstable();
        ranges.dedup();
        Self { private: *private == Private::Yes, ranges }
    }

    /// Whether a special address of this kind may be opened; `in_cluster` is the right of names below the cluster's domain.
    pub(crate) fn permit(&self, address: IpAddr, kind: AddressKind, in_cluster: bool) -> bool {
        let by_kind = matches!(kind, AddressKind::Private | AddressKind::CarrierGrade | AddressKind::UniqueLocal);
        (by_kind && (self.private || in_cluster)) || self.ranges.iter().any(|range| lists(range, address, kind))
    }

    /// Whether everything `other` may lead to is also permitted here.
    pub(crate) fn covers(&self, other: &AddressRights) -> bool {
        // Ranges are compared one by one: a range and its address alone differ for metadata, so joined ranges would not be the same.
        (self.private || !other.private) && other.ranges.iter().all(|range| self.ranges.contains(range))
    }
}

fn lists(range: &IpNet, address: IpAddr, kind: AddressKind) -> bool {
    let inside = match address {
        IpAddr::V6(v6) => embedded(v6).map(IpAddr::V4),
        IpAddr::V4(_) => None,
    };
    let alone = range.prefix_len() == range.max_prefix_len();
    (kind != AddressKind::Metadata || alone) && (range.contains(&address) || inside.is_some_and(|v4| range.contains(&v4)))
}

#[cfg(test)]
mod tests;
