//! Promise: with the search list of a Kubernetes pod one look-up by glibc or musl costs at most two questions upstream, and a step of the list
//! is never told anything but that the name does not exist.
//!
//! # Limitations
//! The tap sees replies over IPv4. A wildcard below a search domain (`*.svc.cluster.local`) takes the steps in as names of its own: they are
//! asked upstream and count against its budget, as the policy's README says.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use integration::authority::ResponseCode;
use integration::clients::{connect, dig};
use integration::stubs::{EAI_AGAIN, EAI_NONAME, Libc, MARK, Resolved, Tap, Told, resolve};
use integration::world::RESOLVER;
use integration::{Authority, Behaviour, Packet, Pod, Portreeve, Setup, TcpTarget, Watcher, World};

const LIMIT: Duration = Duration::from_secs(10);
/// A refusal takes milliseconds; a client's own time-out is 5 s.
const FAST: Duration = Duration::from_millis(2500);
const NXDOMAIN: u8 = 3;
const SERVFAIL: u8 = 2;
const SEARCH: [&str; 4] = ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "example.internal"];

const POLICY: &str = r#"
version = 1
name = "shop"
[[allow]]
name = "outside"
hosts = ["api.example.com", "www.example.com", "*.tenants.example.com"]
ports = ["443"]
[[allow]]
name = "cluster"
hosts = ["redis.shop.svc.cluster.local"]
ports = ["6379"]
[[allow]]
name = "few"
hosts = ["*.few.example.net"]
ports = ["443"]
budget = { names = 1 }
"#;

struct Scene {
    authority: Authority,
    _redis: TcpTarget,
    pod: Pod,
    world: World,
}

/// The resolv.conf that kubelet writes, with more nameservers and options.
fn resolv_conf(nameservers: &[&str], options: &str) -> String {
    let servers: String = nameservers.iter().map(|server| format!("nameserver {server}\n")).collect();
    format!("search {}\n{servers}options ndots:5 {options}\n", SEARCH.join(" "))
}

fn scene() -> Scene {
    let world = World::new();
    let authority = world.authority();
    for name in ["api.example.com", "www.example.com", "*.tenants.example.com", "*.few.example.net"] {
        authority.a(name, &["198.51.100.7"], 60);
        authority.aaaa(name, &["2001:db8:ffff::7"], 60);
    }
    authority.a("redis.shop.svc.cluster.local", &["10.96.7.7"], 60);
    let redis = TcpTarget::on(world.outside(), "10.96.7.7:6379", "");
    let pod = world.pod("app");
    pod.set_resolv_conf(&resolv_conf(&["10.96.0.10"], ""));
    Scene { authority, _redis: redis, pod, world }
}

impl Scene {
    fn hold(&self) -> Portreeve<'_> {
        Setup::new(&self.pod).policy("shop.toml", POLICY).start()
    }
}

/// What the sidecar asked upstream: (name in lower case, type as a number).
fn asked_upstream(watcher: &Watcher) -> Vec<(String, u16)> {
    let question = |packet: &Packet| packet.destination_port == 53 && (packet.is_udp() || packet.payload.len() > 14);
    watcher.left_pod(question).iter().map(|packet| read_question(&packet.payload[if packet.is_tcp() { 2 } else { 0 }..])).collect()
}

/// Each question once: what has no answer within a fifth of a second is asked once more, and a busy machine can take that long. That equal
/// questions are asked once where the answer is late is held by `cache.rs`.
fn distinct(mut asked: Vec<(String, u16)>) -> Vec<(String, u16)> {
    assert!(asked.len() <= 4, "{asked:?}");
    asked.sort_unstable();
    asked.dedup();
    asked
}

fn read_question(message: &[u8]) -> (String, u16) {
    let (mut labels, mut at) = (Vec::new(), 12);
    while message[at] > 0 {
        let end = at + 1 + usize::from(message[at]);
        labels.push(String::from_utf8_lossy(&message[at + 1..end]).to_lowercase());
        at = end;
    }
    (labels.join("."), u16::from_be_bytes([message[at + 1], message[at + 2]]))
}

