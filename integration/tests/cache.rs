//! Promise: what is told from the cache is open in the kernel for as long as it is told, asked of the upstream no oftener than needed,
//! and, while no upstream answers, better than nothing.
//!
//! NSD has the zone, Unbound resolves it and is asked by the product; where an answer has to be slow, the embedded authority is.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout, reason = "tests")]

use std::collections::HashMap;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use integration::authority::{ResponseCode, Type};
use integration::clients::{Dig, ask, connect, dig};
use integration::leases;
use integration::servers::{Nsd, Unbound};
use integration::world::RESOLVER;
use integration::{Behaviour, Pod, Portreeve, Setup, TcpTarget, Watcher, World, wait_until};

const SECOND: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(10);

/// A policy `name` for `hosts`, with leases of 1 s to `max`, and 1 s more.
fn policy(name: &str, hosts: &str, max: &str) -> String {
    format!(
        "version = 1\nname = \"{name}\"\n[lease]\nmin = \"1s\"\nmax = \"{max}\"\ngrace = \"1s\"\n\
         [[allow]]\nname = \"web\"\nhosts = [\"{hosts}\"]\nports = [\"443\"]\n"
    )
}

struct Scene {
    unbound: Option<Unbound>,
    _nsd: Nsd,
    _web: TcpTarget,
    pod: Pod,
    world: World,
}

/// NSD with `records` below `web.example`, behind Unbound, which is the pod's resolver.
fn scene(records: &str) -> Scene {
    let world = World::new();
    let web = TcpTarget::on(world.outside(), "[::]:443", "");
    let nsd = Nsd::start(&world, "198.51.100.53".parse().unwrap(), "web.example", records);
    let unbound = Unbound::start(&world, RESOLVER.into(), "web.example", nsd.address());
    Scene { unbound: Some(unbound), _nsd: nsd, _web: web, pod: world.pod("app"), world }
}

impl Scene {
    /// Nothing that the pod asks arrives any more; silence, or back again.
    fn cut(&self, cut: bool) {
        let table = "table inet cut {\n chain c {\n  type filter hook prerouting priority -300\n  iifname \"pod*\" meta l4proto { tcp, udp } th dport 53 drop\n }\n}\n";
        self.world.load_nft(if cut { table } else { "delete table inet cut\n" });
    }

    fn is_open(&self, address: &str) -> bool {
        connect(&self.pod, SocketAddr::new(address.parse().unwrap(), 443), 2 * SECOND).is_ok()
    }

    /// Every address told is leased for at least as long as it was told, `asked` and now being the widest that lies between.
    fn expect_covered(&self, what: &str, told: &[(IpAddr, u32)], asked: Instant) {
        let mut left: HashMap<IpAddr, Duration> = HashMap::new();
        for lease in leases::leases(&self.pod) {
            let known = left.entry(lease.address).or_insert(lease.left);
            *known = lease.left.min(*known);
        }
        for (address, ttl) in told {
            let left = left.get(address).copied().unwrap_or_else(|| panic!("{what}: {address} told for {ttl} s, and not in the kernel"));
            let at_the_answer = left + asked.elapsed();
            assert!(Duration::from_secs((*ttl).into()) <= at_the_answer, "{what}: {address} told for {ttl} s, the kernel has {left:?}");
        }
    }
}

/// How often the name and type was asked on the wire, in whatever case.
fn asked(watcher: &Watcher, name: &str, kind: u8) -> usize {
    let mut question = Vec::new();
    for label in name.split('.') {
        question.push(u8::try_from(label.len()).unwrap());
        question.extend(label.as_bytes());
    }
    question.extend([0, 0, kind]);
    let is_it = |payload: &[u8]| payload.to_ascii_lowercase().windows(question.len()).any(|part| part == question);
    watcher.left_pod(|packet| packet.destination_port == 53 && is_it(&packet.payload)).len()
}

const A: u8 = 1;
const AAAA: u8 = 28;

fn told(dig: &Dig) -> Vec<(IpAddr, u32)> {
    dig.answers.iter().filter_map(|(_, ttl, _, data)| Some((data.parse().ok()?, *ttl))).collect()
}

