//! Flows as they are told: each first packet once with its rule, each end with its volume, and in audit what passes though nothing opens it.

use std::{
    io::Read,
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd,
    thread::sleep,
    time::{Duration, Instant},
};

use nft::{
    Connection, EndedConnections, FlowOwner, Log, Packet, PortRange, Ports, Posture, RuleId, Ruleset, Told, ToldPackets, Volume,
    each_connection,
};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::world::{OTHER4, PEER4, PEER6, POD4, POD6, Peer, in_namespace, ip, lease, opening, ruleset, run, shared};

const SHORT: Duration = Duration::from_millis(300);

fn all() -> Ruleset {
    let ports = Ports::new([PortRange::single(443)], [PortRange::single(123)], true);
    ruleset(vec![opening(7, "web", ports)])
}

fn leased() -> [nft::Lease; 2] {
    [lease("web", PEER4, "a.example", 600), lease("web", PEER6, "a.example", 600)]
}

/// What has come within a third of a second.
fn told(packets: &mut ToldPackets) -> Vec<(Told, Packet)> {
    let (mut found, end) = (Vec::new(), Instant::now() + SHORT);
    while Instant::now() < end {
        let _ = poll(&mut [PollFd::new(packets.as_fd(), PollFlags::POLLIN)], PollTimeout::from(50_u16)).unwrap();
        while packets.receive(|told| found.push((told.what, told.packet))).unwrap() {}
    }
    found
}

fn ended(connections: &mut EndedConnections) -> Vec<Connection> {
    let mut found = Vec::new();
    sleep(Duration::from_millis(50));
    while connections.receive(|connection| found.push(connection)).unwrap() {}
    found
}

/// A server in the peer's namespace that reads to the end and says `answer`.
fn server(peer: &Peer, address: &'static str, port: u16, answer: usize) {
    peer.there(move || {
        let listener = TcpListener::bind(SocketAddr::new(ip(address), port)).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().take(3).flatten() {
                let _ = std::io::Write::write_all(&mut &stream, &vec![0; answer]);
            }
        });
    });
}

const RULE: Told = Told::Permitted(match RuleId::new(7) {
    Some(id) => id,
    None => RuleId::MIN,
});

#[test]
fn the_first_packet_of_a_permitted_flow_is_told_once_with_its_rule_and_its_socket() {
    in_namespace(|| {
        let peer = Peer::new();
        let mut firewall = shared();
        let _ = firewall.install(&all(), &leased()).unwrap();
        let mut began = ToldPackets::began(Log::default()).unwrap();
        for (address, pod) in [(PEER4, POD4), (PEER6, POD6)] {
            server(&peer, address, 443, 10);
            let mut stream = TcpStream::connect(SocketAddr::new(ip(address), 443)).unwrap();
            let _ = stream.read(&mut [0; 100]).unwrap();
            let found = told(&mut began);
            assert_eq!(found.len(), 1, "{found:?}");
            let (what, packet) = found[0];
            assert_eq!(what, RULE);
            assert_eq!((packet.source, packet.destination, packet.protocol), (ip(pod), ip(address), 6));
            assert_eq!((packet.destination_port, packet.uid), (Some(443), Some(0)));
            // No answer ever comes: to connection tracking each of them is new.
            let udp = UdpSocket::bind(SocketAddr::new(ip(pod), 5555)).unwrap();
            for _ in 0..5 {
                let _ = udp.send_to(b"x", SocketAddr::new(ip(address), 123));
            }
            let found = told(&mut began);
            assert_eq!(found.iter().map(|(what, packet)| (*what, packet.protocol)).collect::<Vec<_>>(), [(RULE, 17)]);
            run("ping", &["-c", "3", "-i", "0.1", "-W", "2", address]);
            let found = told(&mut began);
            assert_eq!(found.len(), 1, "an echo and its like are one flow: {found:?}");
        }
        let counters = firewall.counters().unwrap();
        assert_eq!((counters.permitted.packets, began.received(), began.lost()), (6, 6, 0));
        // Another id, as after a reload that narrows the rule: the flow is judged anew, and begins under that one.
        let udp = UdpSocket::bind(SocketAddr::new(ip(POD4), 5555)).unwrap();
        let other = ruleset(vec![opening(8, "web", Ports::new([], [PortRange::single(123)], false))]);
        let _ = firewall.install(&other, &leased()).unwrap();
        let _ = udp.send_to(b"x", SocketAddr::new(ip(PEER4), 123));
        assert_eq!(told(&mut began).first().map(|(what, _)| *what), Some(Told::Permitted(RuleId::new(8).unwrap())));
    });
}

