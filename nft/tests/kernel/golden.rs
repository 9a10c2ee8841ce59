//! `nft list ruleset` prints what the golden files hold, and nft can read it again.

use std::{fs, path::Path};

use nft::{Deny, Firewall, Options, Ownership, PortRange, Ports, RuleId, Ruleset};

use crate::world::{in_namespace, lease, opening, ruleset, run, shared};

/// Two rules by name, one by range, denials of both kinds, a rule that is gone but whose flows go on.
fn full() -> Ruleset {
    let mut web = opening(1, "alerts.pagerduty", Ports::tcp_port(443));
    web.ranges = vec!["203.0.113.0/24".parse().unwrap(), "2001:db8:1::/48".parse().unwrap()];
    let both = Ports::new(
        [PortRange::single(443), PortRange::new(8000, 8100).unwrap()],
        [PortRange::single(443), PortRange::new(60000, 65535).unwrap()],
        true,
    );
    let apis = opening(2, "apis", both);
    let mut metrics = opening(0xfffb, "9-metrics", Ports::tcp_port(9091));
    metrics.leased = false;
    metrics.ranges = vec!["10.40.0.0/16".parse().unwrap(), "10.41.0.0/16".parse().unwrap()];
    let mut ruleset = ruleset(vec![web, apis, metrics]);
    ruleset.denies = vec![
        Deny { ranges: vec!["169.254.169.254/32".parse().unwrap(), "fd00:ec2::254/128".parse().unwrap()], ports: None },
        Deny { ranges: vec!["10.40.7.0/24".parse().unwrap()], ports: Some(Ports::new([PortRange::new(9000, 9099).unwrap()], [], true)) },
    ];
    ruleset.retained = vec![RuleId::new(7).unwrap()];
    ruleset
}

/// What changes from run to run: handles are not printed, times are masked.
fn masked(listing: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in listing.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let mut masked: Vec<&str> = Vec::with_capacity(words.len());
        for word in words {
            masked.push(if masked.last().is_some_and(|before| *before == "expires") { "TIME" } else { word });
        }
        lines.push(masked.join(" "));
    }
    lines.join("\n") + "\n"
}

fn check(name: &str, listing: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, listing).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    let hint = format!("{name} differs (UPDATE_GOLDEN=1 cargo nextest run -p nft golden writes it anew)");
    for (number, (found, wanted)) in listing.lines().zip(golden.lines()).enumerate() {
        assert_eq!(found, wanted, "{hint}, line {}", number + 1);
    }
    assert_eq!(listing.lines().count(), golden.lines().count(), "{hint}");
}

#[test]
fn a_full_policy_reads_as_it_stands() {
    in_namespace(|| {
        crate::world::device("eth0");
        let leases =
            [lease("alerts.pagerduty", "203.0.113.7", "events.pagerduty.com", 600), lease("apis", "2001:db8::7", "api.example.com", 60)];
        let _ = shared().install(&full(), &leases).unwrap();
        let listing = run("nft", &["list", "ruleset"]);
        check("full.nft", &masked(&listing));
        // nft can read its own listing: nothing in it is foreign to it.
        let file = std::env::temp_dir().join(format!("portreeve-golden-{}.nft", std::process::id()));
        fs::write(&file, &listing).unwrap();
        run("nft", &["flush", "ruleset"]);
        let read = std::panic::catch_unwind(|| run("nft", &["-f", file.to_str().unwrap()]));
        fs::remove_file(&file).unwrap();
        assert!(read.is_ok());
    });
}

#[test]
fn an_empty_policy_reads_as_it_stands() {
    in_namespace(|| {
        crate::world::device("eth0");
        let _ = shared().install(&ruleset(Vec::new()), &[]).unwrap();
        check("empty.nft", &masked(&run("nft", &["list", "ruleset"])));
    });
}

#[test]
fn claimed_tables_are_listed_and_out_of_reach() {
    in_namespace(|| {
        let mut firewall = Firewall::open_with(Options { ownership: Ownership::Claim, ..Options::default() }).unwrap();
        let installed = firewall.install(&full(), &[]).unwrap();
        if installed.missing.contains(&nft::Missing::Ownership) {
            panic!("this kernel has no OWNER|PERSIST (Linux 6.9): run the suite on one that has");
        }
        assert!(run("nft", &["list", "ruleset"]).contains("chain egress"));
        for command in [&["delete", "table", "inet", "portreeve"][..], &["flush", "table", "inet", "portreeve"]] {
            assert!(!crate::world::attempt("nft", command).0, "{command:?} worked");
        }
        run("nft", &["flush", "ruleset"]);
        assert!(run("nft", &["list", "ruleset"]).contains("chain egress"));
        drop(firewall);
        // It outlives its owner, and the next one adopts it.
        assert!(run("nft", &["list", "ruleset"]).contains("chain egress"));
        let mut next = Firewall::open().unwrap();
        assert_eq!(next.read_back().unwrap().openings.len(), 3);
        let installed = next.install(&full(), &[]).unwrap();
        assert!(installed.table_stood && installed.missing.is_empty(), "{installed:?}");
        assert!(matches!(Firewall::open().unwrap().install(&full(), &[]), Err(nft::InstallError::Owned(_))));
        let _ = next.install(&full(), &[]).unwrap();
    });
}
