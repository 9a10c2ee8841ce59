//! Leases: the timer, the names, the full set, and answers that do not disturb each other.

use std::{net::IpAddr, thread::sleep, time::Duration};

use nft::{Answer, Change, CommitError, Firewall, Kind, Options, Ownership, Ports, Sizes};

use crate::world::{change, elements, in_namespace, ip, lease, opening, ruleset, run, shared};

fn one(change: Change) -> Answer {
    Answer { changes: vec![change] }
}

fn web() -> nft::Ruleset {
    ruleset(vec![opening(1, "web", Ports::tcp_port(443)), opening(2, "db", Ports::tcp_port(5432))])
}

#[test]
fn a_refresh_restarts_the_timer_and_an_add_does_not() {
    in_namespace(|| {
        let mut firewall = shared();
        let _ = firewall.install(&web(), &[]).unwrap();
        let commit = |firewall: &mut Firewall, kind| {
            firewall.commit(&[one(change("web", "198.51.100.7", "a.example", 100, kind))]).remove(0).unwrap();
        };
        commit(&mut firewall, Kind::Add);
        sleep(Duration::from_millis(2100));
        commit(&mut firewall, Kind::Add);
        let (_, comment, left) = elements("web_v4").remove(0);
        assert_eq!(comment, "a.example");
        assert!(left <= 98, "a plain add restarted the timer: {left}");
        commit(&mut firewall, Kind::Refresh);
        let left = elements("web_v4").remove(0).2;
        assert!(left >= 99, "a refresh did not restart the timer: {left}");
    });
}

#[test]
fn a_refresh_of_what_does_not_stand_adds_it() {
    in_namespace(|| {
        let mut firewall = shared();
        let _ = firewall.install(&web(), &[]).unwrap();
        let results = firewall.commit(&[one(change("web", "2001:db8::7", "a.example", 50, Kind::Refresh))]);
        assert!(results[0].is_ok());
        assert_eq!(elements("web_v6").len(), 1);
    });
}

#[test]
fn a_full_set_disturbs_only_its_own_answer() {
    in_namespace(|| {
        let mut firewall = shared();
        let mut ruleset = web();
        ruleset.sizes = Sizes { leases: 2, used: 2 };
        let _ = firewall.install(&ruleset, &[lease("web", "198.51.100.1", "a", 60), lease("web", "198.51.100.2", "b", 60)]).unwrap();
        let refresh = change("web", "198.51.100.1", "a", 600, Kind::Refresh);
        let answers = [
            one(change("db", "198.51.100.8", "db.example", 60, Kind::Add)),
            Answer { changes: vec![change("db", "198.51.100.9", "x", 60, Kind::Add), change("web", "198.51.100.3", "c", 60, Kind::Add)] },
            one(refresh),
            one(change("web", "2001:db8::3", "c", 60, Kind::Add)),
        ];
        let results = firewall.commit(&answers);
        assert!(matches!(&results[1], Err(CommitError::SetFull { key }) if key == "web"), "{results:?}");
        for neighbour in [0, 2, 3] {
            assert!(results[neighbour].is_ok(), "{neighbour}: {results:?}");
        }
        let db: Vec<String> = elements("db_v4").into_iter().map(|(address, ..)| address).collect();
        assert_eq!(db, ["198.51.100.8"], "an answer is committed whole or not at all");
        assert!(elements("web_v4").iter().any(|(address, _, left)| address == "198.51.100.1" && *left > 590));
    });
}

#[test]
fn a_vanished_table_is_told_and_put_back() {
    in_namespace(|| {
        let mut firewall = shared();
        let _ = firewall.install(&web(), &[]).unwrap();
        run("nft", &["delete", "table", "inet", "portreeve"]);
        let answer = [one(change("web", "198.51.100.7", "a.example", 100, Kind::Add))];
        assert!(matches!(firewall.commit(&answer)[0], Err(CommitError::TableVanished)));
        assert!(!firewall.read_back().unwrap().table_exists);
        let installed = firewall.install(&web(), &[]).unwrap();
        assert!(!installed.table_stood);
        assert!(firewall.commit(&answer)[0].is_ok());
    });
}

#[test]
fn a_change_for_an_unknown_opening_or_a_monstrous_name_fails_alone() {
    in_namespace(|| {
        let mut firewall = shared();
        let _ = firewall.install(&web(), &[]).unwrap();
        let results = firewall.commit(&[
            one(change("gone", "198.51.100.7", "a", 100, Kind::Add)),
            one(change("web", "198.51.100.7", &"n".repeat(255), 100, Kind::Add)),
            one(change("web", "198.51.100.7", "a", 100, Kind::Add)),
            Answer::default(),
        ]);
        assert!(matches!(results[0], Err(CommitError::NoSuchOpening { .. })));
        assert!(matches!(results[1], Err(CommitError::NameTooLong { len: 255 })));
        assert!(results[2].is_ok() && results[3].is_ok());
    });
}

