//! What packets meet: real sockets here and in a second namespace, both address families.

use std::{
    io::{ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

use nft::{Deny, Firewall, Kind, PortRange, Ports, RuleId, Ruleset};

use crate::world::{
    OTHER4, OTHER6, PEER4, PEER6, POD4, POD6, Peer, change, commit, elements, in_namespace, ip, lease, opening, ruleset, run, shared,
};

#[path = "packets/guards.rs"]
mod guards;
#[path = "packets/resolvers.rs"]
mod resolvers;

const SHORT: Duration = Duration::from_millis(300);

/// An echo server, TCP and UDP on one port, that counts what reaches it.
struct Echo {
    stop: Arc<AtomicBool>,
    datagrams: Arc<AtomicU64>,
    connections: Arc<AtomicU64>,
}

impl Echo {
    /// Serves in the namespace of the calling thread.
    fn here(addresses: &[&str], port: u16) -> Self {
        let echo = Self { stop: Arc::default(), datagrams: Arc::default(), connections: Arc::default() };
        for address in addresses {
            let at = SocketAddr::new(ip(address), port);
            let udp = UdpSocket::bind(at).unwrap();
            udp.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            let (stop, count) = (Arc::clone(&echo.stop), Arc::clone(&echo.datagrams));
            std::thread::spawn(move || {
                let mut buffer = [0; 2048];
                while !stop.load(Ordering::Relaxed) {
                    if let Ok((len, from)) = udp.recv_from(&mut buffer) {
                        count.fetch_add(1, Ordering::SeqCst);
                        let _ = udp.send_to(&buffer[..len], from);
                    }
                }
            });
            let tcp = TcpListener::bind(at).unwrap();
            tcp.set_nonblocking(true).unwrap();
            let (stop, count) = (Arc::clone(&echo.stop), Arc::clone(&echo.connections));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    match tcp.accept() {
                        Ok((stream, _)) => {
                            count.fetch_add(1, Ordering::SeqCst);
                            let stop = Arc::clone(&stop);
                            std::thread::spawn(move || echo_stream(stream, &stop));
                        }
                        Err(_) => sleep(Duration::from_millis(2)),
                    }
                }
            });
        }
        echo
    }

    fn datagrams(&self) -> u64 {
        sleep(Duration::from_millis(60));
        self.datagrams.load(Ordering::SeqCst)
    }

    fn connections(&self) -> u64 {
        sleep(Duration::from_millis(60));
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn echo_stream(mut stream: TcpStream, stop: &AtomicBool) {
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let mut buffer = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(len) => drop(stream.write_all(&buffer[..len])),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => return,
        }
    }
}

fn connect(address: &str, port: u16) -> std::io::Result<TcpStream> {
    TcpStream::connect_timeout(&SocketAddr::new(ip(address), port), SHORT)
}

/// One exchange over an open connection.
fn exchange(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(SHORT))?;
    stream.write_all(b"ping")?;
    stream.read_exact(&mut [0; 4])
}

/// One datagram and its echo.
fn ask(socket: &UdpSocket, to: SocketAddr) -> std::io::Result<SocketAddr> {
    socket.set_read_timeout(Some(SHORT))?;
    socket.send_to(b"ping", to)?;
    socket.recv_from(&mut [0; 64]).map(|(_, from)| from)
}

fn ask_anew(address: &str, port: u16) -> std::io::Result<SocketAddr> {
    let to = SocketAddr::new(ip(address), port);
    let local = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    ask(&UdpSocket::bind(local)?, to)
}

/// Refused, and told at once.
fn refused(address: &str, port: u16) {
    let start = Instant::now();
    let error = connect(address, port).expect_err("it connected");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{address} {port}: {error}");
    assert!(start.elapsed() < Duration::from_millis(200), "{address} {port} took {:?}", start.elapsed());
}

fn web() -> Ruleset {
    let ports = Ports::new([PortRange::single(443)], [PortRange::single(443)], true);
    ruleset(vec![opening(1, "web", ports), opening(2, "db", Ports::tcp_port(5432))])
}

