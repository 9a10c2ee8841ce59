//! Installations: whatever stands becomes what must hold, in one step.

use std::{net::IpAddr, time::Duration};

use nft::{Deny, Lease, PortRange, Ports, RawGuard, RawGuardState, RefreshError};

use crate::world::{elements, in_namespace, lease, opening, ruleset, run, shared};

#[test]
fn wanted_leases_stay_untouched_and_others_go_in_the_same_step() {
    in_namespace(|| {
        let mut firewall = shared();
        let rules = ruleset(vec![opening(1, "web", Ports::tcp_port(443)), opening(2, "db", Ports::tcp_port(5432))]);
        let first = [
            lease("web", "198.51.100.1", "stays", 500),
            lease("web", "198.51.100.2", "goes", 500),
            lease("web", "198.51.100.3", "longer", 500),
            lease("web", "198.51.100.4", "renamed", 500),
            lease("db", "198.51.100.5", "with its rule", 500),
        ];
        let _ = firewall.install(&rules, &first).unwrap();
        let next = ruleset(vec![opening(1, "web", Ports::tcp_port(8443)), opening(3, "new", Ports::tcp_port(25))]);
        let wanted = [
            lease("web", "198.51.100.1", "stays", 500),
            lease("web", "198.51.100.3", "longer", 900),
            lease("web", "198.51.100.4", "new name", 500),
            lease("db", "198.51.100.5", "its opening is gone", 500),
            lease("new", "2001:db8::1", "added", 70),
        ];
        let installed = firewall.install(&next, &wanted).unwrap();
        assert_eq!((installed.kept, installed.added, installed.removed), (1, 3, 1), "{installed:?}");
        let web = elements("web_v4");
        let comments: Vec<(&str, &str)> = web.iter().map(|(address, comment, _)| (address.as_str(), comment.as_str())).collect();
        assert_eq!(comments, [("198.51.100.1", "stays"), ("198.51.100.3", "longer"), ("198.51.100.4", "new name")]);
        assert!(web[0].2 <= 500 && web[1].2 > 890);
        assert_eq!(elements("new_v6").len(), 1);
        let listing = run("nft", &["list", "ruleset"]);
        assert!(!listing.contains("db_v4") && !listing.contains("flow_db") && listing.contains("tcp_8443"), "{listing}");
        // What packets under way may still look into lingers, without a rule that leads to it; then it goes.
        assert!(listing.contains("chain tcp_443 {\n\t}"), "{listing}");
        let _ = firewall.install(&next, &wanted).unwrap();
        let listing = run("nft", &["list", "ruleset"]);
        assert!(!listing.contains("tcp_443") && listing.matches("map tcp_ports").count() == 1, "{listing}");
    });
}

#[test]
fn installing_twice_changes_nothing() {
    in_namespace(|| {
        crate::world::device("eth0");
        let mut firewall = shared();
        let mut rules = ruleset(vec![
            opening(1, "web", Ports::tcp_port(443)),
            opening(2, "all", Ports::new([PortRange::new(0, 65535).unwrap()], [], true)),
        ]);
        rules.openings[1].ranges = vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        rules.denies = vec![Deny { ranges: vec!["10.1.0.0/16".parse().unwrap()], ports: None }];
        let leases = [lease("web", "198.51.100.1", "stays", 5000)];
        let _ = firewall.install(&rules, &leases).unwrap();
        // What is left of a lease, whatever unit it ends with.
        let mask = |listing: String| {
            let mut words: Vec<&str> = Vec::new();
            for word in listing.split(' ') {
                words.push(if words.last() == Some(&"expires") { "TIME" } else { word });
            }
            words.join(" ")
        };
        let before = mask(run("nft", &["list", "ruleset"]));
        for _ in 0..20 {
            let installed = firewall.install(&rules, &leases).unwrap();
            assert_eq!((installed.kept, installed.added, installed.removed), (1, 0, 0));
            assert!(installed.table_stood);
        }
        assert_eq!(mask(run("nft", &["list", "ruleset"])), before);
    });
}

#[test]
fn a_changed_record_is_written_and_the_leases_stay() {
    in_namespace(|| {
        let mut firewall = shared();
        let mut rules = ruleset(vec![opening(1, "web", Ports::tcp_port(443))]);
        let leases = [lease("web", "198.51.100.1", "stays", 5000)];
        let _ = firewall.install(&rules, &leases).unwrap();
        rules.openings[0].fingerprint = 42;
        rules.openings[0].id = nft::RuleId::new(77).unwrap();
        let installed = firewall.install(&rules, &leases).unwrap();
        assert_eq!((installed.kept, installed.added), (1, 0));
        let back = firewall.read_back().unwrap();
        assert_eq!((back.openings[0].fingerprint, back.openings[0].id.get()), (42, 77));
    });
}

