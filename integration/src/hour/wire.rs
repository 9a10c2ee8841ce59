//! What was on the wire, as flows: what the watcher saw without the resolver's and the kernel's own packets.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use super::check::Place;
use crate::watcher::Direction;
use crate::{Packet, Pod, Watcher};

/// A segment that is sent again comes sooner after the one before; the same port for another flow to the same place comes later.
const SILENT: Duration = Duration::from_secs(9);

/// The packets of the hour's flows.
#[derive(Debug)]
pub struct Wire {
    packets: Vec<Packet>,
    pod: [IpAddr; 2],
}

impl Wire {
    /// Everything that the watcher saw but questions to the resolver and housekeeping.
    #[must_use]
    pub fn of(watcher: &Watcher, pod: &Pod) -> Self {
        let packets = watcher.all(|packet| {
            let of_the_resolver = packet.destination_port == 53 || packet.source_port == 53;
            (packet.is_tcp() || packet.is_udp()) && !of_the_resolver && !packet.is_housekeeping()
        });
        Self { packets, pod: [pod.v4().into(), pod.v6().into()] }
    }

    /// How many flows went to each place: by the ports they came from. A port that was silent for longer than any round has been taken by
    /// another flow.
    #[must_use]
    pub fn flows(&self) -> BTreeMap<Place, u64> {
        let mut last: BTreeMap<(Place, u16), SystemTime> = BTreeMap::new();
        let mut flows: BTreeMap<Place, u64> = BTreeMap::new();
        for packet in &self.packets {
            let Some((place, port, _)) = self.side(packet) else { continue };
            let before = last.insert((place.clone(), port), packet.at);
            let silent = before.map(|before| packet.at.duration_since(before).unwrap_or_default());
            if silent.is_none_or(|silent| silent > SILENT) {
                *flows.entry(place).or_default() += 1;
            }
        }
        flows
    }

    /// Of each place: bytes sent and received, packets sent and received, seen from the pod.
    #[must_use]
    pub fn volumes(&self) -> BTreeMap<Place, [u64; 4]> {
        let mut volumes: BTreeMap<Place, [u64; 4]> = BTreeMap::new();
        for packet in &self.packets {
            let Some((place, ..)) = self.side(packet) else { continue };
            let received = usize::from(packet.direction == Direction::ToPod);
            let volume = volumes.entry(place).or_default();
            // The Ethernet header is no part of what conntrack counts.
            volume[received] += packet.length as u64 - 14;
            volume[2 + received] += 1;
        }
        volumes
    }

    /// The place that a packet's flow was begun to, and the port it was begun from. The script's own servers have known ports.
    fn side(&self, packet: &Packet) -> Option<(Place, u16, bool)> {
        let transport = if packet.is_tcp() { "tcp" } else { "udp" };
        let outbound = match packet.direction {
            // The pod's own server answers from its port: that flow was begun by the other side.
            Direction::FromPod => !(self.pod.contains(&packet.source) && packet.source_port == super::round::SERVED),
            Direction::ToPod => !(self.pod.contains(&packet.destination) && packet.destination_port == super::round::SERVED),
        };
        let forward = outbound == (packet.direction == Direction::FromPod);
        let (to, to_port, from_port) = if forward {
            (packet.destination, packet.destination_port, packet.source_port)
        } else {
            (packet.source, packet.source_port, packet.destination_port)
        };
        Some(((transport.to_owned(), to, to_port), from_port, outbound))
    }
}
