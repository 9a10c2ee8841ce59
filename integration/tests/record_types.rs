//! Promise: every type of record is answered as it should be, with real servers upstream: what carries addresses opens them or is stripped, what
//! carries none passes, and what does not fit a datagram comes over TCP.
//!
//! # Limitations
//! The signatures in the zone are made up: that they are carried is shown, not that they are right.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use integration::clients::{Dig, connect, dig};
use integration::leases;
use integration::servers::{Nsd, Unbound};
use integration::stubs::{Libc, resolve};
use integration::world::RESOLVER;
use integration::{Behaviour, Pod, Portreeve, Setup, TcpTarget, World, wait_until};

const SECOND: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(10);

const POLICY: &str = r#"
version = 1
name = "types"
[[allow]]
name = "web"
hosts = ["example.com", "www.example.com", "big.example.com", "srv.example.com", "*.slow.example.com"]
ports = ["443"]
[[allow]]
name = "strip"
hosts = ["strip.example.com"]
ports = ["443"]
https-records = "strip"
[[allow]]
name = "directory"
hosts = ["_ldap._tcp.example.com"]
ports = ["389"]
srv-targets = true
[[allow]]
name = "voice"
hosts = ["_sip._udp.example.com"]
ports = ["5060"]
"#;

/// What the zone has; 100 addresses are in `big` beside.
const ZONE: &str = r#"
@ MX 10 mail.example.com.
@ TXT "v=spf1 -all" "second string"
@ CAA 0 issue "ca.example.net"
@ RRSIG DNSKEY 13 2 60 20360101000000 20260101000000 1 example.com. AAAA
www A 198.51.100.7
www AAAA 2001:db8:ffff::7
www RRSIG A 13 3 60 20360101000000 20260101000000 1 example.com. AAAA
www HTTPS 1 . alpn="h2,h3" port=8443 ipv4hint=198.51.100.66 ipv6hint=2001:db8:ffff::66
strip A 198.51.100.9
strip HTTPS 1 . alpn="h2,h3" port=8443 ipv4hint=198.51.100.66 ipv6hint=2001:db8:ffff::66
_ldap._tcp SRV 0 5 389 dc1.corp.example.com.
dc1.corp A 198.51.100.20
_sip._udp SRV 0 5 5060 pbx.corp.example.com.
pbx.corp A 198.51.100.21
"#;

struct Scene {
    _nsd: Nsd,
    _unbound: Unbound,
    _targets: Vec<TcpTarget>,
    pod: Pod,
    _world: World,
}

/// NSD with the zone, Unbound before it; the pod's resolver is the one or the other.
fn scene(through_unbound: bool) -> Scene {
    let world = World::new();
    let big: String = (0..100).map(|n| format!("big A 198.18.{}.{}\n", n / 50, n % 50 + 1)).collect();
    let authority: IpAddr = if through_unbound { [10, 96, 0, 11].into() } else { RESOLVER.into() };
    let resolver: IpAddr = if through_unbound { RESOLVER.into() } else { [10, 96, 0, 11].into() };
    let nsd = Nsd::start(&world, authority, "example.com", &format!("{ZONE}{big}"));
    let unbound = Unbound::start(&world, resolver, "example.com", nsd.address());
    let targets = ["198.51.100.7:443", "198.51.100.20:389", "198.51.100.21:5060", "198.18.1.50:443"];
    let targets = targets.map(|address| TcpTarget::on(world.outside(), address, "")).into();
    Scene { _nsd: nsd, _unbound: unbound, _targets: targets, pod: world.pod("app"), _world: world }
}

impl Scene {
    fn hold(&self) -> Portreeve<'_> {
        Setup::new(&self.pod).policy("types.toml", POLICY).start()
    }

    fn dig(&self, args: &[&str]) -> Dig {
        dig(&self.pod, args)
    }
}

