//! A change of policy or gate: what was kept must pass both again, and what the new policy refuses is refused at once.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use dnsproxy::{OpenError, RecordType, ResponseCode};
use policies::Policy;
use tokio::time::sleep;

use crate::{
    gate::{Says, ScriptedGate},
    upstream::{ScriptedUpstream, address, answer_with},
    world::{POLICY, World, addresses, extended_error, ip, policy, question, receive},
};

const NAME: &str = "www.example.com.";

fn open() -> ScriptedGate {
    ScriptedGate::always(Says::Yes(Duration::from_secs(3600)))
}

/// The policy of most tests, on another port: another generation, of the same mind about names.
fn other_port() -> String {
    POLICY.replace("\"443\"", "\"8443\"")
}

/// The same, with the right to private addresses.
fn private() -> String {
    POLICY.replace("ports = [\"443\"]", "ports = [\"443\"]\nprivate = true")
}

async fn mixed() -> ScriptedUpstream {
    ScriptedUpstream::start(|seen| answer_with(seen, &[address(NAME, 300, "10.0.0.1"), address(NAME, 300, "203.0.113.4")])).await
}

#[tokio::test]
async fn another_policy_has_what_was_kept_pass_the_gate_again_but_no_upstream() {
    let upstream = ScriptedUpstream::honest().await;
    let gate = open();
    let world = World::start(&[upstream.address], gate.clone()).await;
    world.ask(NAME, RecordType::A).await;
    sleep(Duration::from_millis(1100)).await;
    world.set_policy(&other_port());
    let reply = world.ask(NAME, RecordType::A).await;
    assert_eq!((addresses(&reply), upstream.questions(), gate.asked().len()), (vec![ip("203.0.113.1")], 1, 2));
    assert!((200..=298).contains(&reply.answers[0].ttl), "no new time is given: {}", reply.answers[0].ttl);
    world.ask(NAME, RecordType::A).await;
    assert_eq!((upstream.questions(), gate.asked().len()), (1, 2), "once is enough");
}

#[tokio::test]
async fn another_epoch_of_the_gate_does_too() {
    let upstream = ScriptedUpstream::honest().await;
    let gate = ScriptedGate::script(|call| match call {
        1 => Says::No(OpenError::Failed),
        _ => Says::Yes(Duration::from_secs(3600)),
    });
    let world = World::start(&[upstream.address], gate.clone()).await;
    world.ask(NAME, RecordType::A).await;
    gate.epoch.fetch_add(1, Relaxed);
    assert_eq!(world.ask(NAME, RecordType::A).await.metadata.response_code, ResponseCode::ServFail, "not open, not told");
    assert_eq!(addresses(&world.ask(NAME, RecordType::A).await).len(), 1);
    world.ask(NAME, RecordType::A).await;
    assert_eq!((upstream.questions(), gate.asked().len(), world.handle.stats().cached), (1, 3, 1));
}

#[tokio::test]
async fn an_epoch_that_changes_while_a_question_is_asked_harms_no_answer() {
    let upstream = ScriptedUpstream::slow(Duration::from_millis(300)).await;
    let gate = open();
    let world = World::start(&[upstream.address], gate.clone()).await;
    let client = world.client().await;
    client.send(&question(NAME, RecordType::A).to_vec().unwrap()).await.unwrap();
    sleep(Duration::from_millis(100)).await;
    gate.epoch.fetch_add(1, Relaxed);
    assert_eq!(addresses(&receive(&client, Duration::from_secs(5)).await.unwrap()).len(), 1);
    assert_eq!(addresses(&world.ask(NAME, RecordType::A).await).len(), 1);
    assert_eq!((upstream.questions(), gate.asked().len()), (1, 1), "opened in the new epoch, so it is good in that");
}

#[tokio::test]
async fn an_epoch_that_changes_while_the_gate_opens_is_that_of_the_answer() {
    let upstream = ScriptedUpstream::honest().await;
    let epoch: Arc<OnceLock<Arc<AtomicU64>>> = Arc::default();
    let mine = Arc::clone(&epoch);
    // As when the gate finds its table gone and makes it anew before it opens.
    let gate = ScriptedGate::script(move |call| {
        if call == 0 {
            mine.get().unwrap().fetch_add(1, Relaxed);
        }
        Says::Yes(Duration::from_secs(3600))
    });
    epoch.set(Arc::clone(&gate.epoch)).unwrap();
    let world = World::start(&[upstream.address], gate.clone()).await;
    for _ in 0..2 {
        assert_eq!(addresses(&world.ask(NAME, RecordType::A).await).len(), 1);
    }
    assert_eq!((upstream.questions(), gate.asked().len(), world.handle.stats().cached), (1, 1, 1));
}

