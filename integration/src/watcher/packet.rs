//! One frame, read as far as tests ask.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::SystemTime;

/// Bytes of payload that are kept.
const KEPT: usize = 160;

const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// Where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It left the pod.
    FromPod,
    /// It was sent to the pod.
    ToPod,
}

impl Direction {
    /// From the packet type of linux/if_packet.h: 4 is PACKET_OUTGOING, which the outer device sends to the pod.
    pub(super) fn of(kind: u8) -> Self {
        if kind == 4 { Self::ToPod } else { Self::FromPod }
    }
}

/// The flag byte of a TCP header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// A connection is asked for.
    #[must_use]
    pub fn is_syn(self) -> bool {
        self.0 & 0x12 == 0x02
    }

    /// A connection is granted.
    #[must_use]
    pub fn is_syn_ack(self) -> bool {
        self.0 & 0x12 == 0x12
    }

    /// A connection is refused or ended at once.
    #[must_use]
    pub fn is_reset(self) -> bool {
        self.0 & 0x04 != 0
    }
}

/// One packet.
#[derive(Clone, Debug)]
pub struct Packet {
    /// When the kernel saw it.
    pub at: SystemTime,
    /// From the pod or to it.
    pub direction: Direction,
    /// 0x0800, 0x86dd, 0x0806 …
    pub ethertype: u16,
    /// IP protocol: 6, 17, 1, 58, 2 …; 0 when it is no IP packet. Of IPv6 the first that is no extension header.
    pub protocol: u8,
    /// IP source; unspecified when it is no IP packet.
    pub source: IpAddr,
    /// IP destination; unspecified when it is no IP packet.
    pub destination: IpAddr,
    /// TCP or UDP source port, else 0 (also of a later fragment).
    pub source_port: u16,
    /// TCP or UDP destination port, else 0 (also of a later fragment).
    pub destination_port: u16,
    /// TCP flags, of TCP.
    pub tcp: Option<TcpFlags>,
    /// ICMP or ICMPv6 type, of these.
    pub icmp_type: Option<u8>,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// A fragment, the first or a later one.
    pub fragment: bool,
    /// Length of the frame in bytes.
    pub length: usize,
    /// The first 160 bytes after the transport header (of ICMP: after type, code and checksum; of others: after the IP header).
    pub payload: Vec<u8>,
}

impl Packet {
    pub(super) fn parse(at: SystemTime, direction: Direction, frame: &[u8]) -> Self {
        let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let mut packet = Self {
            at,
            direction,
            ethertype: u16_at(frame, 12),
            protocol: 0,
            source: nowhere,
            destination: nowhere,
            source_port: 0,
            destination_port: 0,
            tcp: None,
            icmp_type: None,
            hop_limit: 0,
            fragment: false,
            length: frame.len(),
            payload: Vec::new(),
        };
        let network = frame.get(14..).unwrap_or_default();
        match packet.ethertype {
            IPV4 => packet.read_v4(network),
            IPV6 => packet.read_v6(network),
            _ => packet.keep(network),
        }
        packet
    }

    fn read_v4(&mut self, bytes: &[u8]) {
        let Some(header) = bytes.first_chunk::<20>() else { return };
        self.hop_limit = header[8];
        self.protocol = header[9];
        self.source = Ipv4Addr::from([header[12], header[13], header[14], header[15]]).into();
        self.destination = Ipv4Addr::from([header[16], header[17], header[18], header[19]]).into();
        let place = u16_at(header, 6);
        self.fragment = place & 0x3fff != 0;
        let rest = bytes.get(usize::from(header[0] & 0x0f) * 4..).unwrap_or_default();
        self.read_transport(rest, place & 0x1fff == 0);
    }

