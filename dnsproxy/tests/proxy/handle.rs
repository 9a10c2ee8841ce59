//! What others ask of a running resolver: between two rounds, seen by the next query, and never in anybody's way.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use dnsproxy::{NotTaken, RecordType, ResponseCode};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{
    gate::{Says, ScriptedGate},
    upstream::{ScriptedUpstream, address, answer_with},
    world::{POLICY, World, addresses, ip, policy, question, receive, write_framed},
};

const NAME: &str = "www.example.com.";

fn open() -> ScriptedGate {
    ScriptedGate::always(Says::Yes(Duration::from_secs(3600)))
}

/// Waits until `holds`.
async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}");
}

#[tokio::test]
async fn a_refresh_goes_past_what_was_kept_and_replaces_it_and_tells_nobody() {
    let count = std::sync::atomic::AtomicU8::new(1);
    let upstream = ScriptedUpstream::start(move |seen| {
        let last = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        answer_with(seen, &[address(NAME, 300, &format!("203.0.113.{last}"))])
    })
    .await;
    let gate = open();
    let world = World::start(&[upstream.address], gate.clone()).await;
    assert_eq!(addresses(&world.ask(NAME, RecordType::A).await), [ip("203.0.113.1")]);
    world.handle.refresh("www.example.com".parse().unwrap(), false).unwrap();
    until("the new address is not opened", || gate.asked().len() == 2).await;
    assert_eq!(gate.asked()[1].1, [ip("203.0.113.2")]);
    world.round().await;
    assert_eq!(addresses(&world.ask(NAME, RecordType::A).await), [ip("203.0.113.2")]);
    assert_eq!((upstream.questions(), world.handle.stats().refreshed, world.handle.stats().released), (2, 1, 1));
    assert_eq!(world.heard_of(2).await.len(), 2, "nobody was told of it");

    // A name that is not permitted any longer is not asked for.
    world.set_policy(&POLICY.replace("www.example.com", "web.example.com"));
    world.handle.refresh("www.example.com".parse().unwrap(), false).unwrap();
    world.round().await;
    assert_eq!((upstream.questions(), world.handle.stats().refreshed), (2, 1));
}

#[tokio::test]
async fn a_client_that_asks_while_a_name_is_refreshed_shares_its_answer() {
    let upstream = ScriptedUpstream::slow(Duration::from_millis(300)).await;
    let world = World::start(&[upstream.address], open()).await;
    world.handle.refresh("www.example.com".parse().unwrap(), true).unwrap();
    world.round().await;
    assert_eq!(addresses(&world.ask(NAME, RecordType::AAAA).await).len(), 1);
    assert_eq!((upstream.questions(), world.handle.stats().coalesced), (1, 1));
}