#[tokio::test]
async fn what_the_new_policy_refuses_is_refused_at_once_and_comes_back_with_the_old_one() {
    let upstream = ScriptedUpstream::honest().await;
    let gate = open();
    let world = World::start(&[upstream.address], gate.clone()).await;
    world.ask(NAME, RecordType::A).await;
    world.set_policy(&POLICY.replace("www.example.com", "web.example.com"));
    let refused = world.ask(NAME, RecordType::A).await;
    assert_eq!((refused.metadata.response_code, addresses(&refused)), (ResponseCode::NXDomain, Vec::new()));
    world.set_policy(POLICY);
    assert_eq!(addresses(&world.ask(NAME, RecordType::A).await).len(), 1);
    assert_eq!((upstream.questions(), gate.asked().len()), (1, 2));
}

#[tokio::test]
async fn a_chain_that_the_new_policy_denies_is_not_told_from_what_was_kept() {
    let upstream = ScriptedUpstream::start(|seen| {
        let edge = "edge.provider.example.";
        answer_with(seen, &[crate::upstream::cname(NAME, 300, edge), address(edge, 300, "203.0.113.4")])
    })
    .await;
    let world = World::start(&[upstream.address], open()).await;
    assert_eq!(addresses(&world.ask(NAME, RecordType::A).await).len(), 1);
    world.set_policy(&POLICY.replace("tracker.example.org", "edge.provider.example"));
    let reply = world.ask(NAME, RecordType::A).await;
    assert_eq!((reply.metadata.response_code, addresses(&reply)), (ResponseCode::NXDomain, Vec::new()));
    assert_eq!(upstream.questions(), 1);
}

#[tokio::test]
async fn an_answer_that_lost_addresses_is_asked_for_anew_under_another_policy() {
    let upstream = mixed().await;
    let world = World::start(&[upstream.address], open()).await;
    for _ in 0..2 {
        let reply = world.ask_edns(NAME, RecordType::A).await;
        assert_eq!((addresses(&reply), extended_error(&reply).unwrap().0), (vec![ip("203.0.113.4")], 17));
    }
    assert_eq!(upstream.questions(), 1);
    world.set_policy(&private());
    assert_eq!(addresses(&world.ask(NAME, RecordType::A).await), [ip("10.0.0.1"), ip("203.0.113.4")]);
    assert_eq!(upstream.questions(), 2);
}

#[tokio::test]
async fn what_the_new_policy_gives_no_right_to_is_stripped_from_what_was_kept() {
    let upstream = mixed().await;
    let gate = open();
    let world = World::under(&private(), &[upstream.address], gate.clone()).await;
    assert_eq!(addresses(&world.ask(NAME, RecordType::A).await).len(), 2);
    world.set_policy(POLICY);
    for _ in 0..2 {
        let reply = world.ask_edns(NAME, RecordType::A).await;
        assert_eq!((addresses(&reply), extended_error(&reply).unwrap().0), (vec![ip("203.0.113.4")], 17));
    }
    assert_eq!(upstream.questions(), 1);
    assert_eq!(gate.asked()[1].1, [ip("203.0.113.4")]);
}

#[tokio::test]
async fn an_answer_that_lost_addresses_before_the_policy_changed_under_it_is_for_one_use() {
    let upstream = mixed().await;
    let in_force: Arc<OnceLock<Arc<ArcSwap<Policy>>>> = Arc::default();
    let mine = Arc::clone(&in_force);
    // The gate finds another policy in force when it is asked for the first time.
    let gate = ScriptedGate::script(move |call| match call {
        0 => {
            mine.get().unwrap().store(policy(&private()).into());
            Says::No(OpenError::Stale)
        }
        _ => Says::Yes(Duration::from_secs(3600)),
    });
    let world = World::start(&[upstream.address], gate.clone()).await;
    in_force.set(Arc::clone(&world.policy)).unwrap();
    let reply = world.ask(NAME, RecordType::A).await;
    assert_eq!((addresses(&reply), reply.answers[0].ttl), (vec![ip("203.0.113.4")], 0));
    assert_eq!(addresses(&world.ask(NAME, RecordType::A).await), [ip("10.0.0.1"), ip("203.0.113.4")]);
    assert_eq!(upstream.questions(), 2);
}
