//! Refused packets as the reader tells them: who, where to, and how many were lost.

use std::{
    net::{SocketAddr, TcpStream, UdpSocket},
    os::fd::{AsFd, AsRawFd},
    thread::sleep,
    time::Duration,
};

use nft::{ListenError, Log, Packet, Told, ToldPackets};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, getsockname, sendto, socket},
};

use crate::world::{PEER4, PEER6, POD4, POD6, Peer, in_namespace, ip, ruleset, run, shared};

/// Waits for the socket and reads what has come.
fn read(packets: &mut ToldPackets) -> Vec<Packet> {
    let mut found = Vec::new();
    let ready = poll(&mut [PollFd::new(packets.as_fd(), PollFlags::POLLIN)], PollTimeout::from(500_u16)).unwrap();
    if ready > 0 {
        let take = |told: nft::ToldPacket| {
            assert_eq!(told.what, Told::Refused);
            told.packet
        };
        while packets.receive(|told| found.push(take(told))).unwrap() {}
    }
    found
}

#[test]
fn a_refused_connection_is_told_with_its_socket_of_both_families() {
    in_namespace(|| {
        let _peer = Peer::new();
        let _ = shared().install(&ruleset(Vec::new()), &[]).unwrap();
        let mut packets = ToldPackets::refused(Log::default()).unwrap();
        assert!(!packets.receive(|_| panic!("nothing was refused yet")).unwrap());
        for (peer, pod) in [(PEER4, POD4), (PEER6, POD6)] {
            assert!(TcpStream::connect(SocketAddr::new(ip(peer), 443)).is_err());
            let found = read(&mut packets);
            let packet = found.iter().find(|packet| packet.protocol == 6).unwrap_or_else(|| panic!("{found:?}"));
            assert_eq!((packet.source, packet.destination), (ip(pod), ip(peer)));
            assert_eq!((packet.destination_port, packet.uid), (Some(443), Some(0)));
            assert!(packet.source_port.is_some_and(|port| port != 0));
            let udp = UdpSocket::bind(SocketAddr::new(ip(pod), 5555)).unwrap();
            let _ = udp.send_to(&[0; 500], SocketAddr::new(ip(peer), 123));
            let packet = read(&mut packets).into_iter().find(|packet| packet.protocol == 17).unwrap();
            assert_eq!((packet.source_port, packet.destination_port), (Some(5555), Some(123)));
            assert_eq!(packet.len, 508 + if pod == POD4 { 20 } else { 40 }, "the length is the packet's, not what was copied of it");
        }
        assert_eq!(packets.lost(), 0);
    });
}

#[test]
fn what_is_not_read_in_time_is_counted_and_the_next_is_read() {
    in_namespace(|| {
        let _peer = Peer::new();
        let mut rules = ruleset(Vec::new());
        rules.log = Log { per_second: 4_000_000, ..Log::default() };
        let mut firewall = shared();
        let _ = firewall.install(&rules, &[]).unwrap();
        let mut packets = ToldPackets::refused(rules.log).unwrap();
        let before = firewall.denied().unwrap().packets;
        let udp = UdpSocket::bind(SocketAddr::new(ip(POD4), 5555)).unwrap();
        // Each is told at once that it is refused; the next send is tried all the same.
        let send = |count: u32| {
            for _ in 0..count {
                let _ = udp.send_to(&[0; 300], SocketAddr::new(ip(PEER4), 123));
            }
        };
        send(20_000);
        sleep(Duration::from_millis(50));
        let mut received = read(&mut packets).len() as u64;
        send(100);
        sleep(Duration::from_millis(50));
        let last = read(&mut packets).len() as u64;
        assert!(last >= 100, "{last}");
        received += last;
        let denied = firewall.denied().unwrap().packets - before;
        assert!(packets.lost() > 0, "the queue was never full: {received} of {denied}");
        assert_eq!(received + packets.lost(), denied);
    });
}

#[test]
fn only_the_kernel_is_believed() {
    in_namespace(|| {
        let mut packets = ToldPackets::refused(Log::default()).unwrap();
        let to: NetlinkAddr = getsockname(packets.as_fd().as_raw_fd()).unwrap();
        let ours = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::empty(), SockProtocol::NetlinkNetFilter).unwrap();
        // A message as the kernel would send it: PACKET of group 7, with a payload of 20 bytes.
        let mut message = vec![44, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 7, 24, 0, 9, 0, 0x45];
        message.resize(44, 1);
        sendto(ours.as_raw_fd(), &message, &to, MsgFlags::empty()).unwrap();
        assert!(!packets.receive(|packet| panic!("{packet:?}")).unwrap());
    });
}

#[test]
fn a_group_has_one_reader_and_is_free_again_after_it() {
    in_namespace(|| {
        let first = ToldPackets::refused(Log::default()).unwrap();
        assert!(matches!(ToldPackets::refused(Log::default()), Err(ListenError::NotPermitted { group: 7, .. })));
        assert!(ToldPackets::began(Log::default()).is_ok());
        drop(first);
        assert!(ToldPackets::refused(Log::default()).is_ok());
    });
}

#[test]
fn one_call_reads_a_bounded_number_and_says_that_there_is_more() {
    in_namespace(|| {
        run("ip", &["route", "add", "default", "dev", "lo"]);
        run("ip", &["addr", "add", "198.51.100.2/32", "dev", "lo"]);
        let mut packets = ToldPackets::refused(Log::default()).unwrap();
        // Rules of the test's own, one packet a message: what lo carries is never refused.
        run("nft", &["add table ip test; add chain ip test out { type filter hook output priority 0; }"]);
        run("nft", &["add rule ip test out udp dport 9 log group 7 queue-threshold 1"]);
        let udp = UdpSocket::bind("198.51.100.2:0").unwrap();
        for _ in 0..100 {
            let _ = udp.send_to(b"x", "198.51.100.2:9");
        }
        let mut first = 0;
        assert!(packets.receive(|_| first += 1).unwrap());
        assert_eq!(first, 64);
        let mut second = 0;
        assert!(!packets.receive(|_| second += 1).unwrap());
        assert_eq!(second, 36);
    });
}