/// The replies that were for steps of the search list on the way from `name`.
fn steps<'a>(told: &'a [Told], name: &str) -> Vec<&'a Told> {
    let is_step = |told: &&Told| SEARCH.iter().any(|domain| told.name == format!("{name}.{domain}"));
    told.iter().filter(is_step).collect()
}

/// Lines of the log that tell a refusal, but for the tap's own questions.
fn refusals(log: &str) -> Vec<&str> {
    log.lines().filter(|line| line.contains("refused") && !line.contains(MARK)).collect()
}

fn both() -> Vec<IpAddr> {
    vec!["198.51.100.7".parse().unwrap(), "2001:db8:ffff::7".parse().unwrap()]
}

#[test]
fn one_look_up_of_a_permitted_name_costs_two_questions_upstream() {
    let scene = scene();
    let portreeve = scene.hold();
    let (tap, watcher) = (Tap::start(&scene.pod), scene.pod.watch());
    for (libc, name) in [(Libc::Glibc, "api.example.com"), (Libc::Musl, "www.example.com")] {
        let _old = tap.told();
        watcher.forget();
        let found = resolve(&scene.pod, libc, name);
        assert_eq!((found.addresses, found.error), (both(), None), "{libc:?}: {}", portreeve.log());
        let asked = distinct(asked_upstream(&watcher));
        assert_eq!(asked, [(name.to_owned(), 1), (name.to_owned(), 28)], "{libc:?}");
        let told = tap.told();
        // All four domains come before the name itself, twice each: otherwise this test has not seen a search list at work.
        assert_eq!(steps(&told, name).len(), 8, "{libc:?}: {told:?}");
        assert!(steps(&told, name).iter().all(|step| step.rcode == NXDOMAIN), "{libc:?}: {told:?}");
    }
    assert_eq!(refusals(&portreeve.log()), Vec::<&str>::new());
    let queries = &portreeve.status()["queries"];
    assert_eq!(queries["search-steps"], 16, "{queries}");
    // The same again out of what is kept.
    watcher.forget();
    for (libc, name) in [(Libc::Musl, "api.example.com"), (Libc::Glibc, "www.example.com")] {
        assert_eq!(resolve(&scene.pod, libc, name).addresses, both());
    }
    assert_eq!(asked_upstream(&watcher), []);
    assert_eq!(portreeve.status()["queries"]["cached"], 4);
    // A refused name is told, so the log would have shown the steps.
    assert_eq!(resolve(&scene.pod, Libc::Glibc, "evil.example.org").error, Some(EAI_NONAME));
    assert!(!refusals(&portreeve.log()).is_empty());
}

#[test]
fn a_name_of_the_cluster_is_found_by_its_short_forms() {
    let scene = scene();
    let portreeve = scene.hold();
    let (tap, watcher) = (Tap::start(&scene.pod), scene.pod.watch());
    for libc in Libc::ALL {
        for short in ["redis", "redis.shop", "redis.shop.svc", "redis.shop.svc.cluster.local"] {
            let found = resolve(&scene.pod, libc, short);
            assert_eq!(found.addresses, ["10.96.7.7".parse::<IpAddr>().unwrap()], "{libc:?}, {short}: {found:?}\n{}", portreeve.log());
            let told = tap.told();
            let others = told.iter().filter(|told| told.name != "redis.shop.svc.cluster.local");
            assert!(others.clone().all(|told| told.rcode == NXDOMAIN), "{libc:?}, {short}: {told:?}");
        }
    }
    let full = |kind| ("redis.shop.svc.cluster.local".to_owned(), kind);
    let asked = asked_upstream(&watcher);
    // The absence of an IPv6 address is kept for 5 s only.
    assert!(asked.contains(&full(1)) && asked.iter().all(|one| *one == full(1) || *one == full(28)), "{asked:?}");
    assert_eq!(refusals(&portreeve.log()), Vec::<&str>::new());
    connect(&scene.pod, "10.96.7.7:6379".parse().unwrap(), LIMIT).expect("the address that was told");
}

