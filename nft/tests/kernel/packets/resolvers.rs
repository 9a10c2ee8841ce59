//! Who reaches a resolver: the proxy its upstreams, everybody else the proxy.

use std::os::fd::AsFd;

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use super::*;
use crate::world::proxy;

#[test]
fn questions_to_any_resolver_reach_the_proxy() {
    in_namespace(|| {
        let peer = Peer::new();
        let resolver = servers(&peer, 53);
        let _ = shared().install(&ruleset(Vec::new()), &[]).unwrap();
        let own = Echo::here(&["127.0.0.1", "::1"], 5453);
        for address in [PEER4, OTHER4, PEER6, OTHER6] {
            let from = ask_anew(address, 53).unwrap();
            assert_eq!(from, SocketAddr::new(ip(address), 53), "the answer seems to come from the address asked");
            exchange(&mut connect(address, 53).unwrap()).unwrap();
        }
        assert_eq!((own.datagrams(), own.connections()), (4, 4));
        assert_eq!((resolver.datagrams(), resolver.connections()), (0, 0));
        refused(PEER4, 853);
    });
}

/// A socket of the proxy, or of someone who guesses at it.
fn identified(kind: Type, address: IpAddr, mark: u32, priority: u32) -> Socket {
    let protocol = if kind == Type::STREAM { Protocol::TCP } else { Protocol::UDP };
    let socket = Socket::new(Domain::for_address(SocketAddr::new(address, 0)), kind, Some(protocol)).unwrap();
    socket.set_mark(mark).unwrap();
    setsockopt(&socket.as_fd(), sockopt::Priority, &(priority.cast_signed())).unwrap();
    socket
}

#[test]
fn only_the_proxy_reaches_its_upstreams_and_only_while_it_is_the_proxy() {
    in_namespace(|| {
        let peer = Peer::new();
        let resolver = servers(&peer, 53);
        let odd = servers(&peer, 5300);
        let mut rules = ruleset(Vec::new());
        let upstreams = [(PEER4, 53), (PEER6, 53), (PEER4, 5300)];
        rules.proxy.upstreams = upstreams.iter().map(|(address, port)| SocketAddr::new(ip(address), *port)).collect();
        // Resolvers may live in a denied range.
        rules.denies = vec![Deny { ranges: vec!["198.51.100.0/24".parse().unwrap()], ports: None }];
        let _ = shared().install(&rules, &[]).unwrap();
        let own = Echo::here(&["127.0.0.1", "::1"], 5453);
        let identity = proxy();
        let ask_as = |mark, priority, address, port| {
            let socket: UdpSocket = identified(Type::DGRAM, ip(address), mark, priority).into();
            ask(&socket, SocketAddr::new(ip(address), port))
        };
        for (address, port) in upstreams {
            ask_as(identity.mark, identity.priority, address, port).unwrap();
            let stream = identified(Type::STREAM, ip(address), identity.mark, identity.priority);
            stream.connect_timeout(&SocketAddr::new(ip(address), port).into(), SHORT).unwrap();
            exchange(&mut stream.into()).unwrap();
        }
        assert_eq!((resolver.datagrams(), resolver.connections(), odd.datagrams(), odd.connections()), (2, 2, 1, 1));
        // The priority wrong, no mark, or another resolver: turned to the proxy like everyone's.
        ask_as(0, identity.priority, PEER4, 53).unwrap();
        ask_as(identity.mark, identity.priority ^ 1, PEER6, 53).unwrap();
        ask_as(identity.mark, identity.priority, OTHER4, 53).unwrap();
        assert!(ask_as(identity.mark, identity.priority ^ 1, PEER4, 5300).is_err());
        assert_eq!((resolver.datagrams(), own.datagrams(), odd.datagrams()), (2, 3, 1));
        // A guess at the mark fails, and for a second so does the right one: no guess is worth making.
        assert!(ask_as(identity.mark ^ 1, identity.priority, PEER4, 53).is_err());
        assert!(ask_as(identity.mark, identity.priority, PEER4, 53).is_err());
        sleep(Duration::from_millis(1500));

        // The proxy closes a socket; an app takes the port while the kernel still knows the flow.
        let proxys: UdpSocket = identified(Type::DGRAM, ip(PEER4), identity.mark, identity.priority).into();
        ask(&proxys, SocketAddr::new(ip(PEER4), 53)).unwrap();
        let port = proxys.local_addr().unwrap().port();
        drop(proxys);
        let app = UdpSocket::bind(SocketAddr::new(ip("0.0.0.0"), port)).unwrap();
        // Its question is turned to the proxy like every other.
        ask(&app, SocketAddr::new(ip(PEER4), 53)).unwrap();
        assert_eq!((resolver.datagrams(), own.datagrams()), (3, 4), "an app speaks on the proxy's flow");
    });
}
