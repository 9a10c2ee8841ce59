//! What a packet was, read from its first bytes; whatever bytes come, there is an answer and no panic.

use std::net::IpAddr;

/// A packet, as far as its first bytes tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Where it came from.
    pub source: IpAddr,
    /// Where it was to go.
    pub destination: IpAddr,
    /// The number of the protocol above IP, behind IPv6's extension headers; of a chain that is longer than what was told, the last one seen.
    pub protocol: u8,
    /// TCP, UDP, UDP-Lite, SCTP, DCCP: the source port; of an ICMP echo its identifier, as connection tracking has it; not of later fragments.
    pub source_port: Option<u16>,
    /// TCP, UDP, UDP-Lite, SCTP, DCCP: the destination port; not of later fragments.
    pub destination_port: Option<u16>,
    /// The user whose socket sent it, in the reader's user namespace; `None`: it has no socket, or none any more.
    pub uid: Option<u32>,
    /// Bytes of the whole packet, IP header included, as that header says.
    pub len: u32,
}

// linux/netfilter/nfnetlink_log.h: `enum nfulnl_attr_type`.
const PAYLOAD: u16 = 9;
const PREFIX: u16 = 10;
const UID: u16 = 11;
const SEQ: u16 = 12;

/// Extension headers that are followed: a legal chain has each of the five at most once, and one of them twice.
const MOST_EXTENSIONS: usize = 8;

/// What one NFLOG message holds.
#[derive(Debug, Default)]
pub(super) struct Told<'a> {
    pub(super) payload: &'a [u8],
    pub(super) prefix: &'a [u8],
    pub(super) uid: Option<u32>,
    pub(super) seq: Option<u32>,
}

impl<'a> Told<'a> {
    /// Reads the attributes behind the headers of a message; what is cut off is not there.
    pub(super) fn read(mut attributes: &'a [u8]) -> Self {
        let mut told = Self::default();
        while let Some([len_1, len_2, kind_1, kind_2]) = attributes.first_chunk() {
            // The header is in host byte order, the numbers in network byte order.
            let len = usize::from(u16::from_ne_bytes([*len_1, *len_2]));
            let Some(value) = attributes.get(4..len) else { break };
            let long = || value.get(..4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_be_bytes);
            match u16::from_ne_bytes([*kind_1, *kind_2]) & 0x3fff {
                PAYLOAD => told.payload = value,
                // With a NUL at its end.
                PREFIX => told.prefix = value.strip_suffix(b"\0").unwrap_or(value),
                UID => told.uid = long(),
                SEQ => told.seq = long(),
                _ => {}
            }
            attributes = attributes.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
        told
    }

    /// `None`: not an IP packet, or too little of one.
    pub(super) fn packet(&self) -> Option<Packet> {
        match self.payload.first()? >> 4 {
            4 => self.v4(),
            6 => self.v6(),
            _ => None,
        }
    }

    fn v4(&self) -> Option<Packet> {
        let header = self.payload.first_chunk::<20>()?;
        let len = usize::from(header[0] & 0x0f) * 4;
        let first_fragment = u16::from_be_bytes([header[6], header[7]]) & 0x1fff == 0;
        let behind = self.payload.get(len.max(20)..).filter(|_| first_fragment);
        let [source, destination] = [12, 16].map(|at| self.payload.get(at..at + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok()));
        let total = u16::from_be_bytes([header[2], header[3]]);
        Some(self.told(source?.into(), destination?.into(), header[9], behind, u32::from(total)))
    }

    fn v6(&self) -> Option<Packet> {
        let header = self.payload.first_chunk::<40>()?;
        let [source, destination] = [8, 24].map(|at| self.payload.get(at..at + 16).and_then(|bytes| <[u8; 16]>::try_from(bytes).ok()));
        let total = u32::from(u16::from_be_bytes([header[4], header[5]])) + 40;
        let (protocol, behind) = transport(header[6], self.payload.get(40..).unwrap_or_default());
        Some(self.told(source?.into(), destination?.into(), protocol, behind, total))
    }

    fn told(&self, source: IpAddr, destination: IpAddr, protocol: u8, behind: Option<&[u8]>, len: u32) -> Packet {
        // TCP, UDP, DCCP, SCTP, UDP-Lite: all begin with their ports.
        let ports = behind.filter(|_| matches!(protocol, 6 | 17 | 33 | 132 | 136));
        let port = |at| ports.and_then(|bytes| number(bytes, at));
        let echo = behind.filter(|bytes| matches!((protocol, bytes.first()), (1, Some(8)) | (58, Some(128))));
        let source_port = echo.map_or_else(|| port(0), |bytes| number(bytes, 4));
        Packet { source, destination, protocol, source_port, destination_port: port(2), uid: self.uid, len }
    }
}

/// The protocol behind IPv6's extension headers (RFC 8200, 4), and what follows them where it begins in these bytes.
fn transport(first: u8, mut rest: &[u8]) -> (u8, Option<&[u8]>) {
    let mut protocol = first;
    for _ in 0..MOST_EXTENSIONS {
        let (Some(next), Some(size)) = (rest.first(), rest.get(1)) else { break };
        let len = match protocol {
            // Hop-by-hop options, routing, destination options.
            0 | 43 | 60 => (usize::from(*size) + 1) * 8,
            // A fragment; of a later one the rest is no header.
            44 if number(rest, 2).is_some_and(|offset| offset & 0xfff8 != 0) => return (*next, None),
            44 => 8,
            // Authentication (RFC 4302, 2.2).
            51 => (usize::from(*size) + 2) * 4,
            _ => return (protocol, Some(rest)),
        };
        protocol = *next;
        match rest.get(len..) {
            Some(behind) => rest = behind,
            None => return (protocol, None),
        }
    }
    (protocol, None)
}

/// A number of two bytes, in network byte order.
fn number(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(payload: &[u8]) -> Option<Packet> {
        Told { payload, uid: Some(1000), ..Told::default() }.packet()
    }

    fn v4(flags_and_offset: u16, options: usize, protocol: u8, behind: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45 + (options / 4) as u8, 0, 5, 0xdc, 0, 0];
        packet.extend(flags_and_offset.to_be_bytes());
        packet.extend([64, protocol, 0, 0, 198, 51, 100, 2, 203, 0, 113, 1]);
        packet.extend(vec![1; options]);
        packet.extend(behind);
        packet
    }

