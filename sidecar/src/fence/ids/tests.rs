use std::net::IpAddr;

use nft::{Lease, Standing};
use policies::{Date, Pod, Source, Surroundings};

use super::*;

fn policy(text: &str) -> Policy {
    let file = policies::parse(&Source::new("test.toml", text)).file.unwrap();
    Policy::compile(&[file], &Pod::default(), &Surroundings::on(Date::new(2026, 1, 1).unwrap())).unwrap()
}

fn web(hosts: &str, ports: &str, head: &str) -> Policy {
    policy(&format!("version = 1\nname = \"app\"\n{head}\n[[allow]]\nname = \"web\"\nhosts = [{hosts}]\nports = [{ports}]\n"))
}

fn start(policy: &Policy) -> RuleIds {
    RuleIds::draw_first().under(&Policy::nothing(), policy)
}

fn id(ids: &RuleIds, policy: &Policy) -> RuleId {
    ids.of(&policy.openings()[0]).unwrap()
}

#[test]
fn a_rule_that_permits_as_much_or_more_keeps_its_id() {
    let old = web("\"a.example\"", "\"443\"", "");
    let ids = start(&old);
    for new in [old.clone(), web("\"a.example\", \"b.example\"", "\"443\"", ""), web("\"a.example\"", "\"443\", \"22\"", "")] {
        assert_eq!(id(&ids.under(&old, &new), &new), id(&ids, &old));
    }
}

#[test]
fn a_rule_that_permits_less_gets_a_new_id_so_that_its_flows_are_judged_anew() {
    let old = web("\"a.example\", \"b.example\"", "\"443\", \"22\"", "");
    let ids = start(&old);
    for new in [web("\"a.example\"", "\"443\", \"22\"", ""), web("\"a.example\", \"b.example\"", "\"443\"", "")] {
        let next = ids.under(&old, &new);
        assert_ne!(id(&next, &new), id(&ids, &old));
        assert!(next.retained().is_empty());
    }
}

#[test]
fn revoke_new_keeps_the_id_of_a_rule_that_is_gone() {
    let old = web("\"a.example\"", "\"443\"", "revoke = \"new\"");
    let ids = start(&old);
    let next = ids.under(&old, &Policy::nothing());
    assert_eq!(next.retained(), [id(&ids, &old)]);
    // And it is not given to anybody else meanwhile.
    let again = web("\"z.example\"", "\"25\"", "");
    assert_ne!(id(&next.under(&Policy::nothing(), &again), &again), id(&ids, &old));
}

#[test]
fn an_id_that_is_free_again_rests() {
    let (a, b) = (web("\"a.example\"", "\"443\"", ""), web("\"b.example\"", "\"443\"", ""));
    let mut ids = start(&a);
    let first = id(&ids, &a);
    let mut before = &a;
    for new in [&b, &a, &b, &a] {
        ids = ids.under(before, new);
        assert_ne!(id(&ids, new), first);
        before = new;
    }
}

#[test]
fn after_a_restart_the_same_policy_has_the_same_ids_and_another_one_has_new_ones() {
    let policy = web("\"a.example\"", "\"443\"", "");
    let standing = RuleId::new(7).unwrap();
    let found = |fingerprint| ReadBack {
        table_exists: true,
        openings: vec![Standing { key: policy.openings()[0].key.clone(), id: standing, fingerprint }],
        retained: Vec::new(),
        leases: vec![Lease {
            key: String::new(),
            address: IpAddr::from([198, 51, 100, 1]),
            name: String::new(),
            left: std::time::Duration::ZERO,
        }],
    };
    for (fingerprint, kept) in [(policy.generation(), true), (policy.generation() ^ 1, false)] {
        let mut ids = RuleIds::draw_first();
        ids.adopt(&found(fingerprint));
        assert_eq!(id(&ids.under(&Policy::nothing(), &policy), &policy) == standing, kept);
    }
}