    fn read_v6(&mut self, bytes: &[u8]) {
        let Some(header) = bytes.first_chunk::<40>() else { return };
        let address = |from: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&header[from..from + 16]).unwrap_or_default());
        self.hop_limit = header[7];
        self.source = address(8).into();
        self.destination = address(24).into();
        let (mut next, mut rest, mut first) = (header[6], bytes.get(40..).unwrap_or_default(), true);
        // Hop-by-hop, routing, fragment and destination options.
        while matches!(next, 0 | 43 | 44 | 60) && rest.len() >= 8 {
            if next == 44 {
                self.fragment = true;
                first = u16_at(rest, 2) & 0xfff8 == 0;
            }
            let length = if next == 44 { 8 } else { (usize::from(rest[1]) + 1) * 8 };
            next = rest[0];
            rest = rest.get(length..).unwrap_or_default();
        }
        self.protocol = next;
        self.read_transport(rest, first);
    }

    fn read_transport(&mut self, bytes: &[u8], has_header: bool) {
        let skip = match (self.protocol, has_header) {
            (6, true) => {
                self.tcp = Some(TcpFlags(bytes.get(13).copied().unwrap_or(0)));
                usize::from(bytes.get(12).copied().unwrap_or(0) >> 4) * 4
            }
            (17, true) => 8,
            (1 | 58, true) => {
                self.icmp_type = bytes.first().copied();
                4
            }
            _ => 0,
        };
        if matches!((self.protocol, has_header), (6 | 17, true)) {
            self.source_port = u16_at(bytes, 0);
            self.destination_port = u16_at(bytes, 2);
        }
        self.keep(bytes.get(skip..).unwrap_or_default());
    }

    fn keep(&mut self, payload: &[u8]) {
        self.payload = payload[..payload.len().min(KEPT)].to_vec();
    }

    /// TCP.
    #[must_use]
    pub fn is_tcp(&self) -> bool {
        self.protocol == 6
    }

    /// UDP.
    #[must_use]
    pub fn is_udp(&self) -> bool {
        self.protocol == 17
    }

    /// The first packet of a TCP connection.
    #[must_use]
    pub fn is_syn(&self) -> bool {
        self.tcp.is_some_and(TcpFlags::is_syn)
    }

    /// To this address and port.
    #[must_use]
    pub fn is_to(&self, target: SocketAddr) -> bool {
        self.destination == target.ip() && self.destination_port == target.port()
    }

    /// Whether the payload kept has these bytes in it.
    #[must_use]
    pub fn carries(&self, marker: &str) -> bool {
        self.payload.windows(marker.len()).any(|window| window == marker.as_bytes())
    }

    /// What a kernel sends by itself and what carries nothing out: ARP; neighbour and router discovery with hop limit 255 on the
    /// link, of its ordinary size; MLD and IGMP reports to multicast groups with hop limit 1.
    #[must_use]
    pub fn is_housekeeping(&self) -> bool {
        let link = |address: IpAddr| match address {
            IpAddr::V4(v4) => v4.is_multicast(),
            IpAddr::V6(v6) => v6.is_multicast() || v6.is_unicast_link_local() || v6.segments()[..3] == [0x2001, 0xdb8, 0x77],
        };
        match (self.ethertype, self.protocol, self.icmp_type) {
            (ARP, _, _) => self.length <= 60,
            (IPV6, 58, Some(133..=136)) => self.hop_limit == 255 && link(self.destination) && self.length <= 14 + 40 + 40,
            (IPV6, 58, Some(131 | 132 | 143)) => self.hop_limit == 1 && link(self.destination) && self.length <= 14 + 48 + 128,
            (IPV4, 2, _) => self.hop_limit == 1 && link(self.destination) && self.length <= 60,
            _ => false,
        }
    }
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match (self.ethertype, self.protocol) {
            (ARP, _) => "arp".to_owned(),
            (_, 6) => format!("tcp flags {:#04x}", self.tcp.unwrap_or_default().0),
            (_, 17) => "udp".to_owned(),
            (_, 1 | 58) => format!("icmp type {}", self.icmp_type.unwrap_or(0)),
            (ethertype, protocol) => format!("ethertype {ethertype:#06x} protocol {protocol}"),
        };
        let (from, to) = (SocketAddr::new(self.source, self.source_port), SocketAddr::new(self.destination, self.destination_port));
        let fragment = if self.fragment { " fragment" } else { "" };
        write!(f, "{:?} {kind} {from} > {to} hop limit {} length {}{fragment}", self.direction, self.hop_limit, self.length)
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).map_or(0, |pair| u16::from_be_bytes([pair[0], pair[1]]))
}