fn is_open(pod: &Pod, target: &str) -> bool {
    match connect(pod, target.parse().unwrap(), 5 * SECOND) {
        Ok(_) => true,
        Err(cause) if cause.kind() == ErrorKind::ConnectionRefused => false,
        Err(cause) => panic!("{target}: neither open nor refused: {cause}"),
    }
}

/// Type and data of each record of the answer section.
fn data(found: &Dig) -> Vec<(&str, &str)> {
    let mut data: Vec<_> = found.answers.iter().map(|(_, _, rtype, data)| (rtype.as_str(), data.as_str())).collect();
    data.sort_unstable();
    data
}

#[test]
fn records_without_addresses_pass_as_nsd_and_unbound_give_them() {
    for through_unbound in [false, true] {
        let scene = scene(through_unbound);
        let _portreeve = scene.hold();
        let ask = |rtype: &str| scene.dig(&["example.com", rtype]);
        assert_eq!(data(&ask("MX")), [("MX", "10 mail.example.com.")]);
        assert_eq!(data(&ask("TXT")), [("TXT", "\"v=spf1 -all\" \"second string\"")]);
        assert_eq!(data(&ask("CAA")), [("CAA", "0 issue \"ca.example.net\"")]);
        assert_eq!(data(&ask("NS")), [("NS", "ns.example.com.")]);
        assert_eq!(ask("SOA").answers.len(), 1);
        let nothing = ask("NAPTR");
        assert!(nothing.status == "NOERROR" && nothing.answers.is_empty() && nothing.soa.is_some(), "{}", nothing.raw);
        // What they name is not permitted by that, and their addresses did not come along.
        let mail = scene.dig(&["mail.example.com"]);
        assert_eq!((mail.status.as_str(), mail.ede[0].0), ("NXDOMAIN", 15));
        assert!(!ask("MX").raw.contains("ADDITIONAL SECTION"));
        assert_eq!(leases::leases(&scene.pod), []);
        // One HINFO instead of everything (RFC 8482), over both transports.
        for transport in ["+notcp", "+tcp"] {
            let any = scene.dig(&["example.com", "ANY", transport]);
            assert_eq!(data(&any), [("HINFO", "\"RFC8482\" \"\"")], "{}", any.raw);
        }
    }
}

#[test]
fn https_records_are_absent_or_without_their_hints() {
    let scene = scene(false);
    let _portreeve = scene.hold();
    let watcher = scene.pod.watch();
    let absent = scene.dig(&["www.example.com", "HTTPS"]);
    assert!(absent.status == "NOERROR" && absent.answers.is_empty() && absent.soa.is_some(), "{}", absent.raw);
    assert_eq!(watcher.left_pod(|packet| packet.destination_port == 53).len(), 0, "nobody was asked");
    let stripped = scene.dig(&["strip.example.com", "HTTPS"]);
    let [("HTTPS", record)] = data(&stripped)[..] else { panic!("{}", stripped.raw) };
    assert!(record.contains("alpn=\"h2,h3\"") && record.contains("port=8443") && !record.contains("hint"), "{record}");
    assert_eq!(leases::of(&scene.pod, "198.51.100.66"), []);
    // The same out of what is kept.
    assert_eq!(data(&scene.dig(&["strip.example.com", "HTTPS"])), [("HTTPS", record)]);
}

#[test]
fn the_target_of_a_srv_record_opens_where_the_rule_says_so() {
    let scene = scene(true);
    let portreeve = scene.hold();
    assert_eq!(scene.dig(&["dc1.corp.example.com"]).status, "NXDOMAIN", "before its owner was asked for");
    assert_eq!(data(&scene.dig(&["_ldap._tcp.example.com", "SRV"])), [("SRV", "0 5 389 dc1.corp.example.com.")]);
    assert!(!is_open(&scene.pod, "198.51.100.20:389"), "a name alone opens nothing");
    let target = resolve(&scene.pod, Libc::Musl, "dc1.corp.example.com");
    assert_eq!(target.addresses, ["198.51.100.20".parse::<IpAddr>().unwrap()], "{}", portreeve.log());
    assert!(is_open(&scene.pod, "198.51.100.20:389"));
    assert!(!is_open(&scene.pod, "198.51.100.20:443"), "on the rule's port alone");
    // Without `srv-targets` the record passes and its target stays refused.
    assert_eq!(data(&scene.dig(&["_sip._udp.example.com", "SRV"])), [("SRV", "0 5 5060 pbx.corp.example.com.")]);
    let target = scene.dig(&["pbx.corp.example.com"]);
    assert_eq!((target.status.as_str(), target.ede[0].0), ("NXDOMAIN", 15));
}

