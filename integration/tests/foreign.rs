//! Promise: answers of any size and kind pass between servers and clients that nobody here wrote, and a refusal is met in the words that people
//! know from a name that is not there or a port that is closed.
//!
//! NSD and Unbound before it; glibc, musl, dig, curl and Python behind it. Debian 12's musl (1.2.3) knows no TCP: it lives on what fits a datagram.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use integration::clients::{connect, curl, dig, getent, musl};
use integration::servers::{Nsd, Unbound};
use integration::world::RESOLVER;
use integration::{Finished, Pod, Portreeve, Setup, TcpTarget, World};

const SECOND: Duration = Duration::from_secs(1);
const PAGE: &str = "HTTP/1.0 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nyes";

const POLICY: &str = r#"
version = 1
name = "web"
[[allow]]
name = "www"
hosts = ["www.example.com", "many.example.com", "chain.example.com", "*.svc.example.com"]
ports = ["80", "443"]
"#;

/// Addresses of many.example.com: 16 bytes each, three times what a datagram holds.
const MANY: usize = 200;

fn zone() -> String {
    let mut zone = String::from(
        "www A 198.51.100.7\nwww AAAA 2001:db8:ffff::7\nother A 203.0.113.9\n\
         chain CNAME c1\nc1 CNAME c2\nc2 CNAME c3\nc3 CNAME c4\nc4 CNAME c5\nc5 CNAME c6\nc6 CNAME c7\nc7 CNAME www\n\
         _http._tcp.svc SRV 10 5 80 www\nmail.svc MX 10 www\ntext.svc TXT \"v=spf1 -all\" \"second \\\"string\\\"\"\ncaa.svc CAA 0 issue \"ca.example.net\"\n\
         cert.svc TLSA 3 1 1 0d6fce3b0d6fce3b0d6fce3b0d6fce3b0d6fce3b0d6fce3b0d6fce3b0d6fce3b\nodd.svc TYPE65280 \\# 4 0a000001\n",
    );
    for number in 1..=MANY {
        writeln!(zone, "many A 198.51.100.{number}").unwrap();
    }
    let long = "x".repeat(250);
    for number in 0..40 {
        writeln!(zone, "long.svc TXT \"{number} {long}\"").unwrap();
    }
    zone
}

struct Scene {
    world: World,
    _nsd: Nsd,
    _unbound: Unbound,
    pod: Pod,
}

fn scene() -> Scene {
    let world = World::new();
    let nsd = Nsd::start(&world, "203.0.113.53".parse().unwrap(), "example.com", &zone());
    let unbound = Unbound::start(&world, RESOLVER.into(), "example.com", nsd.address());
    let pod = world.pod("app");
    Scene { world, _nsd: nsd, _unbound: unbound, pod }
}

fn held(pod: &Pod) -> Portreeve<'_> {
    Setup::new(pod).policy("web.toml", POLICY).start()
}

fn python(pod: &Pod, script: &str) -> Finished {
    pod.command("/usr/bin/python3").args(["-I", "-c", script]).as_user(1000).output()
}

#[test]
fn answers_that_fit_no_datagram_are_whole_over_tcp_and_every_address_of_them_is_open() {
    let scene = scene();
    let (pod, portreeve) = (&scene.pod, held(&scene.pod));
    // A client without EDNS, one with little room, one with much, one that does not go on over TCP, one that begins there.
    for (args, whole) in [
        (vec!["+noedns"], true),
        (vec!["+bufsize=512"], true),
        (vec!["+bufsize=4096"], true),
        (vec!["+ignore", "+bufsize=1232"], false),
        (vec!["+tcp"], true),
    ] {
        let answer = dig(pod, &[vec!["many.example.com"], args.clone()].concat());
        let found = answer.addresses().len();
        assert!(if whole { found == MANY } else { found < MANY }, "{args:?}: {found}\n{}\n{}", answer.raw, portreeve.log());
        assert_eq!(answer.raw.contains("flags: qr tc"), !whole, "{args:?}: {}", answer.raw);
    }
    assert_eq!(getent(pod, "many.example.com").len(), MANY, "glibc goes on over TCP");
    let text = dig(pod, &["long.svc.example.com", "TXT"]);
    assert_eq!(text.answers.len(), 40, "{}", text.raw);
    // What musl has is little, and open.
    let few = musl(pod, "many.example.com");
    assert!(!few.is_empty(), "musl");
    let _targets: Vec<TcpTarget> =
        (1..=MANY).map(|last| TcpTarget::on(scene.world.outside(), &format!("198.51.100.{last}:80"), "")).collect();
    let all: BTreeSet<IpAddr> = getent(pod, "many.example.com").into_iter().chain(few).collect();
    for address in &all {
        connect(pod, (*address, 80).into(), SECOND).unwrap_or_else(|cause| panic!("{address}: {cause}"));
    }
    assert_eq!(all.len(), MANY);
    assert!(connect(pod, "198.51.100.201:80".parse().unwrap(), SECOND).is_err());
}