fn web_leases() -> [nft::Lease; 2] {
    [lease("web", PEER4, "four.example", 600), lease("web", PEER6, "six.example", 600)]
}

fn servers(peer: &Peer, port: u16) -> Echo {
    peer.there(move || Echo::here(&[PEER4, PEER6, OTHER4, OTHER6], port))
}

#[test]
fn what_is_permitted_passes_and_the_rest_is_refused_at_once() {
    in_namespace(|| {
        let peer = Peer::new();
        let mut firewall = shared();
        let https = servers(&peer, 443);
        let ssh = servers(&peer, 22);
        // Without rules everything passes: the test can fail.
        connect(OTHER4, 22).unwrap();
        connect(OTHER6, 22).unwrap();
        let _ = firewall.install(&web(), &web_leases()).unwrap();
        for address in [PEER4, PEER6] {
            exchange(&mut connect(address, 443).unwrap()).unwrap();
            ask_anew(address, 443).unwrap();
            run("ping", &["-c", "4", "-i", "0.3", "-W", "1", address]);
            refused(address, 22);
            refused(address, 5432);
            assert!(ask_anew(address, 22).is_err());
        }
        for address in [OTHER4, OTHER6] {
            refused(address, 443);
            assert!(ask_anew(address, 443).is_err());
            assert!(!crate::world::attempt("ping", &["-c", "1", "-W", "1", address]).0);
        }
        assert_eq!((ssh.connections(), ssh.datagrams()), (2, 0));
        assert_eq!((https.connections(), https.datagrams()), (2, 2));
        assert!(firewall.denied().unwrap().packets >= 10);
        let used = firewall.in_use().unwrap();
        assert_eq!(used.iter().map(|used| used.address).collect::<Vec<_>>(), [ip(PEER4), ip(PEER6)]);
    });
}

#[test]
fn a_lease_opens_when_it_is_committed_and_ends() {
    in_namespace(|| {
        let peer = Peer::new();
        let mut firewall = shared();
        let _servers = servers(&peer, 443);
        let _ = firewall.install(&web(), &[]).unwrap();
        refused(PEER4, 443);
        let lease = change(&firewall, "web", PEER4, "a", 1, Kind::Add);
        commit(&mut firewall, &[&[lease]]).remove(0).unwrap();
        let mut open = connect(PEER4, 443).unwrap();
        exchange(&mut open).unwrap();
        sleep(Duration::from_millis(1300));
        refused(PEER4, 443);
        exchange(&mut open).expect("an established connection outlives its lease");
        for _ in 0..50 {
            let _ = firewall.install(&web(), &[]).unwrap();
        }
        exchange(&mut open).expect("and reloads of the same policy");
        // The rule goes, but its flows may go on; then they may not.
        let mut gone = ruleset(vec![opening(2, "db", Ports::tcp_port(5432))]);
        gone.retained = vec![RuleId::new(1).unwrap()];
        let _ = firewall.install(&gone, &[]).unwrap();
        exchange(&mut open).expect("retained");
        gone.retained.clear();
        let _ = firewall.install(&gone, &[]).unwrap();
        let error = exchange(&mut open).expect_err("the reload cut it");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    });
}

