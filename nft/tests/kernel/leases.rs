//! Leases: the timer, the names, the full set, and answers that do not disturb each other.

use std::{net::IpAddr, thread::sleep, time::Duration};

use nft::{Change, CommitError, Firewall, Kind, Options, Ownership, Ports, Sizes};

use crate::world::{change, commit, elements, in_namespace, ip, lease, opening, ruleset, run, shared};

fn web() -> nft::Ruleset {
    ruleset(vec![opening(1, "web", Ports::tcp_port(443)), opening(2, "db", Ports::tcp_port(5432))])
}

#[test]
fn a_refresh_restarts_the_timer_and_an_add_does_not() {
    in_namespace(|| {
        let mut firewall = shared();
        let _ = firewall.install(&web(), &[]).unwrap();
        let lease = |firewall: &mut Firewall, kind| {
            let change = change(firewall, "web", "198.51.100.7", "a.example", 100, kind);
            commit(firewall, &[&[change]]).remove(0).unwrap();
        };
        lease(&mut firewall, Kind::Add);
        sleep(Duration::from_millis(2100));
        lease(&mut firewall, Kind::Add);
        let (_, comment, left) = elements("web_v4").remove(0);
        assert_eq!(comment, "a.example");
        assert!(left <= 98, "a plain add restarted the timer: {left}");
        lease(&mut firewall, Kind::Refresh);
        let left = elements("web_v4").remove(0).2;
        assert!(left >= 99, "a refresh did not restart the timer: {left}");
    });
}

#[test]
fn a_refresh_of_what_does_not_stand_adds_it() {
    in_namespace(|| {
        let mut firewall = shared();
        let _ = firewall.install(&web(), &[]).unwrap();
        let change = change(&firewall, "web", "2001:db8::7", "a.example", 50, Kind::Refresh);
        assert!(commit(&mut firewall, &[&[change]])[0].is_ok());
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
        let add = |key, address, name| change(&firewall, key, address, name, 60, Kind::Add);
        let alone = add("db", "198.51.100.8", "db.example");
        let too_many = [add("db", "198.51.100.9", "x"), add("web", "198.51.100.3", "c")];
        let refresh = change(&firewall, "web", "198.51.100.1", "a", 600, Kind::Refresh);
        let other_family = add("web", "2001:db8::3", "c");
        let results = commit(&mut firewall, &[&[alone], &too_many, &[refresh], &[other_family]]);
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
        let lease = change(&firewall, "web", "198.51.100.7", "a.example", 100, Kind::Add);
        assert!(matches!(commit(&mut firewall, &[&[lease]])[0], Err(CommitError::TableVanished)));
        assert!(!firewall.read_back().unwrap().table_exists);
        let installed = firewall.install(&web(), &[]).unwrap();
        assert!(!installed.table_stood);
        let lease = change(&firewall, "web", "198.51.100.7", "a.example", 100, Kind::Add);
        assert!(commit(&mut firewall, &[&[lease]])[0].is_ok());
    });
}

#[test]
fn a_change_for_another_rulesets_opening_or_a_monstrous_name_fails_alone() {
    in_namespace(|| {
        let mut firewall = shared();
        let _ = firewall.install(&web(), &[]).unwrap();
        // The same place in the list of openings is another opening's after the next installation.
        let stale = change(&firewall, "web", "198.51.100.8", "a", 100, Kind::Add);
        let other = ruleset(vec![opening(2, "db", Ports::tcp_port(5432)), opening(1, "web", Ports::tcp_port(443))]);
        let _ = firewall.install(&other, &[]).unwrap();
        assert!(firewall.opening("gone").is_none());
        let long = "n".repeat(255);
        let monstrous = change(&firewall, "web", "198.51.100.7", &long, 100, Kind::Add);
        let good = change(&firewall, "web", "198.51.100.7", "a", 100, Kind::Add);
        let results = commit(&mut firewall, &[&[stale], &[monstrous], &[good], &[]]);
        assert!(matches!(results[0], Err(CommitError::NoSuchOpening)));
        assert!(elements("db_v4").is_empty());
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
        let lease = change(&next, &key, "198.51.100.9", "b", 60, Kind::Add);
        let results = commit(&mut next, &[&[lease]]);
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
        let good = change(&firewall, "db", "198.51.100.1", "db", 60, Kind::Add);
        let answer = |n: u8| -> Vec<Change<'_>> {
            let lease = change(&firewall, "web", "198.18.0.0", "a", 60, Kind::Add);
            (0..8).map(|m| Change { address: IpAddr::from([198, 18, n, m]), ..lease }).collect()
        };
        let (one, two) = (answer(1), answer(2));
        let results = commit(&mut firewall, &[&one, &two]);
        for result in &results {
            assert!(matches!(result, Err(CommitError::Unknown(_) | CommitError::SetFull { .. })), "{results:?}");
        }
        assert!(elements("web_v4").is_empty());
        assert!(commit(&mut firewall, &[&[good]])[0].is_ok(), "the socket is in step again");
    });
}

