//! What the kernel was not asked for is never said to be open, whatever ruleset stands there. On a real kernel, in a namespace of its own.

use std::sync::Arc;
use std::time::Duration;

use dnsproxy::OpenError;
use nft::{Firewall, FlowOwner, Log, Options, Ownership, Proxy, RawGuard, Sizes};
use nix::sched::{CloneFlags, unshare};
use policies::{Date, Name, Pod, Policy, Source, Surroundings, Verdict};

use super::Fence;
use crate::fence::Wanted;
use crate::fence::ruleset::Frame;
use crate::flows::kind::{Owner, Seen};

fn policy(rule: &str) -> Arc<Policy> {
    let text = format!("version = 1\nname = \"p\"\n[[allow]]\nname = \"{rule}\"\nhosts = [\"*.example\"]\nports = [\"443\"]\n");
    let file = policies::parse(&Source::new("p.toml", text)).file.unwrap();
    Arc::new(Policy::compile(&[file], &Pod::default(), &Surroundings::stand_in(Date::new(2026, 6, 1).unwrap())).unwrap())
}

fn fence(policy: Arc<Policy>) -> Fence {
    let proxy = Proxy { uid: 5453, mark: 7001, priority: 7002, port: 5453, upstreams: vec!["10.96.0.10:53".parse().unwrap()] };
    let frame = Frame { proxy, raw_guard: RawGuard::Off, log: Log::default(), sizes: Sizes::default() };
    let firewall = Firewall::open_with(Options { ownership: Ownership::Shared, ..Options::default() }).unwrap();
    let mut fence = Fence::establish(firewall, frame, Arc::new(Policy::nothing())).unwrap();
    fence.load(policy).unwrap();
    fence
}

#[test]
fn nothing_is_said_to_be_open_by_a_rule_that_the_kernel_does_not_have() {
    let body = || {
        assert!(unshare(CloneFlags::CLONE_NEWNET).is_ok(), "this test makes a network namespace: run it as root");
        let mut fence = fence(policy("before"));
        // A reload whose acknowledgement was lost, and which the kernel did after all.
        let _other = self::fence(policy("after"));
        fence.lose_word();
        let policy = fence.policy().clone();
        let Verdict::Granted(grant) = policy.judge(&Name::parse("a.example").unwrap()) else { panic!("refused") };
        let wanted = Wanted { grant: &grant, addresses: &[[198, 51, 100, 1].into()], ttl: Duration::from_secs(60) };
        let opened = fence.open(std::iter::once(wanted)).remove(0);
        assert_eq!(opened.map(|opened| opened.until), Err(OpenError::Stale));
        assert_eq!(fence.view().leases, 0);
    };
    std::thread::spawn(body).join().unwrap();
}

#[test]
fn names_of_one_address_that_are_answered_together_are_all_in_the_kernels_comment() {
    let body = || {
        assert!(unshare(CloneFlags::CLONE_NEWNET).is_ok(), "this test makes a network namespace: run it as root");
        let mut fence = fence(policy("web"));
        let policy = fence.policy().clone();
        let grant = |name: &str| match policy.judge(&Name::parse(name).unwrap()) {
            Verdict::Granted(grant) => grant,
            Verdict::Refused(_) => panic!("{name} is refused"),
        };
        let grants = ["a.example", "b.example", "c.example"].map(grant);
        let addresses = [[198, 51, 100, 1].into()];
        let wanted = grants.iter().map(|grant| Wanted { grant, addresses: &addresses, ttl: Duration::from_secs(60) });
        assert!(fence.open(wanted).iter().all(Result::is_ok));
        let named = |fence: &mut Fence| {
            let found = fence.firewall.read_back().unwrap();
            fence.find_sets();
            let mut names: Vec<String> = found.leases[0].name.split(' ').map(str::to_owned).collect();
            names.sort();
            names
        };
        assert_eq!(named(&mut fence), ["a.example", "b.example", "c.example"]);
        // One that is answered again by itself leaves the others there.
        let longer = Wanted { grant: &grants[1], addresses: &addresses, ttl: Duration::from_secs(600) };
        assert!(fence.open(std::iter::once(longer)).iter().all(Result::is_ok));
        assert_eq!(named(&mut fence), ["a.example", "b.example", "c.example"]);
    };
    std::thread::spawn(body).join().unwrap();
}

#[test]
fn a_flow_that_is_told_just_after_its_lease_ended_has_the_name_all_the_same() {
    let body = || {
        assert!(unshare(CloneFlags::CLONE_NEWNET).is_ok(), "this test makes a network namespace: run it as root");
        let mut fence = fence(policy("web"));
        let policy = fence.policy().clone();
        let Verdict::Granted(grant) = policy.judge(&Name::parse("a.example").unwrap()) else { panic!("refused") };
        let wanted = Wanted { grant: &grant, addresses: &[[198, 51, 100, 1].into()], ttl: Duration::from_secs(60) };
        let until = fence.open(std::iter::once(wanted)).remove(0).unwrap().until;
        let rule = fence.rules.only().unwrap();
        let seen = Seen {
            owner: Owner::Passed(FlowOwner::Rule(rule)),
            source: [10, 0, 0, 1].into(),
            destination: [198, 51, 100, 1].into(),
            protocol: 6,
            port: Some(443),
            uid: None,
        };
        // The kernel let the packet pass while the lease lived; it is read and joined later.
        for (after, names) in [(0, &["a.example"][..]), (300, &["a.example"]), (1_000, &[])] {
            assert_eq!(fence.join(seen, until + Duration::from_millis(after)).names, names, "{after} ms after the end");
        }
    };
    std::thread::spawn(body).join().unwrap();
}