#[test]
fn no_ttl_told_at_any_moment_is_longer_than_what_the_kernel_has_left() {
    const TTLS: [u32; 6] = [1, 2, 3, 7, 30, 3600];
    let mut records = String::new();
    let mut names = Vec::new();
    for (zone, base) in [("long", 10), ("capped", 50)] {
        for (n, ttl) in TTLS.iter().enumerate() {
            let (name, last) = (format!("n{n}.{zone}"), base + 1 + n);
            // One address of its own, and one that all of the zone share: its lease is as many names'.
            write!(records, "{name} {ttl} A 198.51.100.{last}\n{name} {ttl} A 198.51.100.{base}\n").unwrap();
            writeln!(records, "{name} {ttl} AAAA 2001:db8:ffff::{last}").unwrap();
            names.push(format!("{name}.web.example"));
        }
        writeln!(records, "alias.{zone} 4 CNAME n5.{zone}").unwrap();
        names.push(format!("alias.{zone}.web.example"));
    }
    let scene = scene(&records);
    let setup = Setup::new(&scene.pod).policy("long.toml", &policy("long", "*.long.web.example", "1h"));
    let _portreeve = setup.policy("capped.toml", &policy("capped", "*.capped.web.example", "4s")).start();
    let watcher = scene.pod.watch();
    let (start, mut checked) = (Instant::now(), 0);
    let mut least: HashMap<&str, u32> = HashMap::new();
    while start.elapsed() < 12 * SECOND || checked < 150 {
        for name in &names {
            let asked = Instant::now();
            let mut told = Vec::new();
            for kind in [Type::A, Type::AAAA] {
                let reply = ask(scene.pod.namespace(), (RESOLVER, 53).into(), name, kind, 3 * SECOND).expect("an answer");
                told.extend(reply.answers.iter().filter_map(|record| Some((record.data.ip_addr()?, record.ttl))));
            }
            assert_eq!(told.len(), 3, "{name}: {told:?}");
            scene.expect_covered(name, &told, asked);
            for (_, ttl) in &told {
                assert!(*ttl <= 3600 && (!name.contains("capped") || *ttl <= 5), "{name}: told {ttl}");
                least.entry(name).and_modify(|least| *least = (*ttl).min(*least)).or_insert(*ttl);
            }
            checked += told.len();
        }
    }
    println!("{checked} addresses checked");
    // It was the cache that spoke, and it counted down.
    assert!(least["n4.long.web.example"] <= 30 - 7 && least["n5.long.web.example"] <= 3600 - 7, "{least:?}");
    assert_eq!(asked(&watcher, "n5.long.web.example", A), 1);
}

#[test]
fn what_is_not_there_is_asked_for_once_in_its_time() {
    let scene = scene("v4only.long A 198.51.100.7");
    let _portreeve = Setup::new(&scene.pod).policy("long.toml", &policy("long", "*.long.web.example", "1h")).start();
    let watcher = scene.pod.watch();
    let missing = |name: &str, kind: Type, code: ResponseCode| {
        let reply = ask(scene.pod.namespace(), (RESOLVER, 53).into(), name, kind, 3 * SECOND).expect("an answer");
        let soa = reply.authorities.iter().filter(|record| record.record_type() == Type::SOA).count();
        assert_eq!((reply.metadata.response_code, reply.answers.len(), soa), (code, 0, 1), "{reply}");
    };
    let both_asked = || [asked(&watcher, "missing.long.web.example", A), asked(&watcher, "v4only.long.web.example", AAAA)];
    for times in [1, 2] {
        let start = Instant::now();
        for _ in 0..4 {
            missing("missing.long.web.example", Type::A, ResponseCode::NXDomain);
            missing("v4only.long.web.example", Type::AAAA, ResponseCode::NoError);
        }
        // The SOA says 5 s (RFC 2308 §5), and the wire what came of that.
        assert!(start.elapsed() < 4 * SECOND, "this machine was too slow to show anything");
        assert_eq!(both_asked(), [times, times]);
        std::thread::sleep(6 * SECOND);
    }
}

#[test]
fn equal_questions_that_wait_together_are_asked_once() {
    let world = World::new();
    let authority = world.authority();
    authority.a("slow.example.com", &["198.51.100.7"], 60);
    authority.behave("slow.example.com", &[Behaviour::Delay(SECOND / 2)]);
    let pod = world.pod("app");
    let _portreeve = Setup::new(&pod).policy("web.toml", &policy("web", "*.example.com", "1h")).start();
    let watcher = pod.watch();
    let (pod, askers) = (&pod, 40);
    let answered = std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..askers)
            .map(|n| {
                // In both cases of the letters: the question is the same, the answer has the asker's own.
                let name = if n % 2 == 0 { "slow.example.com" } else { "SLOW.example.com" };
                scope.spawn(move || {
                    let reply = ask(pod.namespace(), (RESOLVER, 53).into(), name, Type::A, 5 * SECOND)?;
                    (reply.answers.len() == 1 && reply.queries[0].name.to_ascii() == format!("{name}.")).then_some(())
                })
            })
            .collect();
        waiting.into_iter().filter_map(|one| one.join().unwrap()).count()
    });
    assert_eq!(answered, askers);
    assert_eq!((authority.asked("slow.example.com", Type::A), asked(&watcher, "slow.example.com", A)), (1, 1));
}

