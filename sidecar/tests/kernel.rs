//! The fence on a real kernel, in a network namespace for each test: what it says is open is open, and renewed, kept, ended and put back.
//!
//! Minutes are not waited for: what is called every second is given later moments, while the kernel's own clock stays where it is.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::panic::resume_unwind;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nft::{Firewall, Log, Options, Ownership, Proxy, RawGuard, Sizes};
use nix::sched::{CloneFlags, unshare};
use policies::{Date, Grant, Name, Pod, Policy, Protocol, Source, Surroundings, Verdict};
use sidecar::fence::ruleset::Frame;
use sidecar::fence::upkeep::RefusedPacket;
use sidecar::fence::{Fence, Wanted};

const TEXT: &str = r#"
version = 1
name = "p"
[lease]
min = "LEASE"
max = "1h"
grace = "0s"
[[allow]]
name = "web"
hosts = ["*.example"]
ports = ["443", "443/udp"]
"#;

fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let body = move || {
        assert!(unshare(CloneFlags::CLONE_NEWNET).is_ok(), "these tests make network namespaces: run them as root");
        run("ip", &["link", "set", "lo", "up"]);
        run("ip", &["link", "add", "eth0", "type", "veth", "peer", "name", "peer0"]);
        run("ip", &["link", "set", "peer0", "up"]);
        run("ip", &["address", "add", "198.51.100.200/24", "dev", "eth0"]);
        run("ip", &["link", "set", "eth0", "up"]);
        test();
    };
    if let Err(panic) = std::thread::spawn(body).join() {
        resume_unwind(panic);
    }
}

