//! No answer before the gate said yes, and none at all if it does not.

use std::{net::IpAddr, sync::Arc, time::Duration};

use dnsproxy::{OpenError, Outcome, RecordType, ResponseCode};

use crate::{
    gate::{Permits, Says, ScriptedGate},
    upstream::ScriptedUpstream,
    world::{POLICY, World, addresses, extended_error, policy, question, receive},
};

const NO_ADDRESS: [IpAddr; 0] = [];

#[tokio::test]
async fn the_packet_leaves_only_after_the_gate_said_yes() {
    let upstream = ScriptedUpstream::honest().await;
    let permits = Arc::new(Permits::default());
    let gate = ScriptedGate::always(Says::Once(Arc::clone(&permits)));
    let world = World::start(&[upstream.address], gate.clone()).await;

    let client = world.client().await;
    client.send(&question("www.example.com.", RecordType::A).to_vec().unwrap()).await.unwrap();
    assert!(receive(&client, Duration::from_millis(300)).await.is_none(), "a packet left before the gate said yes");
    assert_eq!(gate.asked().len(), 1, "the gate was being asked all the while");

    permits.add();
    let reply = receive(&client, Duration::from_secs(5)).await.expect("the packet leaves once the gate said yes");
    assert_eq!(addresses(&reply).len(), 1);
}

#[tokio::test]
async fn a_gate_that_fails_means_servfail_and_no_address() {
    let upstream = ScriptedUpstream::honest().await;
    for error in [OpenError::Failed, OpenError::Full] {
        let world = World::start(&[upstream.address], ScriptedGate::always(Says::No(error))).await;
        for rtype in [RecordType::A, RecordType::AAAA] {
            let reply = world.ask_edns("www.example.com.", rtype).await;
            assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
            assert_eq!(addresses(&reply), NO_ADDRESS);
            assert_eq!(extended_error(&reply).unwrap().0, 0);
        }
        let heard = &world.heard().await[0];
        assert!(matches!(heard.outcome, Outcome::GateFailed(_, told) if told == error));
        assert!(heard.addresses.is_empty() && heard.ttl.is_none());
        let stats = world.handle.stats();
        assert_eq!((stats.gate_failures, stats.servfail, stats.released), (2, 2, 0));
    }
}

#[tokio::test]
async fn one_failure_disturbs_no_other_answer_of_the_same_batch() {
    let upstream = ScriptedUpstream::honest().await;
    let permits = Arc::new(Permits::default());
    let hold = Arc::clone(&permits);
    // The first answer keeps the resolver waiting until the others have come too; of those, one fails.
    let gate = ScriptedGate::script(move |call| match call {
        0 => Says::Once(Arc::clone(&hold)),
        3 => Says::No(OpenError::Full),
        _ => Says::Yes(Duration::from_secs(60)),
    });
    let world = World::start(&[upstream.address], gate.clone()).await;
    let client = world.client().await;
    let ask = async |name: &str| client.send(&question(name, RecordType::A).to_vec().unwrap()).await.unwrap();
    for n in 0..6 {
        ask(&format!("n{n}.cdn.example.net.")).await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    permits.add();
    let mut codes = std::collections::BTreeMap::new();
    for _ in 0..6 {
        let reply = receive(&client, Duration::from_secs(5)).await.expect("every question is answered");
        let code = reply.metadata.response_code;
        assert_eq!(addresses(&reply).is_empty(), code == ResponseCode::ServFail);
        *codes.entry(u16::from(code)).or_insert(0) += 1;
    }
    assert_eq!(codes, [(0, 5), (2, 1)].into());
    assert!(gate.calls.lock().unwrap().len() <= 3, "answers that come together are opened together: {:?}", gate.calls.lock().unwrap());
}

#[tokio::test]
async fn a_stale_grant_is_judged_again_by_the_policy_in_force() {
    let upstream = ScriptedUpstream::honest().await;
    let gate = ScriptedGate::script(|call| match call {
        0 => Says::No(OpenError::Stale),
        _ => Says::Yes(Duration::from_secs(60)),
    });
    let world = World::start(&[upstream.address], gate.clone()).await;
    assert_eq!(addresses(&world.ask("www.example.com.", RecordType::A).await).len(), 1);
    assert_eq!(gate.asked().len(), 2);
    assert_eq!(upstream.seen().len(), 1, "upstream is not asked again");
}

#[tokio::test]
async fn a_name_that_the_new_policy_refuses_is_refused_though_upstream_was_asked() {
    let upstream = ScriptedUpstream::honest().await;
    let permits = Arc::new(Permits::default());
    let hold = Arc::clone(&permits);
    let gate = ScriptedGate::script(move |call| match call {
        0 => Says::Once(Arc::clone(&hold)),
        _ => Says::Yes(Duration::from_secs(60)),
    });
    // The gate of the sidecar says stale by itself; this one is asked, and the policy changes while upstream is.
    let slow = ScriptedUpstream::start(|seen| {
        let mut acts = vec![crate::upstream::Act::Wait(Duration::from_millis(500))];
        acts.push(crate::upstream::Act::Send(crate::upstream::bytes(&crate::upstream::honest_answer(seen))));
        acts
    })
    .await;
    let world = World::start(&[slow.address], gate.clone()).await;
    let client = world.client().await;
    client.send(&question("www.example.com.", RecordType::A).to_vec().unwrap()).await.unwrap();
    while slow.seen().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.policy.store(policy(&POLICY.replace("www.example.com", "web.example.com")).into());
    let reply = receive(&client, Duration::from_secs(5)).await.unwrap();
    assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
    assert!(gate.asked().is_empty());
    assert_eq!(world.handle.stats().rejudged, 1);
    drop((upstream, permits));
}

#[tokio::test]
async fn a_gate_that_always_says_stale_is_asked_a_bounded_number_of_times() {
    let upstream = ScriptedUpstream::honest().await;
    let gate = ScriptedGate::always(Says::No(OpenError::Stale));
    let world = World::start(&[upstream.address], gate.clone()).await;
    let reply = world.ask("www.example.com.", RecordType::A).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(gate.asked().len(), 3);
}