#[test]
fn many_batches_do_not_fill_the_socket() {
    in_namespace(|| {
        let mut firewall = shared();
        let _ = firewall.install(&web(), &[]).unwrap();
        for n in 0..20_000_u32 {
            let address = IpAddr::from((0xc612_0000 + n % 4000).to_be_bytes());
            let change = Change { address, ..change(&firewall, "web", "198.51.100.1", "a", 600, Kind::Refresh) };
            commit(&mut firewall, &[&[change]]).remove(0).unwrap();
        }
        assert_eq!(firewall.read_back().unwrap().leases.len(), 4000);
        assert_eq!(ip("198.18.0.0"), IpAddr::from(0xc612_0000_u32.to_be_bytes()));
    });
}

#[test]
fn one_address_in_several_answers_stands_for_the_longest_time() {
    in_namespace(|| {
        let mut firewall = shared();
        let _ = firewall.install(&web(), &[lease("web", "198.51.100.9", "old", 60)]).unwrap();
        let with = |address, name, seconds, kind| change(&firewall, "web", address, name, seconds, kind);
        let first = [with("198.51.100.7", "one", 300, Kind::Add)];
        let second = [with("198.51.100.9", "two", 200, Kind::Refresh), with("198.51.100.7", "two", 100, Kind::Refresh)];
        let third = [with("198.51.100.9", "three", 500, Kind::Refresh)];
        let results = commit(&mut firewall, &[&first, &second, &third]);
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        let found: Vec<(String, String, u64)> =
            elements("web_v4").into_iter().map(|(address, name, left)| (address, name, left.next_multiple_of(100))).collect();
        let wanted = |address: &str, name: &str, left| (address.to_owned(), name.to_owned(), left);
        assert_eq!(found, [wanted("198.51.100.7", "two", 300), wanted("198.51.100.9", "three", 500)]);
    });
}

#[test]
fn a_batch_of_many_sets_and_long_names_is_read_back_whole() {
    in_namespace(|| {
        let mut firewall = shared();
        let _ = firewall.install(&web(), &[]).unwrap();
        // With 250 bytes of name each, one set's leases take more than the 64 KiB that one list of elements can span.
        let mut wanted: Vec<(&str, IpAddr, String)> = Vec::new();
        for n in 0..1000_u32 {
            let name = format!("{n:03}{}", "n".repeat(if n % 2 == 0 { 247 } else { 9 }));
            let address =
                if n % 3 == 0 { IpAddr::from(u128::from(n).to_be_bytes()) } else { IpAddr::from((0xc612_0000 + n).to_be_bytes()) };
            wanted.push((if n % 5 == 0 { "db" } else { "web" }, address, name));
        }
        let changes: Vec<[Change<'_>; 1]> = wanted
            .iter()
            .map(|(key, address, name)| [Change { address: *address, ..change(&firewall, key, "198.51.100.1", name, 600, Kind::Add) }])
            .collect();
        let batch: Vec<&[Change<'_>]> = changes.iter().map(<[Change<'_>; 1]>::as_slice).collect();
        assert!(commit(&mut firewall, &batch).iter().all(Result::is_ok));
        let mut found: Vec<(String, IpAddr, String)> =
            firewall.read_back().unwrap().leases.into_iter().map(|lease| (lease.key, lease.address, lease.name)).collect();
        let mut wanted: Vec<(String, IpAddr, String)> =
            wanted.into_iter().map(|(key, address, name)| (key.to_owned(), address, name)).collect();
        found.sort();
        wanted.sort();
        assert_eq!(found, wanted);
    });
}

#[test]
fn a_set_that_began_small_takes_as_many_leases_as_it_is_told_and_no_more() {
    in_namespace(|| {
        let mut firewall = shared();
        let mut rules = web();
        rules.sizes = Sizes { leases: 3000, used: 3000 };
        let _ = firewall.install(&rules, &[]).unwrap();
        let lease = change(&firewall, "web", "198.18.0.0", "a", 600, Kind::Add);
        let leases: Vec<Change<'_>> =
            (0..3000_u32).map(|n| Change { address: IpAddr::from((0xc612_0000 + n).to_be_bytes()), ..lease }).collect();
        for part in leases.chunks(100) {
            commit(&mut firewall, &[part]).remove(0).unwrap();
        }
        let more = Change { address: ip("198.51.100.1"), ..lease };
        assert!(matches!(commit(&mut firewall, &[&[more]])[0], Err(CommitError::SetFull { .. })));
        assert_eq!(firewall.read_back().unwrap().leases.len(), 3000);
    });
}