    fn v6(next: u8, behind: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, 100, next, 64];
        packet.extend("2001:db8::2".parse::<std::net::Ipv6Addr>().unwrap().octets());
        packet.extend("2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
        packet.extend(behind);
        packet
    }

    const PORTS: [u8; 4] = [0x9c, 0x40, 0x01, 0xbb];

    fn told(packet: &[u8]) -> (u8, Option<u16>, Option<u16>, u32) {
        let packet = read(packet).unwrap();
        (packet.protocol, packet.source_port, packet.destination_port, packet.len)
    }

    #[test]
    fn ipv4_packets_are_told_with_their_ports() {
        let packet = read(&v4(0x4000, 0, 6, &PORTS)).unwrap();
        assert_eq!((packet.source, packet.destination), ([198, 51, 100, 2].into(), [203, 0, 113, 1].into()));
        assert_eq!(packet.uid, Some(1000));
        let with_ports = |protocol| (protocol, Some(40_000), Some(443), 1500);
        assert_eq!(told(&v4(0x4000, 0, 6, &PORTS)), with_ports(6));
        assert_eq!(told(&v4(0, 8, 17, &PORTS)), with_ports(17), "behind options");
        assert_eq!(told(&v4(0x2000, 0, 17, &PORTS)), with_ports(17), "a first fragment");
        assert_eq!(told(&v4(0x2001, 0, 17, &PORTS)), (17, None, None, 1500), "a later fragment");
        assert_eq!(told(&v4(0, 0, 1, &PORTS)), (1, None, None, 1500), "ICMP has no ports");
        assert_eq!(told(&v4(0, 0, 6, &PORTS[..3])), (6, Some(40_000), None, 1500), "cut");
        assert_eq!(told(&v4(0, 0, 6, &[])), (6, None, None, 1500));
    }

    #[test]
    fn ipv6_extension_headers_are_skipped() {
        let with_ports = |protocol| (protocol, Some(40_000), Some(443), 140);
        let behind = |headers: &[&[u8]]| headers.concat();
        assert_eq!(told(&v6(6, &PORTS)), with_ports(6));
        let options = |next| [next, 0, 1, 4, 0, 0, 0, 0];
        assert_eq!(told(&v6(0, &behind(&[&options(60), &options(17), &PORTS]))), with_ports(17));
        assert_eq!(told(&v6(44, &behind(&[&[17, 0, 0, 1, 0, 0, 0, 7], &PORTS]))), with_ports(17), "a first fragment");
        assert_eq!(told(&v6(44, &behind(&[&[17, 0, 0, 9, 0, 0, 0, 7], &PORTS]))), (17, None, None, 140), "a later fragment");
        assert_eq!(told(&v6(51, &behind(&[&[6, 4, 0, 0], &[0; 20], &PORTS]))), with_ports(6), "an authentication header");
        assert_eq!(told(&v6(43, &[6, 200, 0, 0])), (6, None, None, 140), "a header that is longer than what was told");
        assert_eq!(told(&v6(0, &options(0).repeat(40))), (0, None, None, 140), "a chain without an end");
    }

    #[test]
    fn what_is_no_ip_packet_is_none() {
        for bytes in [&[][..], &[0x45; 19], &[0x60; 39], &[0x50; 60], &[0x00; 60]] {
            assert_eq!(read(bytes), None);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes: Vec<u8>, version in prop_oneof![Just(0x45_u8), Just(0x4f), Just(0x60)]) {
            let _ = Told::read(&bytes).packet();
            if let Some(first) = bytes.first_mut() {
                *first = version;
            }
            let packet = read(&bytes);
            prop_assert_eq!(packet.is_some(), bytes.len() >= if version == 0x60 { 40 } else { 20 });
        }

        #[test]
        fn no_chain_of_headers_makes_it_panic(headers: Vec<(u8, u8, [u8; 6])>, first: u8) {
            let behind: Vec<u8> = headers.iter().flat_map(|(next, len, rest)| [&[*next % 64, *len % 4][..], rest].concat()).collect();
            prop_assert!(read(&v6(first % 64, &behind)).is_some());
        }
    }
}