#[test]
fn a_ttl_of_zero_is_used_at_once_and_asked_for_each_time() {
    let scene = scene("unused A 198.51.100.1");
    let world = &scene.world;
    // Unbound keeps such an answer for the same second; the authority is asked itself.
    let authority = world.authority_at(&[SocketAddr::new("198.51.100.54".parse().unwrap(), 53)]);
    authority.a("zero.web.example", &["198.51.100.7"], 0);
    authority.aaaa("zero.web.example", &["2001:db8:ffff::7"], 0);
    let text = policy("web", "*.web.example", "1h").replace("min = \"1s\"", "min = \"20s\"");
    let _portreeve = Setup::new(&scene.pod).policy("web.toml", &text).upstream("198.51.100.54:53").start();
    for round in 1..=5 {
        for (kind, record_type, address) in [("A", Type::A, "198.51.100.7"), ("AAAA", Type::AAAA, "2001:db8:ffff::7")] {
            let answer = dig(&scene.pod, &["zero.web.example", kind]);
            assert_eq!(told(&answer), [(address.parse().unwrap(), 0)], "{}", answer.raw);
            assert!(scene.is_open(address));
            assert_eq!(authority.asked("zero.web.example", record_type), round, "each question is asked");
            let left = leases::of(&scene.pod, address)[0].left;
            assert!(left > 15 * SECOND && left <= 22 * SECOND, "the least lease, not none: {left:?}");
        }
    }
}

fn is_stale(answer: &Dig) -> bool {
    answer.ede.iter().any(|(code, _)| *code == 3)
}

/// Asks as an app does that waits 5 s for an answer.
fn ask_patiently(pod: &Pod, name: &str) -> Dig {
    dig(pod, &[name, "+time=5"])
}

fn reload(portreeve: &Portreeve<'_>, text: &str) {
    let loads = portreeve.status()["loads"].as_u64();
    portreeve.swap_policies(&[("long.toml", text)]);
    portreeve.wait_status("the reload is counted", LIMIT, |status| status["loads"].as_u64() > loads);
}

#[test]
fn while_no_upstream_answers_permitted_names_are_told_as_they_were_and_marked() {
    let mut scene = scene("kept.long 2 A 198.51.100.7\ndropped.long 2 A 198.51.100.8\nlater.long 2 A 198.51.100.9");
    let long = policy("long", "*.long.web.example", "1h");
    let portreeve = Setup::new(&scene.pod).policy("long.toml", &long).start();
    for name in ["kept.long.web.example", "dropped.long.web.example"] {
        let fresh = dig(&scene.pod, &[name]);
        assert!(fresh.answers.len() == 1 && !is_stale(&fresh), "{}", fresh.raw);
    }
    scene.cut(true);
    let closed = wait_until(LIMIT, || leases::leases(&scene.pod).is_empty().then_some(()));
    assert!(closed.is_some(), "nothing is used, so the leases end with their time");
    let expect_stale = |when: &str| {
        let asked = Instant::now();
        let stale = ask_patiently(&scene.pod, "kept.long.web.example");
        assert!(stale.answers.len() == 1 && is_stale(&stale), "{when}: {}\n{}", stale.raw, portreeve.log());
        // RFC 8767 §4: short, but long enough to be of use; and its lease lives as long.
        assert!((1..=30).contains(&stale.answers[0].1), "{when}: {}", stale.raw);
        scene.expect_covered(when, &told(&stale), asked);
        assert!(scene.is_open("198.51.100.7"), "{when}: told and not open");
    };
    expect_stale("silence");
    expect_stale("silence goes on");
    let unknown = ask_patiently(&scene.pod, "later.long.web.example");
    assert!(unknown.status == "SERVFAIL" && unknown.answers.is_empty(), "nobody knows it: {}", unknown.raw);
    portreeve.wait_status("it is known", LIMIT, |status| status["upstreams"][0]["answers"] == false);

    // A reload meanwhile: what is permitted no longer is refused, not told as it was; what still is passes the new fence.
    reload(&portreeve, &policy("long", "kept.long.web.example", "1h"));
    let dropped = ask_patiently(&scene.pod, "dropped.long.web.example");
    assert!(dropped.answers.is_empty() && dropped.status == "NXDOMAIN" && !is_stale(&dropped), "{}", dropped.raw);
    assert!(dropped.ede.iter().any(|(code, _)| *code == 15), "{}", dropped.raw);
    assert!(leases::of(&scene.pod, "198.51.100.8").is_empty() && !scene.is_open("198.51.100.8"));
    expect_stale("after a reload");

    // The upstream is back.
    scene.cut(false);
    reload(&portreeve, &long);
    let fresh = wait_until(LIMIT, || {
        let answer = ask_patiently(&scene.pod, "kept.long.web.example");
        (answer.answers.len() == 1 && !is_stale(&answer) && answer.answers[0].1 <= 2).then_some(())
    });
    assert!(fresh.is_some(), "stale for ever: {}", portreeve.log());
    assert_eq!(ask_patiently(&scene.pod, "later.long.web.example").answers.len(), 1);
    portreeve.wait_status("it is known", LIMIT, |status| status["upstreams"][0]["answers"] == true);

    // Its end, this time by a port that refuses.
    scene.unbound = None;
    std::thread::sleep(3 * SECOND);
    let stale = ask_patiently(&scene.pod, "kept.long.web.example");
    assert!(stale.answers.len() == 1 && is_stale(&stale), "{}", stale.raw);
}
