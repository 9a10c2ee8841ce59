//! A message of ctnetlink, read: whatever bytes come, there is an answer and no panic.

use std::net::IpAddr;

use super::{Connection, FlowOwner, Volume};

// linux/netfilter/nfnetlink_conntrack.h: `enum ctattr_type` and those nested in it.
const TUPLE_ORIG: u16 = 1;
const STATUS: u16 = 3;
const PROTOINFO: u16 = 4;
const MARK: u16 = 8;
const COUNTERS_ORIG: u16 = 9;
const COUNTERS_REPLY: u16 = 10;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
/// `IPS_ASSURED`
const ASSURED: u32 = 1 << 2;

/// The attributes of a list: kind without flags, and value; what is cut off is not there.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let [len_1, len_2, kind_1, kind_2] = self.0.first_chunk()?;
        let len = usize::from(u16::from_ne_bytes([*len_1, *len_2]));
        let value = self.0.get(4..len)?;
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([*kind_1, *kind_2]) & 0x3fff, value))
    }
}

fn number<const N: usize>(value: &[u8]) -> [u8; N] {
    value.first_chunk().copied().unwrap_or([0; N])
}

#[derive(Default)]
struct Tuple {
    source: Option<IpAddr>,
    destination: Option<IpAddr>,
    protocol: u8,
    source_port: Option<u16>,
    destination_port: Option<u16>,
}

impl Tuple {
    fn read(value: &[u8]) -> Self {
        let mut tuple = Tuple::default();
        for (kind, value) in Attributes(value) {
            match kind {
                TUPLE_IP => {
                    for (kind, value) in Attributes(value) {
                        let address = match value.len() {
                            4 => IpAddr::from(number::<4>(value)),
                            16 => IpAddr::from(number::<16>(value)),
                            _ => continue,
                        };
                        match kind {
                            1 | 3 => tuple.source = Some(address),
                            2 | 4 => tuple.destination = Some(address),
                            _ => {}
                        }
                    }
                }
                TUPLE_PROTO => {
                    for (kind, value) in Attributes(value) {
                        match kind {
                            1 => tuple.protocol = u8::from_be_bytes(number(value)),
                            // Of ICMP and ICMPv6 the identifier stands where a port would.
                            2 | 4 | 7 => tuple.source_port = Some(u16::from_be_bytes(number(value))),
                            3 => tuple.destination_port = Some(u16::from_be_bytes(number(value))),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        tuple
    }
}

fn volume(value: &[u8]) -> Volume {
    let mut volume = Volume::default();
    for (kind, value) in Attributes(value) {
        match kind {
            1 => volume.packets = u64::from_be_bytes(number(value)),
            2 => volume.bytes = u64::from_be_bytes(number(value)),
            _ => {}
        }
    }
    volume
}

/// The state of TCP inside CTA_PROTOINFO.
fn tcp_state(value: &[u8]) -> u8 {
    let tcp = Attributes(value).find(|(kind, _)| *kind == 1).map(|(_, value)| value);
    tcp.and_then(|tcp| Attributes(tcp).find(|(kind, _)| *kind == 1)).map_or(0, |(_, state)| u8::from_be_bytes(number(state)))
}

/// The connection that the attributes behind a message's headers tell; `None` if it is nobody's, or not told whole.
pub(super) fn connection(attributes: &[u8]) -> Option<Connection> {
    let (mut tuple, mut mark, mut state, mut assured) = (Tuple::default(), 0, 0, false);
    let (mut sent, mut received) = (Volume::default(), Volume::default());
    for (kind, value) in Attributes(attributes) {
        match kind {
            TUPLE_ORIG => tuple = Tuple::read(value),
            STATUS => assured = u32::from_be_bytes(number(value)) & ASSURED != 0,
            PROTOINFO => state = tcp_state(value),
            MARK => mark = u32::from_be_bytes(number(value)),
            COUNTERS_ORIG => sent = volume(value),
            COUNTERS_REPLY => received = volume(value),
            _ => {}
        }
    }
    Some(Connection {
        owner: FlowOwner::of(mark)?,
        source: tuple.source?,
        destination: tuple.destination?,
        protocol: tuple.protocol,
        source_port: tuple.source_port,
        destination_port: tuple.destination_port,
        sent,
        received,
        tcp_state: state,
        assured,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::RuleId;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = (value.len() as u16 + 4).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn nested(kind: u16, parts: &[Vec<u8>]) -> Vec<u8> {
        attribute(kind | 0x8000, &parts.concat())
    }

    fn message(mark: u32) -> Vec<u8> {
        let ip = nested(1, &[attribute(1, &[10, 0, 0, 2]), attribute(2, &[198, 51, 100, 7])]);
        let ports = nested(2, &[attribute(1, &[6]), attribute(2, &40_000_u16.to_be_bytes()), attribute(3, &443_u16.to_be_bytes())]);
        let counters = |packets: u64, bytes: u64| [attribute(1, &packets.to_be_bytes()), attribute(2, &bytes.to_be_bytes())];
        [
            nested(1, &[ip, ports]),
            attribute(3, &0x8e_u32.to_be_bytes()),
            nested(4, &[nested(1, &[attribute(1, &[7])])]),
            attribute(8, &mark.to_be_bytes()),
            nested(9, &counters(5, 300)),
            nested(10, &counters(4, 4000)),
        ]
        .concat()
    }

    #[test]
    fn a_whole_message_is_told() {
        let found = connection(&message(0x0001_beef)).unwrap();
        assert_eq!(found.owner, FlowOwner::Rule(RuleId::new(1).unwrap()));
        assert_eq!((found.source, found.destination), ([10, 0, 0, 2].into(), [198, 51, 100, 7].into()));
        assert_eq!((found.protocol, found.source_port, found.destination_port), (6, Some(40_000), Some(443)));
        assert_eq!((found.sent, found.received), (Volume { packets: 5, bytes: 300 }, Volume { packets: 4, bytes: 4000 }));
        assert_eq!((found.tcp_state, found.assured, found.idle_time().as_secs()), (7, true, 30));
    }

    #[test]
    fn what_is_nobodys_is_not_told() {
        for audited in [0xfffd_0000, 0xfffc_0000] {
            assert_eq!(connection(&message(audited)).map(|found| found.owner), Some(FlowOwner::Audit), "{audited:#x}");
        }
        assert_eq!(connection(&message(0xffff_0001)).map(|found| found.owner), Some(FlowOwner::Inbound));
        for mark in [0, 0xbeef, 0xfffe_0000] {
            assert_eq!(connection(&message(mark)), None, "{mark:#x}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, at in 0_usize..200, with: u8) {
            let _ = connection(&bytes);
            let mut whole = message(0x0001_0000);
            if let Some(byte) = whole.get_mut(at) {
                *byte = with;
            }
            let _ = connection(&whole);
        }
    }
}