#[test]
fn options_and_further_nameservers_change_nothing_for_either_libc() {
    let scene = scene();
    // What apps write into their resolv.conf is their affair: the sidecar asks whom it was told to.
    let portreeve = Setup::new(&scene.pod).policy("shop.toml", POLICY).upstream(RESOLVER).start();
    let (tap, watcher) = (Tap::start(&scene.pod), scene.pod.watch());
    // Two that are not there, one without a route, one in the cluster: whoever is asked, the sidecar answers.
    let many = ["203.0.113.53", "192.0.2.1", "10.96.0.10"];
    let cases = [
        (&many[2..], "single-request"),
        (&many[2..], "single-request-reopen"),
        (&many[..], ""),
        (&many[..], "rotate"),
        (&many[..], "rotate single-request timeout:1 attempts:1"),
        (&many[..], "use-vc"),
        (&many[2..], "use-vc single-request edns0 trust-ad"),
    ];
    for (number, (nameservers, options)) in cases.iter().enumerate() {
        scene.pod.set_resolv_conf(&resolv_conf(nameservers, options));
        for libc in Libc::ALL {
            let name = format!("{libc:?}-{number}.tenants.example.com").to_lowercase();
            watcher.forget();
            let found = resolve(&scene.pod, libc, &name);
            assert_eq!((found.addresses, found.error), (both(), None), "{libc:?}, {options}: {}", portreeve.log());
            assert!(found.took < FAST, "{libc:?}, {nameservers:?}, {options}: {:?}", found.took);
            let asked = distinct(asked_upstream(&watcher));
            assert_eq!(asked, [(name.clone(), 1), (name, 28)], "{libc:?}, {options}");
            let refused = resolve(&scene.pod, libc, "evil.example.org");
            assert!(refused.error == Some(EAI_NONAME) && refused.took < FAST, "{libc:?}, {options}: {refused:?}");
        }
        assert!(tap.told().iter().all(|told| matches!(told.rcode, 0 | NXDOMAIN)), "{options}");
    }
    // musl asks all three at once; equal questions wait for one answer, or come after it.
    let queries = &portreeve.status()["queries"];
    let again = ["cached", "coalesced"].map(|counter| queries[counter].as_u64().unwrap());
    assert!(again.iter().sum::<u64>() >= 12, "{queries}");
}

#[test]
fn nameservers_that_are_dead_are_passed_over_within_a_clients_time_out() {
    let scene = scene();
    // One takes questions and says nothing, one refuses them; both stand before the one that lives, for apps and sidecar alike.
    let silent = scene.world.authority_at(&[SocketAddr::from(([203, 0, 113, 53], 53))]);
    silent.behave_always(&[Behaviour::Drop]);
    for (number, nameservers) in
        [["203.0.113.53", "203.0.113.54", "10.96.0.10"], ["203.0.113.54", "10.96.0.10", "203.0.113.53"]].iter().enumerate()
    {
        scene.pod.set_resolv_conf(&resolv_conf(nameservers, ""));
        let portreeve = Setup::new(&scene.pod).serial(number as u32).policy("shop.toml", POLICY).start();
        for libc in Libc::ALL {
            let name = format!("{libc:?}-{number}.tenants.example.com").to_lowercase();
            let found = resolve(&scene.pod, libc, &name);
            assert_eq!(found.addresses, both(), "{libc:?}, {nameservers:?}: {found:?}\n{}", portreeve.log());
            assert!(found.took < FAST, "{libc:?}, {nameservers:?}: {:?}", found.took);
            let refused = resolve(&scene.pod, libc, "evil.example.org");
            assert!(refused.error == Some(EAI_NONAME) && refused.took < FAST, "{libc:?}: {refused:?}");
        }
    }
}