#[test]
fn ranges_and_ports_move_about_between_installations() {
    in_namespace(|| {
        let mut firewall = shared();
        // Intervals that overlap those before them: a kernel that compared both generations would refuse.
        for step in 0..40_u16 {
            let range = |first: u16, len: u16| PortRange::new(first, first + len).unwrap();
            let ports = Ports::new([range(1000 + step, 100 + step), range(3000, step)], [range(1 + step * 3, 50)], step % 2 == 0);
            let mut rules = ruleset(vec![opening(1, "web", ports), opening(2, "other", Ports::tcp_port(1050 + step))]);
            let net = |text: String| text.parse().unwrap();
            rules.openings[0].ranges = vec![net(format!("10.{step}.0.0/15")), net(format!("2001:db8:{step}::/47"))];
            rules.denies = vec![
                Deny { ranges: vec![net(format!("10.{}.0.0/16", step / 2))], ports: None },
                Deny { ranges: vec![net(format!("10.{step}.0.0/16"))], ports: (step % 3 == 0).then(|| Ports::tcp_port(80)) },
            ];
            let _ = firewall.install(&rules, &[]).unwrap_or_else(|error| panic!("step {step}: {error:?}"));
        }
    });
}

#[test]
fn two_hundred_openings_and_two_thousand_leases_fit_one_step() {
    in_namespace(|| {
        let mut firewall = shared();
        let openings: Vec<_> = (1..=200)
            .map(|id| opening(id, &format!("policy.rule-{id}"), Ports::new([PortRange::single(443), PortRange::single(id)], [], true)))
            .collect();
        let leases: Vec<Lease> = (0..2000_u32)
            .map(|n| Lease {
                key: format!("policy.rule-{}", n % 200 + 1),
                address: IpAddr::from((0xc612_0000 + n).to_be_bytes()),
                name: format!("host-{n}.{}.example", "x".repeat(100)),
                left: Duration::from_secs(3000),
            })
            .collect();
        let rules = ruleset(openings);
        let installed = firewall.install(&rules, &leases).unwrap();
        assert_eq!(installed.added, 2000);
        let installed = firewall.install(&rules, &leases).unwrap();
        assert_eq!((installed.kept, installed.added), (2000, 0));
        let back = firewall.read_back().unwrap();
        assert_eq!((back.openings.len(), back.leases.len()), (200, 2000));
        let installed = firewall.install(&ruleset(Vec::new()), &leases).unwrap();
        assert_eq!(installed.kept, 0);
        assert_eq!(firewall.read_back().unwrap().leases.len(), 0);
    });
}

#[test]
fn a_ruleset_that_contradicts_itself_changes_nothing() {
    in_namespace(|| {
        let mut firewall = shared();
        let _ = firewall.install(&ruleset(vec![opening(1, "web", Ports::tcp_port(443))]), &[]).unwrap();
        let before = run("nft", &["list", "ruleset"]);
        let twice = ruleset(vec![opening(1, "one", Ports::tcp_port(443)), opening(1, "two", Ports::tcp_port(443))]);
        let same = ruleset(vec![opening(1, "one", Ports::tcp_port(443)), opening(2, "one", Ports::tcp_port(443))]);
        let long = ruleset(vec![opening(1, &"k".repeat(201), Ports::tcp_port(443))]);
        for wrong in [twice, same, long] {
            assert!(matches!(firewall.install(&wrong, &[]), Err(nft::InstallError::Invalid(_))));
        }
        assert_eq!(run("nft", &["list", "ruleset"]), before);
    });
}

#[test]
fn devices_that_come_later_are_guarded() {
    in_namespace(|| {
        crate::world::device("eth0");
        let mut firewall = shared();
        let installed = firewall.install(&ruleset(Vec::new()), &[]).unwrap();
        let RawGuardState::Standing(devices) = installed.raw_guard else { panic!("no guard: {installed:?}") };
        assert!(devices.guarded.contains(&"eth0".to_owned()) && !devices.guarded.contains(&"lo".to_owned()));
        crate::world::device("frames");
        crate::world::device("0dd+name");
        let devices = firewall.refresh_devices().unwrap();
        assert_eq!(devices.added, ["0dd+name", "frames"]);
        assert!(firewall.refresh_devices().unwrap().added.is_empty());
        // Gone and back, and another under an old name.
        run("ip", &["link", "del", "frames"]);
        run("ip", &["link", "set", "eth0", "name", "eth1"]);
        crate::world::device("eth0");
        crate::world::device("frames");
        let _ = firewall.refresh_devices().unwrap();
        let installed = firewall.install(&ruleset(Vec::new()), &[]).unwrap();
        let RawGuardState::Standing(devices) = installed.raw_guard else { panic!("no guard: {installed:?}") };
        for device in ["0dd+name", "eth0", "eth1", "frames"] {
            assert!(devices.guarded.contains(&device.to_owned()), "{device}");
        }
        assert!(firewall.refresh_devices().unwrap().added.is_empty());
        run("nft", &["delete", "table", "netdev", "portreeve"]);
        assert!(matches!(firewall.refresh_devices(), Err(RefreshError::TableVanished)));
        let mut off = ruleset(Vec::new());
        let _ = firewall.install(&off, &[]).unwrap();
        off.raw_guard = RawGuard::Off;
        let _ = firewall.install(&off, &[]).unwrap();
        assert!(!run("nft", &["list", "ruleset"]).contains("netdev"));
    });
}
