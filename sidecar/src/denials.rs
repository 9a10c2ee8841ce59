//! Refused packets, as the kernel tells them: one whose lease has just ended has its name asked for once more, so that it opens again.

use std::collections::HashSet;
use std::os::fd::AsFd;
use std::thread;
use std::time::Instant;

use dnsproxy::{Handle, NotTaken};
use nft::{Packet, ToldPackets};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use policies::Protocol;

use crate::fence::Fence;
use crate::fence::upkeep::RefusedPacket;

/// Different destinations that are looked at together. An app chooses how many it is refused at; what is beyond is left out.
const AT_ONCE: usize = 64;

/// Reads what is refused, on a thread of its own, until the resolver has ended.
pub fn start(mut packets: ToldPackets, resolver: Handle<Fence>) -> std::io::Result<()> {
    let reader = thread::Builder::new().name("denials".into());
    reader.spawn(move || {
        loop {
            let mut refused = HashSet::new();
            let mut waiting = [PollFd::new(packets.as_fd(), PollFlags::POLLIN)];
            match poll(&mut waiting, PollTimeout::NONE) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return tracing::warn!(%error, "refused packets are not heard of any more"),
            }
            let read = packets.receive(|told| {
                if refused.len() < AT_ONCE
                    && let Some(packet) = of(&told.packet)
                {
                    refused.insert(packet);
                }
            });
            if let Err(error) = read {
                return tracing::warn!(%error, "refused packets are not heard of any more");
            }
            let asking = resolver.clone();
            let job = move |fence: &mut Fence| {
                let now = Instant::now();
                for ask in refused.iter().filter_map(|packet| fence.denied(packet, now)?.ask) {
                    // What is not taken now is refused again, and asked then.
                    let _ = asking.refresh(ask.name, ask.ipv6);
                }
            };
            if resolver.post(job) == Err(NotTaken::Ended) {
                return;
            }
        }
    })?;
    Ok(())
}

/// The packet as the fence knows it; `None` for a protocol that no rule can open.
fn of(packet: &Packet) -> Option<RefusedPacket> {
    const ICMP: u8 = 1;
    const TCP: u8 = 6;
    const UDP: u8 = 17;
    const ICMPV6: u8 = 58;
    let protocol = match packet.protocol {
        TCP => Protocol::Tcp,
        UDP => Protocol::Udp,
        ICMP | ICMPV6 => Protocol::Icmp,
        _ => return None,
    };
    Some(RefusedPacket { destination: packet.destination, protocol, port: packet.destination_port.unwrap_or(0) })
}