#[test]
fn a_restarted_process_reads_everything_back() {
    in_namespace(|| {
        let long = format!("{}.example", vec!["x".repeat(60); 4].join("."));
        let key = format!("policy.{}", "rule".repeat(40));
        let mut rules = web();
        rules.openings.push(opening(3, &key, Ports::udp_port(443)));
        let mut static_only = opening(4, "ranges-only", Ports::tcp_port(22));
        static_only.leased = false;
        static_only.ranges = vec!["10.0.0.0/8".parse().unwrap()];
        rules.openings.push(static_only);
        rules.retained = vec![nft::RuleId::new(9).unwrap()];
        let leases = [
            lease("web", "198.51.100.7", &long, 500),
            lease("web", "2001:db8::7", "six.example", 700),
            lease(&key, "198.51.100.8", "\"quoted\".example", 900),
        ];
        {
            let mut firewall = shared();
            let _ = firewall.install(&rules, &leases).unwrap();
        }
        let mut next = shared();
        let back = next.read_back().unwrap();
        assert!(back.table_exists);
        let keys: Vec<(&str, u16, u64)> =
            back.openings.iter().map(|opening| (opening.key.as_str(), opening.id.get(), opening.fingerprint)).collect();
        assert_eq!(
            keys,
            [("web", 1, 0xfeed_0001), ("db", 2, 0xfeed_0002), (key.as_str(), 3, 0xfeed_0003), ("ranges-only", 4, 0xfeed_0004)]
        );
        assert_eq!(back.retained, [nft::RuleId::new(9).unwrap()]);
        assert_eq!(back.leases.len(), 3);
        for wanted in &leases {
            let found = back.leases.iter().find(|lease| (&lease.key, lease.address) == (&wanted.key, wanted.address)).unwrap();
            assert_eq!(found.name, wanted.name);
            assert!(wanted.left - found.left < Duration::from_secs(2), "{found:?}");
        }
        // Leases can be committed before anything is installed.
        let results = next.commit(&[one(change(&key, "198.51.100.9", "b", 60, Kind::Add))]);
        assert!(results[0].is_ok(), "{results:?}");
    });
}

#[test]
fn a_lost_acknowledgement_is_made_up_for_by_the_sets() {
    in_namespace(|| {
        let mut rules = web();
        rules.sizes = Sizes { leases: 4, used: 4 };
        let _ = shared().install(&rules, &[]).unwrap();
        // The smallest buffer that the kernel gives: the refusals of one batch do not fit.
        let options = Options { ownership: Ownership::Shared, buffer: 1 };
        let mut firewall = Firewall::open_with(options).unwrap();
        let _ = firewall.read_back().unwrap();
        let answer = |n: u8| Answer {
            changes: (0..8)
                .map(|m| Change {
                    key: "web".to_owned(),
                    address: IpAddr::from([198, 18, n, m]),
                    name: "a".to_owned(),
                    timeout: Duration::from_secs(60),
                    kind: Kind::Add,
                })
                .collect(),
        };
        let good = one(change("db", "198.51.100.1", "db", 60, Kind::Add));
        let results = firewall.commit(&[answer(1), answer(2)]);
        for result in &results {
            assert!(matches!(result, Err(CommitError::Unknown(_) | CommitError::SetFull { .. })), "{results:?}");
        }
        assert!(elements("web_v4").is_empty());
        assert!(firewall.commit(&[good])[0].is_ok(), "the socket is in step again");
    });
}

#[test]
fn many_batches_do_not_fill_the_socket() {
    in_namespace(|| {
        let mut firewall = shared();
        let _ = firewall.install(&web(), &[]).unwrap();
        for n in 0..20_000_u32 {
            let address = IpAddr::from((0xc612_0000 + n % 4000).to_be_bytes());
            let change = Change { address, ..change("web", "198.51.100.1", "a", 600, Kind::Refresh) };
            firewall.commit(&[one(change)]).remove(0).unwrap();
        }
        assert_eq!(firewall.read_back().unwrap().leases.len(), 4000);
        assert_eq!(ip("198.18.0.0"), IpAddr::from(0xc612_0000_u32.to_be_bytes()));
    });
}