#[test]
fn a_reverse_look_up_names_what_is_leased_and_nothing_else() {
    let scene = scene(false);
    let _portreeve = scene.hold();
    let watcher = scene.pod.watch();
    assert_eq!(scene.dig(&["-x", "198.51.100.7"]).status, "NXDOMAIN", "not leased yet");
    for (kind, address) in [("A", "198.51.100.7"), ("AAAA", "2001:db8:ffff::7")] {
        assert_eq!(scene.dig(&["www.example.com", kind]).answers.len(), 1);
        let name = scene.dig(&["-x", address]);
        assert_eq!(data(&name), [("PTR", "www.example.com.")], "{}", name.raw);
        assert!(name.answers[0].1 <= 90, "no longer than the lease: {}", name.raw);
    }
    for address in ["198.51.100.8", "10.96.0.10", "2001:db8:ffff::8"] {
        assert_eq!(scene.dig(&["-x", address]).status, "NXDOMAIN", "{address}");
    }
    assert!(watcher.left_pod(|packet| packet.destination_port == 53 && packet.carries("arpa")).is_empty(), "nobody was asked");
}

#[test]
fn dnssec_bits_and_edns_options_pass_without_harm() {
    let scene = scene(false);
    let _portreeve = scene.hold();
    let watcher = scene.pod.watch();
    let plain = scene.dig(&["www.example.com"]);
    assert_eq!(data(&plain), [("A", "198.51.100.7")]);
    let signed = scene.dig(&["www.example.com", "+dnssec", "+cdflag"]);
    let types: Vec<&str> = data(&signed).iter().map(|(rtype, _)| *rtype).collect();
    assert_eq!(types, ["A", "RRSIG"], "{}", signed.raw);
    let flags = signed.raw.lines().find(|line| line.starts_with(";; flags:")).unwrap();
    assert!(flags.contains(" cd"), "{flags}");
    // CD is the bit 0x10 of the fourth octet, DO the top bit of the flags in the OPT record at the end.
    let up = watcher.left_pod(|packet| packet.destination_port == 53 && packet.payload[3] & 0x10 != 0);
    assert_eq!(up.len(), 1, "CD goes up: {up:?}");
    assert!(up[0].payload.windows(4).any(|bytes| bytes[0] == 0 && bytes[2] == 0x80 && bytes[1] == 0 && bytes[3] == 0), "DO goes up");
    assert_eq!(data(&scene.dig(&["www.example.com"])), [("A", "198.51.100.7")], "who asks without DO gets no signatures, kept or not");

    for options in [
        &["+cookie=0123456789abcdef"][..],
        &["+subnet=203.0.113.0/24"],
        &["+padding=128"],
        &["+nsid", "+expire"],
        &["+ednsopt=65001:deadbeef", "+keepalive"],
    ] {
        for name in ["www.example.com", "srv.example.com", "evil.example.org"] {
            watcher.forget();
            let found = scene.dig(&[options, &[name]].concat());
            let wanted = if name.starts_with("www") { "NOERROR" } else { "NXDOMAIN" };
            assert_eq!(found.status, wanted, "{options:?}: {}", found.raw);
            assert_eq!(found.answers.len(), usize::from(name.starts_with("www")), "{options:?}: {}", found.raw);
        }
    }
    // The version of EDNS that nobody speaks yet.
    assert_eq!(scene.dig(&["www.example.com", "+edns=1", "+noednsnegotiation"]).status, "BADVERS");
}