#[tokio::test]
async fn without_a_way_to_ipv6_its_addresses_are_nodata_and_all_else_as_ever() {
    let upstream = ScriptedUpstream::honest().await;
    let gate = open();
    let world = World::start(&[upstream.address], gate.clone()).await;
    assert_eq!(addresses(&world.ask(NAME, RecordType::AAAA).await).len(), 1);
    world.handle.set_ipv6(false).unwrap();
    world.round().await;
    for name in [NAME, "n1.cdn.example.net."] {
        let reply = world.ask(name, RecordType::AAAA).await;
        assert_eq!((reply.metadata.response_code, addresses(&reply)), (ResponseCode::NoError, Vec::new()), "{name}");
        assert_eq!((reply.authorities.len(), reply.authorities[0].record_type()), (1, RecordType::SOA));
    }
    assert_eq!(world.ask("github.com.", RecordType::AAAA).await.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(addresses(&world.ask(NAME, RecordType::A).await).len(), 1);
    world.handle.refresh("www.example.com".parse().unwrap(), true).unwrap();
    world.round().await;
    let refreshed = world.handle.stats().refreshed;
    assert_eq!((upstream.questions(), gate.asked().len(), refreshed), (2, 2, 0), "nobody is asked for what nobody can reach");
    world.handle.set_ipv6(true).unwrap();
    world.round().await;
    assert_eq!(addresses(&world.ask(NAME, RecordType::AAAA).await).len(), 1);
}

#[tokio::test]
async fn other_upstreams_are_asked_from_then_on_and_get_what_was_in_flight() {
    let (old, new) = (ScriptedUpstream::start(|_| Vec::new()).await, ScriptedUpstream::honest().await);
    let world = World::start(&[old.address], open()).await;
    let client = world.client().await;
    client.send(&question(NAME, RecordType::A).to_vec().unwrap()).await.unwrap();
    until("the old one is not asked", || !old.seen().is_empty()).await;
    world.handle.set_upstreams(vec![new.address]).unwrap();
    world.round().await;
    let asked = old.seen().len();
    let reply = receive(&client, Duration::from_secs(8)).await.expect("the new one answers what the old one did not");
    assert_eq!(addresses(&reply).len(), 1);
    assert_eq!(addresses(&world.ask("n1.cdn.example.net.", RecordType::A).await).len(), 1);
    assert_eq!((old.seen().len(), new.questions()), (asked, 2));
    assert_eq!(world.handle.upstreams().iter().map(|one| one.address).collect::<Vec<_>>(), [new.address]);
}

#[tokio::test]
async fn what_a_job_does_to_gate_and_policy_is_seen_by_the_next_query() {
    let upstream = ScriptedUpstream::slow(Duration::from_millis(500)).await;
    let world = World::start(&[upstream.address], open()).await;
    let client = world.client().await;
    client.send(&question("n1.cdn.example.net.", RecordType::A).to_vec().unwrap()).await.unwrap();
    until("upstream is not asked", || upstream.questions() == 1).await;
    let in_force = Arc::clone(&world.policy);
    let asked = world.handle.with_gate(move |gate: &mut ScriptedGate| {
        in_force.store(policy(&POLICY.replace("www.example.com", "web.example.com")).into());
        gate.asked().len()
    });
    assert_eq!(timeout(Duration::from_secs(5), asked).await.unwrap(), Ok(0), "while a question is asked, and before its answer");
    assert_eq!(world.ask(NAME, RecordType::A).await.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(addresses(&receive(&client, Duration::from_secs(5)).await.unwrap()).len(), 1);

    let in_force = Arc::clone(&world.policy);
    world.handle.post(move |_| in_force.store(policy(POLICY).into())).unwrap();
    world.round().await;
    assert_eq!(addresses(&world.ask(NAME, RecordType::A).await).len(), 1);
}

#[tokio::test]
async fn answers_that_come_together_are_opened_by_one_call_of_the_gate() {
    let upstream = ScriptedUpstream::slow(Duration::from_millis(700)).await;
    let gate = open();
    let world = World::start(&[upstream.address], gate.clone()).await;
    let client = world.client().await;
    for n in 0..20 {
        client.send(&question(&format!("n{n}.cdn.example.net."), RecordType::A).to_vec().unwrap()).await.unwrap();
    }
    until("upstream is not asked", || upstream.questions() == 20).await;
    // Keeps the resolver between two rounds until all answers are there.
    world.handle.post(|_| std::thread::sleep(Duration::from_millis(1500))).unwrap();
    for _ in 0..20 {
        assert_eq!(addresses(&receive(&client, Duration::from_secs(5)).await.unwrap()).len(), 1);
    }
    assert_eq!(*gate.calls.lock().unwrap(), [20]);
}

#[tokio::test]
async fn after_the_end_nothing_is_taken_and_nobody_hangs() {
    let upstream = ScriptedUpstream::honest().await;
    let mut world = World::start(&[upstream.address], open()).await;
    world.round().await;
    assert_eq!(world.handle.upstreams().len(), 1);
    drop(world.cancel.take());
    timeout(Duration::from_secs(5), &mut world.task).await.expect("it ends").unwrap();
    let start = Instant::now();
    assert!(world.handle.upstreams().is_empty());
    assert_eq!(timeout(Duration::from_secs(5), world.handle.with_gate(|_| ())).await.unwrap(), Err(NotTaken::Ended));
    assert_eq!(world.handle.refresh("www.example.com".parse().unwrap(), false), Err(NotTaken::Ended));
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(world.handle.stats().queries, 0, "the counters stay");
}

/// The app chooses how many questions it sends over how many connections; a change of policy has its turn all the same.
#[tokio::test]
async fn a_flood_of_questions_over_tcp_does_not_keep_jobs_out() {
    let world = World::start(&[ScriptedUpstream::honest().await.address], open()).await;
    world.round().await;
    world.handle.post(|_| std::thread::sleep(Duration::from_millis(800))).unwrap();
    let mut streams = Vec::new();
    for _ in 0..40 {
        let mut stream = TcpStream::connect(world.addresses[0]).await.unwrap();
        for n in 0..16 {
            write_framed(&mut stream, &question(&format!("n{n}.example.org."), RecordType::A)).await;
        }
        streams.push(stream);
    }
    let flooded = world.handle.clone();
    until("the queue is not full", || flooded.stats().dropped_over_limit > 0).await;
    assert_eq!(world.handle.with_gate(|_| ()).await, Ok(()));
    drop(streams);
}