/// Both libcs look up a name that is refused, and are told so at once, at every step.
fn expect_refused(scene: &Scene, tap: &Tap<'_>, name: &str, when: &str) {
    for libc in Libc::ALL {
        let _old = tap.told();
        let Resolved { addresses, error, took } = resolve(&scene.pod, libc, name);
        assert_eq!((addresses, error), (vec![], Some(EAI_NONAME)), "{when}: {libc:?}, {name}");
        assert!(took < FAST, "{when}: {libc:?} took {took:?}");
        let told = tap.told();
        assert_eq!(told.len(), 10, "{when}: {libc:?} asked four steps and the name, A and AAAA: {told:?}");
        assert!(told.iter().all(|told| told.rcode == NXDOMAIN), "{when}: {libc:?}: {told:?}");
    }
}

#[test]
fn a_refused_name_does_not_exist_whatever_else_is_wrong() {
    let mut scene = scene();
    {
        let portreeve = scene.hold();
        let tap = Tap::start(&scene.pod);
        expect_refused(&scene, &tap, "evil.example.org", "all is well");
        assert_eq!(resolve(&scene.pod, Libc::Musl, "one.few.example.net").addresses, both());
        expect_refused(&scene, &tap, "two.few.example.net", "the budget is spent");
        assert_eq!(dig(&scene.pod, &["two.few.example.net"]).ede[0].0, 15);

        portreeve.swap_policies(&[("shop.toml", "version = 1\nhosts = ")]);
        portreeve.wait_status("the broken file is told", LIMIT, |status| status["last-error"].is_object());
        expect_refused(&scene, &tap, "evil.example.org", "a broken policy");
        assert_eq!(resolve(&scene.pod, Libc::Musl, "api.example.com").addresses, both(), "the one before stays in force");
        portreeve.swap_policies(&[("shop.toml", POLICY)]);

        for (behaviour, when) in [(Behaviour::Code(ResponseCode::ServFail), "SERVFAIL"), (Behaviour::Drop, "silence")] {
            scene.authority.behave_always(&[behaviour]);
            expect_refused(&scene, &tap, "evil.example.org", when);
            if when == "SERVFAIL" {
                expect_steps_do_not_exist(&scene, &tap, when);
            }
        }
        // Nobody listens there any more.
        scene.authority = scene.world.authority_at(&[SocketAddr::from(([203, 0, 113, 53], 53))]);
        expect_refused(&scene, &tap, "evil.example.org", "no upstream");
        expect_steps_do_not_exist(&scene, &tap, "no upstream");
    }
    let broken = Setup::new(&scene.pod).serial(1).policy("shop.toml", "version = 1\nhosts = ").launch();
    assert!(broken.wait_for_log("not ready", LIMIT), "{}", broken.log());
    let answers = || (dig(&scene.pod, &["api.example.com"]).status == "NXDOMAIN").then_some(());
    assert!(integration::wait_until(LIMIT, answers).is_some(), "{}", broken.log());
    expect_refused(&scene, &Tap::start(&scene.pod), "api.example.com", "no policy was ever loaded");
}

/// A permitted name fails, for a while; its steps do not exist all the same, so that a stub resolver gets as far as to the name.
fn expect_steps_do_not_exist(scene: &Scene, tap: &Tap<'_>, when: &str) {
    for libc in Libc::ALL {
        let _old = tap.told();
        let name = format!("{libc:?}-{}.tenants.example.com", when.replace(' ', "-")).to_lowercase();
        assert_eq!(resolve(&scene.pod, libc, &name).error, Some(EAI_AGAIN), "{when}: {libc:?}");
        let told = tap.told();
        assert_eq!(steps(&told, &name).len(), 8, "{when}: {libc:?}: {told:?}");
        assert!(steps(&told, &name).iter().all(|step| step.rcode == NXDOMAIN), "{when}: {libc:?}: {told:?}");
        assert!(told.iter().any(|told| told.name == name && told.rcode == SERVFAIL), "{when}: {libc:?}: {told:?}");
        assert_eq!(dig(&scene.pod, &[&format!("{name}.example.internal")]).status, "NXDOMAIN");
    }
}