#[test]
fn what_comes_in_is_told_once_and_the_proxys_own_and_loopbacks_never() {
    in_namespace(|| {
        let peer = Peer::new();
        let mut rules = all();
        rules.proxy.upstreams = vec![SocketAddr::new(ip(PEER4), 53)];
        let mut firewall = shared();
        let _ = firewall.install(&rules, &leased()).unwrap();
        let mut began = ToldPackets::began(Log::default()).unwrap();
        let mut refused = ToldPackets::refused(Log::default()).unwrap();
        // The proxy asks: uid, mark and priority are right.
        let asks = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
        asks.set_mark(rules.proxy.mark).unwrap();
        nix::sys::socket::setsockopt(&asks, nix::sys::socket::sockopt::Priority, &(rules.proxy.priority as i32)).unwrap();
        asks.send_to(b"question", &SocketAddr::new(ip(PEER4), 53).into()).unwrap();
        // A question of the app's, turned to the proxy; and loopback.
        let udp = UdpSocket::bind("0.0.0.0:0").unwrap();
        let _ = udp.send_to(b"question", SocketAddr::new(ip(OTHER4), 53));
        let _ = udp.send_to(b"x", "127.0.0.1:9999");
        assert_eq!(told(&mut began), []);
        assert_eq!(told(&mut refused), []);
        let listener = TcpListener::bind(SocketAddr::new(ip(POD4), 8080)).unwrap();
        peer.there(|| {
            let _ = TcpStream::connect(SocketAddr::new(ip(POD4), 8080)).unwrap();
            let udp = UdpSocket::bind(SocketAddr::new(ip(PEER6), 0)).unwrap();
            for _ in 0..3 {
                let _ = udp.send_to(b"x", SocketAddr::new(ip(POD6), 7777));
            }
        });
        drop(listener.accept().unwrap());
        let found = told(&mut began);
        let short: Vec<_> = found.iter().map(|(what, packet)| (*what, packet.protocol, packet.source, packet.destination_port)).collect();
        assert_eq!(short, [(Told::Inbound, 6, ip(PEER4), Some(8080)), (Told::Inbound, 17, ip(PEER6), Some(7777))]);
        assert_eq!(firewall.counters().unwrap().inbound.packets, 2);
    });
}

#[test]
fn an_end_is_told_with_what_went_both_ways() {
    in_namespace(|| {
        let peer = Peer::new();
        let _ = shared().install(&all(), &leased()).unwrap();
        let mut ends = EndedConnections::listen().unwrap();
        server(&peer, PEER4, 443, 5000);
        let mut stream = TcpStream::connect(SocketAddr::new(ip(PEER4), 443)).unwrap();
        let mut read = Vec::new();
        stream.read_to_end(&mut read).unwrap();
        assert_eq!(read.len(), 5000);
        let mut listed = Vec::new();
        each_connection(|connection| listed.push(connection)).unwrap();
        let owner = FlowOwner::Rule(RuleId::new(7).unwrap());
        assert_eq!(listed.iter().map(|found| (found.owner, found.destination)).collect::<Vec<_>>(), [(owner, ip(PEER4))]);
        drop(stream);
        sleep(Duration::from_millis(100));
        run("conntrack", &["-D", "-p", "tcp", "--dport", "443"]);
        let found = ended(&mut ends);
        assert_eq!(found.len(), 1, "{found:?}");
        let end = found[0];
        assert_eq!((end.owner, end.source, end.destination, end.protocol), (owner, ip(POD4), ip(PEER4), 6));
        assert_eq!(end.destination_port, Some(443));
        assert!(end.received.bytes > 5000 && end.received.bytes < 6000 && end.received.packets >= 4, "{end:?}");
        assert!(end.sent.packets >= 3 && end.sent.bytes >= 3 * 40, "{end:?}");
        assert_ne!(end.tcp_state, 0, "{end:?}");
        // The entry of a closed connection ends half a minute after it.
        assert!(end.idle_time() <= Duration::from_secs(120));
        let listing = run("nft", &["list", "ct", "timeout", "inet", "portreeve", "flow_tcp"]);
        assert!(listing.contains("time_wait : 30"), "{listing}");
        // A question turned to the proxy, and loopback: nobody's.
        let udp = UdpSocket::bind("0.0.0.0:0").unwrap();
        let _ = udp.send_to(b"question", SocketAddr::new(ip(OTHER4), 53));
        let _ = udp.send_to(b"x", "127.0.0.1:9999");
        let (_, _, _) = crate::world::attempt("conntrack", &["-D", "-p", "udp"]);
        assert_eq!(ended(&mut ends), []);
    });
}