#[test]
fn an_extended_error_is_told_to_who_sent_opt_and_to_nobody_else() {
    let scene = scene(false);
    let _portreeve = scene.hold();
    for transport in ["+notcp", "+tcp"] {
        let told = scene.dig(&["evil.example.org", "+edns=0", transport]);
        assert_eq!((told.status.as_str(), told.ede.len(), told.ede[0].0), ("NXDOMAIN", 1, 15));
        let bare = scene.dig(&["evil.example.org", "+noedns", transport]);
        assert!(bare.status == "NXDOMAIN" && bare.ede.is_empty() && !bare.raw.contains("OPT PSEUDOSECTION"), "{}", bare.raw);
        assert!(bare.soa.is_some());
    }
    // Of a failure too: its name's server is not there.
    let bare = scene.dig(&["www.example.com", "+noedns"]);
    assert!(bare.answers.len() == 1 && !bare.raw.contains("OPT PSEUDOSECTION"), "{}", bare.raw);
}

#[test]
fn what_a_client_has_no_room_for_is_cut_and_comes_whole_over_tcp() {
    let scene = scene(false);
    let portreeve = scene.hold();
    for args in [&["+noedns"][..], &["+bufsize=512"], &["+bufsize=1232"], &["+bufsize=4096"]] {
        let cut = scene.dig(&[&["big.example.com", "+notcp", "+ignore"], args].concat());
        let flags = cut.raw.lines().find(|line| line.starts_with(";; flags:")).unwrap_or_else(|| panic!("{}", cut.raw));
        let size = cut.raw.lines().find_map(|line| line.strip_prefix(";; MSG SIZE  rcvd: ")?.parse::<usize>().ok()).unwrap();
        let room = if args[0] == "+noedns" || args[0].ends_with("512") { 512 } else { 1232 };
        assert!(flags.contains(" tc") && size <= room && size > 12, "{args:?}: {size} octets, {flags}");
        assert!(cut.answers.len() < 100, "{args:?}");
        // dig goes over to TCP by itself.
        assert_eq!(scene.dig(&[&["big.example.com"], args].concat()).answers.len(), 100, "{args:?}\n{}", portreeve.log());
    }
    for libc in Libc::ALL {
        let found = resolve(&scene.pod, libc, "big.example.com");
        // musl 1.2.3 and before asks over UDP only and takes what fits; 1.2.4 goes over to TCP.
        let enough = if libc == Libc::Glibc { 100 } else { 20 };
        assert!(found.addresses.len() >= enough, "{libc:?}: {}", found.addresses.len());
    }
    assert_eq!(leases::leases(&scene.pod).len(), 100);
    assert!(is_open(&scene.pod, "198.18.1.50:443"), "the last of them");
}

fn question(id: u16, name: &str) -> Vec<u8> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(format!("{name}.")).unwrap(), RecordType::A));
    let bytes = message.to_vec().unwrap();
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], &bytes].concat()
}

fn read_answer(stream: &mut TcpStream) -> std::io::Result<Message> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut bytes = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut bytes)?;
    Ok(Message::from_vec(&bytes).expect("a message"))
}