#[test]
fn established_flows_note_the_use_of_their_lease_also_after_a_reload() {
    in_namespace(|| {
        let peer = Peer::new();
        let mut firewall = shared();
        let _servers = servers(&peer, 443);
        let _ = firewall.install(&web(), &web_leases()).unwrap();
        let (mut four, mut six) = (connect(PEER4, 443).unwrap(), connect(PEER6, 443).unwrap());
        let in_use = |firewall: &mut Firewall| -> Vec<IpAddr> { firewall.in_use().unwrap().iter().map(|used| used.address).collect() };
        let forget = || ["web_v4_used", "web_v6_used"].map(|set| run("nft", &["flush", "set", "inet", "portreeve", set]));
        forget();
        assert!(in_use(&mut firewall).is_empty());
        exchange(&mut four).unwrap();
        exchange(&mut six).unwrap();
        assert_eq!(in_use(&mut firewall), [ip(PEER4), ip(PEER6)]);
        let _ = firewall.install(&web(), &web_leases()).unwrap();
        assert_eq!(in_use(&mut firewall), [ip(PEER4), ip(PEER6)], "a reload forgot what is in use");
        forget();
        exchange(&mut four).unwrap();
        exchange(&mut six).unwrap();
        assert_eq!(in_use(&mut firewall), [ip(PEER4), ip(PEER6)]);
        // The lease begins anew, the note of its use does not.
        sleep(Duration::from_millis(1100));
        let refresh = change(&firewall, "web", PEER4, "four.example", 900, Kind::Refresh);
        commit(&mut firewall, &[&[refresh]]).remove(0).unwrap();
        assert!(elements("web_v4")[0].2 > 890);
        let left = elements("web_v4_used")[0].2;
        assert!((80..=88).contains(&left), "{left}");
        // Asked for one by one.
        let web_before = firewall.opening("web").unwrap();
        let one = |firewall: &mut Firewall, opening, address: &str| firewall.is_in_use(opening, ip(address)).unwrap();
        assert!(one(&mut firewall, web_before, PEER4) && one(&mut firewall, web_before, PEER6));
        assert!(!one(&mut firewall, web_before, OTHER4) && !one(&mut firewall, web_before, OTHER6));
        let db = firewall.opening("db").unwrap();
        assert!(!one(&mut firewall, db, PEER4));
        // Asked for by key.
        let mut of = |keys: &[&str]| -> Vec<(String, IpAddr)> {
            firewall.in_use_of(keys.iter().copied()).unwrap().into_iter().map(|used| (used.key.to_string(), used.address)).collect()
        };
        assert_eq!(of(&["web", "no-such-key", "web"]), [("web".to_owned(), ip(PEER4)), ("web".to_owned(), ip(PEER6))]);
        assert!(of(&["db"]).is_empty());
        let _ = firewall.install(&web(), &web_leases()).unwrap();
        assert!(!one(&mut firewall, web_before, PEER4), "a stale handle");
    });
}

#[test]
fn more_addresses_are_noted_as_in_use_than_a_set_begins_with() {
    in_namespace(|| {
        let _peer = Peer::new();
        let mut firewall = shared();
        let addresses: Vec<String> = (1..=200).map(|n| format!("198.18.0.{n}")).collect();
        let leases: Vec<nft::Lease> = addresses.iter().map(|address| lease("web", address, "a", 600)).collect();
        let _ = firewall.install(&web(), &leases).unwrap();
        let udp = UdpSocket::bind("0.0.0.0:0").unwrap();
        for address in &addresses {
            udp.send_to(b"x", SocketAddr::new(ip(address), 443)).unwrap();
        }
        let mut found: Vec<IpAddr> = firewall.in_use().unwrap().iter().map(|used| used.address).collect();
        found.sort_unstable();
        assert_eq!(found, addresses.iter().map(|address| ip(address)).collect::<Vec<_>>());
    });
}

#[test]
fn denied_ranges_beat_openings_and_established_flows_but_not_inbound_ones() {
    in_namespace(|| {
        let peer = Peer::new();
        let mut firewall = shared();
        let servers = servers(&peer, 443);
        let _ = firewall.install(&web(), &web_leases()).unwrap();
        let (mut four, mut six) = (connect(PEER4, 443).unwrap(), connect(PEER6, 443).unwrap());
        exchange(&mut four).unwrap();
        exchange(&mut six).unwrap();
        let mut rules = web();
        rules.denies = vec![
            Deny { ranges: vec!["198.51.100.0/24".parse().unwrap()], ports: Some(Ports::tcp_port(443)) },
            Deny { ranges: vec!["2001:db8::/64".parse().unwrap()], ports: None },
        ];
        let _ = firewall.install(&rules, &web_leases()).unwrap();
        refused(PEER4, 443);
        refused(PEER6, 443);
        assert!(exchange(&mut four).is_err() && exchange(&mut six).is_err());
        ask_anew(PEER4, 443).expect("only tcp 443 is denied");
        assert_eq!(servers.connections(), 2);
        // A probe from a denied range gets its answer.
        let _inbound = Echo::here(&[POD4, POD6], 8080);
        peer.there(|| {
            for address in [POD4, POD6] {
                exchange(&mut connect(address, 8080).unwrap()).unwrap();
                ask_anew(address, 8080).unwrap();
            }
        });
    });
}