fn run(tool: &str, arguments: &[&str]) -> String {
    let output = Command::new(tool).args(arguments).output().unwrap_or_else(|error| panic!("{tool}: {error}"));
    assert!(output.status.success(), "{tool} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn policy(lease: &str) -> Arc<Policy> {
    let file = policies::parse(&Source::new("p.toml", TEXT.replace("LEASE", lease))).file.unwrap();
    let surroundings = Surroundings::stand_in(Date::new(2026, 6, 1).unwrap());
    Arc::new(Policy::compile(&[file], &Pod::default(), &surroundings).unwrap())
}

fn fence(policy: Arc<Policy>) -> Fence {
    let proxy = Proxy { uid: 5453, mark: 7001, priority: 7002, port: 5453, upstreams: vec!["10.96.0.10:53".parse().unwrap()] };
    let frame = Frame { proxy, raw_guard: RawGuard::Off, log: Log::default(), sizes: Sizes::default() };
    let firewall = Firewall::open_with(Options { ownership: Ownership::Shared, ..Options::default() }).unwrap();
    let mut fence = Fence::establish(firewall, frame, Arc::new(Policy::nothing())).unwrap();
    fence.load(policy).unwrap();
    fence
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn grant(fence: &Fence, of: &str) -> Grant {
    match fence.policy().judge(&name(of)) {
        Verdict::Granted(grant) => grant,
        Verdict::Refused(why) => panic!("{why}"),
    }
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([198, 51, 100, last])
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn open(fence: &mut Fence, of: &str, lasts: &[u8], ttl: u64) -> Result<Instant, dnsproxy::OpenError> {
    let (grant, addresses): (_, Vec<IpAddr>) = (grant(fence, of), lasts.iter().copied().map(address).collect());
    let wanted = Wanted { grant: &grant, addresses: &addresses, ttl: seconds(ttl) };
    fence.open(std::iter::once(wanted)).remove(0).map(|opened| opened.until)
}

/// Whether a packet leaves: what is refused is an error of the socket.
fn is_open(last: u8) -> bool {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let target = SocketAddr::new(address(last), 443);
    socket.connect(target).unwrap();
    socket.send(b"x").is_ok() && socket.take_error().unwrap().is_none()
}

fn ends(fence: &Fence, last: u8, now: Instant) -> Vec<(String, Duration)> {
    let names = fence.names_of(address(last), now);
    names.into_iter().map(|(name, end)| (name.to_string(), end.saturating_duration_since(now))).collect()
}

#[test]
fn what_was_opened_is_open_and_known_by_its_names() {
    in_namespace(|| {
        let mut fence = fence(policy("60s"));
        assert!(!is_open(1));
        let before = Instant::now();
        let until = open(&mut fence, "a.example", &[1, 2], 300).unwrap();
        assert!(until >= before + seconds(300));
        assert!(is_open(1) && is_open(2) && !is_open(3));
        open(&mut fence, "b.example", &[1], 60).unwrap();
        let names: Vec<String> = ends(&fence, 1, Instant::now()).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["a.example", "b.example"]);
        assert!(ends(&fence, 1, before + seconds(100)).iter().all(|(name, _)| name == "a.example"));
        let listed = run("nft", &["list", "ruleset"]);
        assert!(listed.contains("b.example a.example"), "{listed}");
    });
}

#[test]
fn the_epoch_changes_with_the_policy_and_with_a_lost_table_and_not_else() {
    in_namespace(|| {
        let mut fence = fence(policy("60s"));
        open(&mut fence, "a.example", &[1], 300).unwrap();
        let first = fence.epoch();
        fence.load(policy("60s")).unwrap();
        assert_eq!(fence.epoch(), first);
        fence.load(policy("61s")).unwrap();
        let second = fence.epoch();
        assert_ne!(second, first);
        assert!(is_open(1), "a lease that is permitted still was lost");
        run("nft", &["delete", "table", "inet", "portreeve"]);
        open(&mut fence, "b.example", &[2], 300).unwrap();
        assert_ne!(fence.epoch(), second);
        assert!(is_open(1) && is_open(2) && !is_open(3));
        assert_eq!(fence.view().table_restored, 1);
    });
}

#[test]
fn other_resolvers_may_be_asked_in_one_step_and_the_leases_stay() {
    in_namespace(|| {
        let mut fence = fence(policy("60s"));
        open(&mut fence, "a.example", &[1], 300).unwrap();
        fence.load_upstreams(vec!["203.0.113.53:53".parse().unwrap()], None).unwrap();
        let listed = run("nft", &["list", "ruleset"]);
        assert!(listed.contains("203.0.113.53") && !listed.contains("10.96.0.10"), "{listed}");
        assert!(is_open(1));
        // And they stay when the policy changes.
        fence.load(policy("61s")).unwrap();
        assert!(run("nft", &["list", "ruleset"]).contains("203.0.113.53"));
    });
}

#[test]
fn a_name_in_use_is_asked_again_and_an_address_that_left_is_kept() {
    in_namespace(|| {
        let mut fence = fence(policy("60s"));
        let start = Instant::now();
        open(&mut fence, "a.example", &[1], 90).unwrap();
        open(&mut fence, "b.example", &[2], 90).unwrap();
        assert!(fence.renewals(start + seconds(1)).is_empty());
        // Only the first of the two is used.
        assert!(is_open(1));
        let asks = fence.renewals(start + seconds(62));
        assert_eq!(asks.iter().map(|ask| (ask.name.to_string(), ask.ipv6)).collect::<Vec<_>>(), [("a.example".to_owned(), false)]);
        assert!(fence.renewals(start + seconds(63)).is_empty(), "asked twice");
        // Its answer has another address now.
        open(&mut fence, "a.example", &[3], 90).unwrap();
        fence.renewals(start + seconds(70));
        let (of, left) = ends(&fence, 1, start + seconds(70)).remove(0);
        assert!(of == "a.example" && left > seconds(119) && left < seconds(121), "{of} {left:?}");
        assert!(ends(&fence, 2, start + seconds(70)).iter().all(|(_, left)| *left < seconds(21)));
        assert_eq!(fence.view().renewals.kept, 1);
        // The kernel has it too.
        let elements = run("nft", &["list", "set", "inet", "portreeve", "p.web_v4"]);
        assert!(elements.contains("198.51.100.1 timeout 1m59s") || elements.contains("198.51.100.1 timeout 2m"), "{elements}");
    });
}

#[test]
fn a_refused_packet_whose_lease_ended_is_looked_up_once() {
    in_namespace(|| {
        let mut fence = fence(policy("1s"));
        let packet = RefusedPacket { destination: address(1), protocol: Protocol::Tcp, port: 443 };
        assert_eq!(fence.denied(&packet, Instant::now()), None);
        open(&mut fence, "a.example", &[1], 0).unwrap();
        assert_eq!(fence.denied(&packet, Instant::now()), None, "it is open");
        std::thread::sleep(Duration::from_millis(1_200));
        assert!(!is_open(1));
        // Whether it has been swept or not.
        for swept in [false, true] {
            let later = Instant::now();
            let renewal = fence.denied(&packet, later).unwrap();
            assert_eq!((renewal.ended.name, renewal.ended.key.as_str()), (name("a.example"), "p.web"));
            assert!(renewal.ended.ago < seconds(5));
            assert_eq!(renewal.ask.is_some(), !swept, "one look-up for each end");
            std::thread::sleep(seconds(1));
            fence.tend();
        }
        let other_port = RefusedPacket { port: 22, ..packet };
        assert_eq!(fence.denied(&other_port, Instant::now()), None, "no look-up opens that port");
        assert_eq!(fence.denied(&packet, Instant::now() + seconds(300)), None, "too long ago");
        // Under a policy that permits the name no more, nothing is looked up.
        open(&mut fence, "a.example", &[1], 0).unwrap();
        assert_eq!(fence.denied(&packet, Instant::now()), None, "it is open again");
        std::thread::sleep(Duration::from_millis(1_200));
        fence.load(Arc::new(Policy::nothing())).unwrap();
        assert_eq!(fence.denied(&packet, Instant::now()), None);
    });
}

#[test]
fn a_pod_has_an_ipv6_route_when_one_leads_out() {
    in_namespace(|| {
        assert!(!sidecar::surroundings::has_ipv6_route());
        run("ip", &["address", "add", "2001:db8::2/64", "dev", "eth0", "nodad"]);
        assert!(sidecar::surroundings::has_ipv6_route());
    });
}

/// What an answer led to is not named in any policy: a reload that still permits the record keeps it, one that does not cuts it.
#[test]
fn what_a_srv_record_led_to_outlives_a_reload_that_permits_it() {
    in_namespace(|| {
        let compiled = |more: &str| {
            let rule = "[[allow]]\nname = \"sip\"\nhosts = [\"_sip._udp.example\"]\nports = [\"443/udp\"]\n";
            let text = format!("version = 1\nname = \"p\"\n{rule}{more}");
            let file = policies::parse(&Source::new("p.toml", text)).file.unwrap();
            Arc::new(Policy::compile(&[file], &Pod::default(), &Surroundings::stand_in(Date::new(2026, 6, 1).unwrap())).unwrap())
        };
        let mut fence = fence(compiled("srv-targets = true\n"));
        let target = grant(&fence, "_sip._udp.example").for_target(&name("target.example"), fence.policy()).unwrap();
        let wanted = Wanted { grant: &target, addresses: &[address(1)], ttl: seconds(300) };
        fence.open(std::iter::once(wanted)).remove(0).unwrap();
        assert!(is_open(1));
        let other = "[[allow]]\nname = \"other\"\nhosts = [\"other.example\"]\nports = [\"1\"]\n";
        fence.load(compiled(&format!("srv-targets = true\n{other}"))).unwrap();
        assert!(is_open(1), "a lease that is permitted still was lost");
        run("nft", &["delete", "table", "inet", "portreeve"]);
        fence.tend();
        assert!(is_open(1), "the lease did not go back with the table");
        for (holds, more) in [(true, "srv-targets = true\n[[deny]]\nhosts = [\"target.example\"]\n"), (true, "")] {
            let target = grant(&fence, "_sip._udp.example").for_target(&name("target.example"), fence.policy()).unwrap();
            let wanted = Wanted { grant: &target, addresses: &[address(1)], ttl: seconds(300) };
            fence.open(std::iter::once(wanted)).remove(0).unwrap();
            assert_eq!(is_open(1), holds);
            fence.load(compiled(more)).unwrap();
            assert!(!is_open(1), "{more}");
            fence.load(compiled("srv-targets = true\n")).unwrap();
        }
    });
}

/// Two answers of one batch share an address; the one that wants it longer fails for another address.
#[test]
fn the_book_has_no_less_time_than_the_kernel_when_an_answer_of_a_batch_fails() {
    in_namespace(|| {
        let proxy = Proxy { uid: 5453, mark: 7001, priority: 7002, port: 5453, upstreams: vec!["10.96.0.10:53".parse().unwrap()] };
        let sizes = Sizes { leases: 2, ..Sizes::default() };
        let frame = Frame { proxy, raw_guard: RawGuard::Off, log: Log::default(), sizes };
        let firewall = Firewall::open_with(Options { ownership: Ownership::Shared, ..Options::default() }).unwrap();
        let mut fence = Fence::establish(firewall, frame, Arc::new(Policy::nothing())).unwrap();
        fence.load(policy("60s")).unwrap();
        open(&mut fence, "a.example", &[1, 2], 60).unwrap();
        let (long, short) = (grant(&fence, "long.example"), grant(&fence, "short.example"));
        let (both, one) = ([address(1), address(3)], [address(1)]);
        let wanted =
            [Wanted { grant: &long, addresses: &both, ttl: seconds(3000) }, Wanted { grant: &short, addresses: &one, ttl: seconds(90) }];
        let opened = fence.open(wanted.into_iter());
        assert!(opened[0].is_err() && opened[1].is_ok(), "{opened:?}");
        let until = opened[1].unwrap().until;
        let now = Instant::now();
        let known = ends(&fence, 1, now).into_iter().map(|(_, left)| left).max().unwrap();
        assert!(now + known >= until, "the kernel was told {:?}, the book has {known:?}", until - now);
    });
}
