//! Budgets of wildcards: over one, new names are refused and counted; what is known, and what a rule names in full, is not.

use std::time::Duration;

use dnsproxy::{Outcome, RecordType, ResponseCode};
use policies::{BudgetKind, Reason};

use crate::{
    gate::{Says, ScriptedGate},
    upstream::ScriptedUpstream,
    world::{World, addresses, extended_error, question_edns},
};

fn policy(budget: &str) -> String {
    format!(
        r#"
version = 1
name = "test"
[[allow]]
name = "buckets"
hosts = ["*.example.net", "exact.example.net"]
ports = ["443"]
budget = {{ {budget} }}
[[allow]]
name = "others"
hosts = ["*.example.org"]
ports = ["443"]
"#
    )
}

async fn world(budget: &str, upstream: &ScriptedUpstream) -> World {
    World::under(&policy(budget), &[upstream.address], ScriptedGate::always(Says::Yes(Duration::from_secs(3600)))).await
}

async fn is_answered(world: &World, name: &str) -> bool {
    let reply = world.ask_edns(name, RecordType::A).await;
    match reply.metadata.response_code {
        ResponseCode::NoError => addresses(&reply).len() == 1,
        code => {
            assert_eq!((code, extended_error(&reply).unwrap().0), (ResponseCode::NXDomain, 15));
            assert!(reply.authorities.len() == 1 && addresses(&reply).is_empty());
            false
        }
    }
}

#[tokio::test]
async fn over_the_budget_of_names_new_ones_are_refused_and_known_ones_answered() {
    let upstream = ScriptedUpstream::honest().await;
    let world = world("names = 2", &upstream).await;
    for name in ["a.example.net.", "b.example.net."] {
        assert!(is_answered(&world, name).await, "{name}");
    }
    for name in ["c.example.net.", "d.example.net.", "c.example.net."] {
        assert!(!is_answered(&world, name).await, "{name}");
    }
    let stats = world.handle.stats();
    assert_eq!((stats.over_budget, stats.refused, upstream.questions()), (3, 3, 2));
    let heard = &world.heard_of(5).await[2];
    assert!(matches!(&heard.outcome, Outcome::Refused(refusal) if refusal.reason() == Reason::OverBudget(BudgetKind::Names)));

    assert!(is_answered(&world, "a.example.net.").await, "out of what was kept");
    assert_eq!(addresses(&world.ask("A.example.net.", RecordType::AAAA).await).len(), 1, "the same name tells nobody anything new");
    assert!(is_answered(&world, "exact.example.net.").await, "a host that is named in full has no budget");
    assert!(is_answered(&world, "c.example.org.").await, "another rule's names count there");
    assert_eq!(upstream.questions(), 5);
}

#[tokio::test]
async fn names_that_are_too_long_together_are_refused() {
    let upstream = ScriptedUpstream::honest().await;
    let world = world("bytes = 300", &upstream).await;
    let label = "l".repeat(60);
    assert!(is_answered(&world, &format!("{label}.{label}.{label}.example.net.")).await);
    assert!(!is_answered(&world, &format!("{label}.{label}.example.net.")).await);
    assert!(is_answered(&world, "short.example.net.").await, "what fits still goes");
    assert_eq!(world.handle.stats().over_budget, 1);
}

#[tokio::test]
async fn a_label_that_is_too_long_is_refused() {
    let upstream = ScriptedUpstream::honest().await;
    let world = world("label = 12", &upstream).await;
    assert!(is_answered(&world, "twelve-chars.example.net.").await);
    assert!(!is_answered(&world, "thirteen-char.example.net.").await);
    assert!(!is_answered(&world, "a.thirteen-char.example.net.").await);
    assert_eq!((world.handle.stats().over_budget, upstream.questions()), (2, 1));
}

/// Of a zone that lets nothing be kept, known names come up again and again; type, flags and order carry data then.
#[tokio::test]
async fn known_names_with_other_types_and_flags_are_no_way_around_the_budget() {
    let upstream = ScriptedUpstream::with_ttl(0).await;
    let world = world("names = 1, bytes = 300", &upstream).await;
    assert!(is_answered(&world, "a.example.net.").await);
    let mut refused = 0;
    for rtype in 1000..1100 {
        let query = question_edns("a.example.net.", RecordType::from(rtype), rtype % 2 == 0);
        let reply = world.send(&query).await.unwrap();
        refused += usize::from(extended_error(&reply).is_some_and(|(code, _)| code == 15));
        println!("{rtype} {:?} {:?}", reply.metadata.response_code, extended_error(&reply));
    }
    assert!(refused > 0, "{} questions went up", upstream.seen().len());
    assert_eq!((upstream.seen().len(), world.handle.stats().over_budget), (101 - refused, refused as u64));
}