#[test]
fn a_flood_of_refused_packets_costs_no_first_packet() {
    in_namespace(|| {
        let _peer = Peer::new();
        let mut rules = all();
        rules.log.per_second = 1_000_000;
        let _ = shared().install(&rules, &leased()).unwrap();
        let mut began = ToldPackets::began(rules.log).unwrap();
        let mut refused = ToldPackets::refused(rules.log).unwrap();
        let udp = UdpSocket::bind(SocketAddr::new(ip(POD4), 0)).unwrap();
        for number in 0..20_000_u16 {
            let _ = udp.send_to(&[0; 300], SocketAddr::new(ip(OTHER4), 1000));
            if number % 1000 == 0 {
                let other = UdpSocket::bind(SocketAddr::new(ip(POD4), 20_000 + number / 1000)).unwrap();
                let _ = other.send_to(b"x", SocketAddr::new(ip(PEER4), 123));
            }
        }
        assert_eq!((told(&mut began).len(), began.lost()), (20, 0));
        while refused.receive(|_| {}).unwrap() {}
        let _ = udp.send_to(b"x", SocketAddr::new(ip(OTHER4), 1000));
        assert!(!told(&mut refused).is_empty() && refused.lost() > 0, "the flood was one");
    });
}

#[test]
fn in_audit_what_nothing_opens_passes_and_is_told_once_and_enforced_it_is_held_again() {
    in_namespace(|| {
        let peer = Peer::new();
        let mut rules = all();
        rules.posture = Posture::Audit;
        rules.denies = vec![nft::Deny { ranges: vec!["203.0.113.0/24".parse().unwrap()], ports: None }];
        let mut firewall = shared();
        let _ = firewall.install(&rules, &[]).unwrap();
        let mut refused = ToldPackets::refused(rules.log).unwrap();
        let mut ends = EndedConnections::listen().unwrap();
        let sink = |address: &'static str| {
            peer.there(move || {
                let socket = UdpSocket::bind(SocketAddr::new(ip(address), 99)).unwrap();
                socket.set_read_timeout(Some(SHORT)).unwrap();
                socket
            })
        };
        let arrive = |socket: &UdpSocket| {
            let socket = socket.try_clone().unwrap();
            peer.there(move || (0..10).take_while(|_| socket.recv_from(&mut [0; 10]).is_ok()).count())
        };
        // What takes the proxy's flow must not give it another mark: its identity would leave uncleared then, for a tap to read.
        let proxys = run("nft", &["list", "chain", "inet", "portreeve", "proxy_flow"]);
        assert!(proxys.contains("goto refuse") && !proxys.contains("goto tell"), "{proxys}");
        let udp = UdpSocket::bind(SocketAddr::new(ip(POD4), 0)).unwrap();
        // Neither the range that is denied, nor the port that nothing opens.
        for address in [PEER4, OTHER4] {
            let socket = sink(address);
            for _ in 0..3 {
                udp.send_to(b"x", SocketAddr::new(ip(address), 99)).unwrap();
            }
            assert_eq!(arrive(&socket), 3, "{address}");
            let found = told(&mut refused);
            assert_eq!(found.iter().map(|(what, packet)| (*what, packet.destination)).collect::<Vec<_>>(), [(Told::Refused, ip(address))]);
        }
        server(&peer, PEER4, 8443, 10);
        let mut stream = TcpStream::connect(SocketAddr::new(ip(PEER4), 8443)).unwrap();
        let _ = stream.read(&mut [0; 10]).unwrap();
        assert_eq!(told(&mut refused).len(), 1);
        assert_eq!(firewall.counters().unwrap().denied.packets, 3);
        run("conntrack", &["-D", "-p", "udp", "-d", OTHER4]);
        assert_eq!(
            ended(&mut ends).iter().map(|end| (end.owner, end.sent)).collect::<Vec<_>>(),
            [(FlowOwner::Audit, Volume { packets: 3, bytes: 3 * 29 })]
        );
        // Enforced: the next packet of the same flow, and of the same connection, is refused.
        rules.posture = Posture::Enforce;
        let _ = firewall.install(&rules, &[]).unwrap();
        let _ = std::io::Write::write(&mut stream, b"x");
        sleep(Duration::from_millis(50));
        assert!(std::io::Write::write(&mut stream, b"x").is_err(), "the connection was reset");
        let socket = sink(PEER4);
        for _ in 0..3 {
            let _ = udp.send_to(b"x", SocketAddr::new(ip(PEER4), 99));
        }
        assert_eq!(arrive(&socket), 0);
    });
}

#[test]
fn all_connections_are_listed_however_many_there_are() {
    const FLOWS: usize = 80_000;
    in_namespace(|| {
        let _peer = Peer::new();
        let _ = shared().install(&all(), &leased()).unwrap();
        let mut sent = 0;
        // Two destinations, so that there are ports enough.
        for address in [PEER4, PEER6] {
            let any = if address == PEER4 { "0.0.0.0" } else { "::" };
            for port in 10_000..50_000 {
                let socket = UdpSocket::bind(SocketAddr::new(ip(any), port)).unwrap();
                sent += usize::from(socket.send_to(b"x", SocketAddr::new(ip(address), 123)).is_ok());
            }
        }
        let mut listed = 0;
        each_connection(|connection| listed += usize::from(connection.destination_port == Some(123))).unwrap();
        assert_eq!((sent, listed), (FLOWS, FLOWS));
    });
}
