//! Search lists as Kubernetes and clouds write them, with `ndots:5`: what of each look-up is a step, and what a wish.
use super::{allow, compile_in, file, refusal, today};
use crate::{Name, Policy, Reason, Surroundings, Verdict};

const POD: [&str; 3] = ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local"];
const CLOUD: [&str; 6] =
    ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local", "eu-west-1.compute.internal", "corp.example.net", "net"];

fn policy(search: &[&str], hosts: &str) -> Policy {
    let place = Surroundings { search: search.iter().map(|text| Name::parse(text).unwrap()).collect(), ..Surroundings::stand_in(today()) };
    compile_in(&[file("p", &allow("a", &format!("hosts = [{hosts}]\nports = [\"443\"]")))], &place).unwrap()
}

fn is_granted(policy: &Policy, name: &str) -> bool {
    matches!(policy.judge(&Name::parse(name).unwrap()), Verdict::Granted(_))
}

#[test]
fn every_step_before_a_permitted_name_is_a_step() {
    for search in [&POD[..], &CLOUD[..]] {
        let policy = policy(search, "\"api.github.com\", \"*.s3.example.org\"");
        for wish in ["api.github.com", "bucket.s3.example.org", "a.b.bucket.s3.example.org"] {
            assert!(is_granted(&policy, wish));
            for domain in search {
                let step = refusal(&policy, &format!("{wish}.{domain}"));
                assert_eq!((step.reason(), step.is_no_data()), (Reason::SearchListStep, false), "{wish}.{domain}");
            }
        }
        for domain in search {
            assert_eq!(refusal(&policy, &format!("evil.com.{domain}")).reason(), Reason::NotPermitted);
            assert_eq!(refusal(&policy, &format!("s3.example.org.{domain}")).reason(), Reason::NotPermitted, "what is above the wildcard");
        }
    }
}

#[test]
fn a_short_name_of_a_service_makes_steps_before_and_behind_its_own() {
    let policy = policy(&POD, "\"redis.billing.svc.cluster.local\", \"api.shop.svc.cluster.local\"");
    // The app says `redis.billing`: the second domain is the right one.
    assert_eq!(refusal(&policy, "redis.billing.shop.svc.cluster.local").reason(), Reason::SearchListStep);
    assert!(is_granted(&policy, "redis.billing.svc.cluster.local"));
    assert_eq!(refusal(&policy, "redis.billing.cluster.local").reason(), Reason::SearchListStep);
    assert_eq!(refusal(&policy, "api.svc.cluster.local").reason(), Reason::SearchListStep);
    assert_eq!(refusal(&policy, "other.billing.shop.svc.cluster.local").reason(), Reason::NotPermitted);
}

#[test]
fn a_permitted_name_is_never_taken_for_a_step() {
    let policy = policy(&POD, "\"github.com\", \"*.svc.cluster.local\", \"github.com.cluster.local\"");
    for name in ["github.com.shop.svc.cluster.local", "github.com.svc.cluster.local", "github.com.cluster.local"] {
        assert!(is_granted(&policy, name), "{name}");
    }
}

#[test]
fn a_domain_is_behind_a_name_only_where_a_label_begins() {
    let policy = policy(&["le.example", "."], "\"github.com\"");
    let trap = Name::from_labels([b"github".as_slice(), b"com", b"x\x02le", b"example"]).unwrap();
    let Verdict::Refused(refused) = policy.judge(&trap) else { panic!("{trap}") };
    assert_eq!(refused.reason(), Reason::NotPermitted);
    assert_eq!(refusal(&policy, "le.example").reason(), Reason::NotPermitted, "nothing stands in front");
    // A name too long to have another domain behind it.
    let long = format!("{}.{}.{}.{}.le.example", "a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(45));
    assert_eq!(refusal(&policy, &long).reason(), Reason::NotPermitted);
}