#[test]
fn questions_of_one_connection_are_answered_as_their_answers_come_and_an_idle_one_ends() {
    let world = World::new();
    let authority = world.authority();
    authority.a("*.slow.example.com", &["198.51.100.7"], 60);
    authority.a("www.example.com", &["198.51.100.7"], 60);
    let pod = world.pod("app");
    let portreeve = Setup::new(&pod).policy("types.toml", POLICY).start();
    authority.behave("first.slow.example.com", &[Behaviour::Delay(700 * SECOND / 1000)]);
    authority.behave("third.slow.example.com", &[Behaviour::Delay(350 * SECOND / 1000)]);
    pod.run(|| {
        let target = SocketAddr::from((RESOLVER, 53));
        let connect = || {
            let stream = TcpStream::connect_timeout(&target, LIMIT).unwrap();
            stream.set_read_timeout(Some(2 * LIMIT)).unwrap();
            stream
        };
        // One that never says anything, and one that stops in the middle of a question.
        let (mut silent, mut half) = (connect(), connect());
        half.write_all(&question(1, "www.example.com")[..9]).unwrap();
        let opened = Instant::now();

        let mut stream = connect();
        let names = ["first.slow.example.com", "evil.example.org", "third.slow.example.com", "www.example.com", "fifth.slow.example.com"];
        let all: Vec<u8> = names.iter().zip(1..).flat_map(|(name, id)| question(id, name)).collect();
        // In one packet but for the last three octets.
        let (most, last) = all.split_at(all.len() - 3);
        stream.write_all(most).unwrap();
        std::thread::sleep(SECOND / 10);
        stream.write_all(last).unwrap();
        let mut order = Vec::new();
        for _ in names {
            let answer = read_answer(&mut stream).unwrap();
            let id = answer.metadata.id;
            assert_eq!(answer.queries[0].name.to_ascii().trim_end_matches('.'), names[usize::from(id) - 1]);
            assert_eq!(answer.answers.len(), usize::from(id != 2), "{id}");
            order.push(id);
        }
        assert_eq!(order[3..], [3, 1], "the slow ones come last, the slowest at the very end: {order:?}");
        // Asked again later on the same connection.
        std::thread::sleep(2 * SECOND);
        stream.write_all(&question(9, "www.example.com")).unwrap();
        assert_eq!(read_answer(&mut stream).unwrap().metadata.id, 9);
        let asked = Instant::now();
        for (which, stream, since) in [("silent", &mut silent, opened), ("half", &mut half, opened), ("idle", &mut stream, asked)] {
            let end = stream.read(&mut [0; 10]);
            assert!(
                matches!(end, Ok(0)) || end.as_ref().is_err_and(|cause| cause.kind() == ErrorKind::ConnectionReset),
                "{which}: {end:?}"
            );
            let age = since.elapsed();
            assert!(age > 8 * SECOND && age < 15 * SECOND, "{which} was closed after {age:?}\n{}", portreeve.log());
        }
    });
}

#[test]
fn without_a_route_for_ipv6_there_are_no_addresses_of_it() {
    let scene = scene(false);
    let _portreeve = scene.hold();
    let aaaa = || scene.dig(&["www.example.com", "AAAA"]);
    let ip = |batch: String| scene.pod.command("ip").args(["-6", "-batch", "-"]).input(batch).output().expect_ok("ip -batch");
    let (own, gateway) = (scene.pod.v6(), scene.pod.gateway6());
    assert_eq!(aaaa().addresses(), ["2001:db8:ffff::7".parse::<IpAddr>().unwrap()]);
    // The prefix of the wire is a route that leads out too.
    let _nothing = ip(format!("route del default via {gateway}\naddr del {own}/64 dev eth0\n"));
    let gone = wait_until(LIMIT, || Some(aaaa()).filter(|found| found.status == "NOERROR" && found.answers.is_empty()));
    let gone = gone.unwrap_or_else(|| panic!("{}", aaaa().raw));
    assert!(gone.soa.is_some(), "an absence that may be kept: {}", gone.raw);
    for libc in Libc::ALL {
        assert_eq!(resolve(&scene.pod, libc, "www.example.com").addresses, ["198.51.100.7".parse::<IpAddr>().unwrap()], "{libc:?}");
    }
    let _nothing = ip(format!("addr add {own}/64 dev eth0 nodad\nroute add default via {gateway}\n"));
    let back = wait_until(LIMIT, || (aaaa().answers.len() == 1).then_some(()));
    assert!(back.is_some(), "{}", aaaa().raw);
}