#[test]
fn chains_and_every_type_of_record_pass() {
    let scene = scene();
    let (pod, portreeve) = (&scene.pod, held(&scene.pod));
    let web = TcpTarget::on(scene.world.outside(), "198.51.100.7:80", PAGE);
    let chain = dig(pod, &["chain.example.com"]);
    assert_eq!((chain.answers.len(), chain.addresses().len()), (9, 1), "{}", chain.raw);
    // Names come as they are in the zone, or as this client asked for them: never in the random case that upstream was asked in, nor, out of
    // the cache, as another client spells them. The chain holds together in whatever case it is told.
    for (spelled, kind) in
        [("chain.example.com", "A"), ("Chain.EXAMPLE.com", "A"), ("CHAIN.example.COM", "AAAA"), ("chain.example.com", "AAAA")]
    {
        let answer = dig(pod, &[spelled, kind]);
        let mut owner = format!("{spelled}.");
        let labels = ["c1", "c2", "c3", "c4", "c5", "c6", "c7", "www"];
        assert_eq!(answer.answers.len(), labels.len() + 1, "{}", answer.raw);
        for (label, (name, _, told, target)) in labels.iter().zip(&answer.answers) {
            let spellings = [".example.com.", &format!("{}.", &spelled["chain".len()..])].map(|zone| format!("{label}{zone}"));
            assert!((name, told.as_str()) == (&owner, "CNAME") && spellings.contains(target), "{label}: {}", answer.raw);
            owner.clone_from(target);
        }
        assert_eq!((&answer.answers[8].0, answer.answers[8].2.as_str()), (&owner, kind), "{}", answer.raw);
    }
    for found in [getent(pod, "chain.example.com"), musl(pod, "chain.example.com")] {
        assert_eq!(found.len(), 2, "{}", portreeve.log());
    }
    connect(pod, web.address(), SECOND).expect("the end of the chain");
    // The links are not opened by name: only what was asked for counts.
    assert_eq!(dig(pod, &["c7.example.com"]).status, "NXDOMAIN");
    for (name, kind, data) in [
        ("_http._tcp.svc.example.com", "SRV", "10 5 80 www.example.com."),
        ("mail.svc.example.com", "MX", "10 www.example.com."),
        ("text.svc.example.com", "TXT", r#""v=spf1 -all" "second \"string\"""#),
        ("caa.svc.example.com", "CAA", r#"0 issue "ca.example.net""#),
        ("odd.svc.example.com", "TYPE65280", r"\# 4 0A000001"),
    ] {
        let answer = dig(pod, &[name, kind]);
        assert_eq!(answer.answers.iter().map(|answer| answer.3.as_str()).collect::<Vec<_>>(), [data], "{name} {kind}: {}", answer.raw);
        let other = dig(pod, &[name, "A"]);
        assert_eq!((other.status.as_str(), other.answers.len(), other.soa.is_some()), ("NOERROR", 0, true), "{name} A: {}", other.raw);
    }
    assert_eq!(dig(pod, &["cert.svc.example.com", "TLSA"]).answers.len(), 1);
    let none = dig(pod, &["none.svc.example.com"]);
    assert_eq!((none.status.as_str(), none.soa.is_some()), ("NXDOMAIN", true), "what is permitted and not there: {}", none.raw);
}

#[test]
fn refusals_are_met_in_words_that_people_know() {
    let scene = scene();
    let pod = &scene.pod;
    let outside = scene.world.outside();
    let targets = ["198.51.100.7:80", "[2001:db8:ffff::7]:80", "198.51.100.7:8080", "203.0.113.9:80"]
        .map(|address| TcpTarget::on(outside, address, PAGE));
    let portreeve = held(pod);
    let watcher = pod.watch();
    let limit = Duration::from_secs(3);

    let page = curl(pod, "http://www.example.com/");
    assert_eq!((page.code, page.stdout.as_str()), (0, "yes"), "{}\n{}", page.stderr, portreeve.log());
    let name = curl(pod, "http://other.example.com/");
    assert_eq!(name.code, 6, "{}", name.stderr);
    assert!(
        name.stderr.contains("Could not resolve host: other.example.com") && name.took < limit,
        "{} after {:?}",
        name.stderr,
        name.took
    );
    for url in ["http://www.example.com:8080/", "http://203.0.113.9/"] {
        let port = curl(pod, url);
        assert_eq!(port.code, 7, "{url}: {}", port.stderr);
        assert!(port.stderr.contains("Failed to connect to") && port.took < limit, "{url}: {} after {:?}", port.stderr, port.took);
    }

    let create = |target: &str| {
        python(
            pod,
            &format!(
                "import socket\ntry:\n s = socket.create_connection({target}, timeout=5); print('open', s.getpeername()[1])\nexcept Exception as e: print(type(e).__name__, e)"
            ),
        )
    };
    assert_eq!(create("('www.example.com', 80)").stdout.trim(), "open 80");
    assert_eq!(create("('other.example.com', 80)").stdout.trim(), "gaierror [Errno -2] Name or service not known");
    assert_eq!(create("('www.example.com', 8080)").stdout.trim(), "ConnectionRefusedError [Errno 111] Connection refused");
    assert_eq!(create("('203.0.113.9', 80)").stdout.trim(), "ConnectionRefusedError [Errno 111] Connection refused");

    let unknown = pod.command("getent").args(["ahosts", "other.example.com"]).output();
    assert_eq!((unknown.code, unknown.stdout.as_str()), (2, ""), "glibc: the key is not there");
    assert!(unknown.took < limit && musl(pod, "other.example.com").is_empty());
    // The rights of a mere user are enough for all of it.
    let user = pod.command("getent").args(["ahosts", "www.example.com"]).as_user(1000).output();
    assert!(user.ok() && user.stdout.contains("198.51.100.7"), "{}{}", user.stdout, user.stderr);

    // What was refused was seen by nobody outside.
    assert_eq!(targets[2].count() + targets[3].count(), 0);
    let resolver = IpAddr::from(RESOLVER);
    let beside = watcher.left_pod(|packet| !packet.is_housekeeping() && packet.destination != resolver && packet.destination_port != 80);
    assert!(beside.is_empty(), "{}", beside[0]);
    assert!(watcher.left_pod(|packet| packet.carries("other")).is_empty(), "a refused name was asked outside");
}