#[test]
fn closed_ports_and_pings_from_outside_are_answered() {
    in_namespace(|| {
        let peer = Peer::new();
        let _ = shared().install(&ruleset(Vec::new()), &[]).unwrap();
        // Neighbour discovery works both ways with nothing learnt.
        run("ip", &["neigh", "flush", "all"]);
        peer.there(|| {
            run("ip", &["neigh", "flush", "all"]);
            for address in [POD4, POD6] {
                refused(address, 8081);
                run("ping", &["-c", "4", "-i", "0.3", "-W", "1", address]);
                let udp = UdpSocket::bind(if address == POD4 { "0.0.0.0:0" } else { "[::]:0" }).unwrap();
                udp.connect(SocketAddr::new(ip(address), 8081)).unwrap();
                udp.send(b"x").unwrap();
                udp.set_read_timeout(Some(SHORT)).unwrap();
                assert_eq!(udp.recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::ConnectionRefused);
            }
        });
    });
}

#[test]
fn reloads_under_a_stream_lose_and_leak_nothing() {
    in_namespace(|| {
        let peer = Peer::new();
        let permitted = servers(&peer, 443);
        let forbidden = servers(&peer, 444);
        let mut firewall = shared();
        let _ = firewall.install(&web(), &web_leases()).unwrap();
        let done = Arc::new(AtomicBool::new(false));
        let sender = {
            let done = Arc::clone(&done);
            std::thread::spawn(move || {
                let (mut sent, mut lost, mut leaked) = (0_u64, 0_u64, 0_u64);
                while !done.load(Ordering::Relaxed) {
                    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
                    for _ in 0..20 {
                        lost += u64::from(socket.send_to(b"x", (PEER4, 443)).is_err());
                        leaked += u64::from(socket.send_to(b"x", (PEER4, 444)).is_ok());
                        sent += 1;
                    }
                }
                (sent, lost, leaked)
            })
        };
        reload(&mut firewall);
        done.store(true, Ordering::Relaxed);
        let (sent, lost, leaked) = sender.join().unwrap();
        assert!(sent > 1000, "{sent}");
        assert_eq!((lost, leaked), (0, 0), "of {sent}");
        assert_eq!((forbidden.datagrams(), forbidden.connections()), (0, 0));
        assert!(permitted.datagrams() > 0);
    });
}

/// 200 policies that all permit the stream, each by other blocks of ports, records, ranges and denials.
fn reload(firewall: &mut Firewall) {
    for step in 0..200_u16 {
        let mut rules = web();
        let udp = PortRange::new(443 - step % 4, 443).unwrap();
        rules.openings[0].ports = Ports::new([PortRange::single(443)], [udp], step % 2 == 0);
        rules.openings[0].fingerprint = u64::from(step);
        rules.openings[0].ranges = vec![format!("198.18.{step}.0/23").parse().unwrap()];
        rules.openings.push(opening(3, &format!("step-{}", step % 7), Ports::udp_port(440 + step % 4)));
        rules.denies = vec![
            Deny { ranges: vec![format!("198.51.{}.0/24", 101 + step % 3).parse().unwrap()], ports: None },
            Deny { ranges: vec![format!("198.51.100.{}/32", 3 + step % 250).parse().unwrap()], ports: Some(Ports::udp_port(443)) },
        ];
        let _ = firewall.install(&rules, &web_leases()).unwrap();
    }
}
