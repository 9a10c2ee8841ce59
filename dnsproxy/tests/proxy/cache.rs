//! What was told once is told again from what was kept: no upstream, no gate, and never for longer than TTL and lease have left.

use std::time::Duration;

use dnsproxy::{Outcome, RecordType, Source};
use hickory_proto::op::Message;
use tokio::time::sleep;

use crate::{
    gate::{Says, ScriptedGate},
    upstream::{Act, ScriptedUpstream, address, answer_with, bytes, cname, empty_answer},
    world::{World, addresses, ip, question, question_edns},
};

fn open() -> ScriptedGate {
    ScriptedGate::always(Says::Yes(Duration::from_secs(3600)))
}

#[tokio::test]
async fn a_second_question_costs_neither_upstream_nor_gate_and_hears_what_is_left() {
    let upstream = ScriptedUpstream::honest().await;
    let gate = open();
    let world = World::start(&[upstream.address], gate.clone()).await;
    let first = world.ask("www.example.com.", RecordType::A).await;
    sleep(Duration::from_millis(1100)).await;
    let second = world.ask("www.example.com.", RecordType::A).await;
    assert_eq!((first.answers[0].ttl, addresses(&first)), (300, addresses(&second)));
    assert!((200..=298).contains(&second.answers[0].ttl), "counted down: {}", second.answers[0].ttl);
    assert_eq!((upstream.questions(), gate.asked().len(), world.handle.stats().cached), (1, 1, 1));
    let heard = world.heard_of(2).await;
    assert!(matches!(heard[1].outcome, Outcome::Again) && heard[1].source == Source::Cache);
    assert_eq!((&heard[1].addresses, heard[1].ttl), (&vec![ip("203.0.113.1")], Some(second.answers[0].ttl)));
}

#[tokio::test]
async fn an_answer_is_asked_for_anew_when_its_time_is_over() {
    let upstream = ScriptedUpstream::with_ttl(1).await;
    let gate = open();
    let world = World::start(&[upstream.address], gate.clone()).await;
    for asked in 1..=2 {
        let reply = world.ask("www.example.com.", RecordType::A).await;
        assert_eq!(reply.answers[0].ttl, 1);
        assert_eq!((upstream.questions(), gate.asked().len()), (asked, asked));
        sleep(Duration::from_millis(1100)).await;
    }
}

#[tokio::test]
async fn types_and_the_bits_do_and_cd_are_questions_of_their_own() {
    let upstream = ScriptedUpstream::honest().await;
    let world = World::start(&[upstream.address], open()).await;
    let cd = |mut query: Message| {
        query.metadata.checking_disabled = true;
        query
    };
    let name = "www.example.com.";
    let questions = [
        question(name, RecordType::A),
        question(name, RecordType::AAAA),
        question_edns(name, RecordType::A, true),
        cd(question(name, RecordType::A)),
        cd(question_edns(name, RecordType::A, true)),
    ];
    for (round, cached) in [(1, 0), (2, 5)] {
        for query in &questions {
            let reply = world.send(query).await.unwrap();
            assert_eq!(addresses(&reply).len(), 1);
            assert_eq!(reply.metadata.checking_disabled, query.metadata.checking_disabled);
            assert_eq!(reply.edns.as_ref().map(|edns| edns.flags().dnssec_ok), query.edns.as_ref().map(|edns| edns.flags().dnssec_ok));
        }
        assert_eq!((upstream.questions(), world.handle.stats().cached), (5, cached), "round {round}");
    }
    let asked: Vec<_> = upstream.seen().iter().filter(|seen| !seen.again).map(|seen| seen.message.metadata.checking_disabled).collect();
    assert_eq!(asked, [false, false, false, true, true], "CD goes up");
    // An OPT record without DO asks for nothing else.
    assert!(world.ask_edns(name, RecordType::A).await.edns.is_some());
    assert_eq!(upstream.questions(), 5);
}

#[tokio::test]
async fn a_kept_chain_comes_back_whole_in_the_clients_own_case() {
    let upstream = ScriptedUpstream::start(|seen| {
        answer_with(
            seen,
            &[
                cname("www.example.com.", 100, "WWW.Example.com.provider.example."),
                cname("www.example.com.provider.example.", 100, "edge.example.com."),
                address("edge.example.com.", 100, "203.0.113.2"),
                address("edge.example.com.", 100, "203.0.113.3"),
            ],
        )
    })
    .await;
    let world = World::start(&[upstream.address], open()).await;
    let first = world.ask("www.example.com.", RecordType::A).await;
    let second = world.ask("wWw.ExamplE.cOm.", RecordType::A).await;
    assert_eq!(upstream.questions(), 1);
    assert_eq!(second.queries[0].name.to_ascii(), "wWw.ExamplE.cOm.");
    assert_eq!(second.answers[0].name.to_ascii(), "wWw.ExamplE.cOm.");
    assert_eq!(second.answers.len(), 4);
    for (first, second) in first.answers.iter().zip(&second.answers) {
        assert_eq!((&first.name, &first.data), (&second.name, &second.data));
    }
}

#[tokio::test]
async fn both_transports_share_what_is_kept_and_a_small_client_gets_what_fits() {
    let upstream = ScriptedUpstream::start(|seen| {
        let mut message = empty_answer(seen);
        message.answers = (0..70).map(|n| address("www.example.com.", 60, &format!("203.0.113.{n}"))).collect();
        vec![Act::Send(bytes(&message))]
    })
    .await;
    let world = World::start(&[upstream.address], open()).await;
    let query = question("www.example.com.", RecordType::A);
    assert_eq!(addresses(&world.ask_tcp(&query).await).len(), 70);
    let small = world.send(&query).await.unwrap();
    assert!(small.metadata.truncation && (20..70).contains(&addresses(&small).len()));
    assert!(bytes(&small).len() <= 512);
    let again = world.ask_tcp(&query).await;
    assert!(!again.metadata.truncation && addresses(&again).len() == 70);
    assert_eq!((upstream.questions(), world.handle.stats().cached), (1, 2));
}

#[tokio::test]
async fn a_ttl_of_zero_works_and_is_for_one_use() {
    let upstream = ScriptedUpstream::with_ttl(0).await;
    let gate = open();
    let world = World::start(&[upstream.address], gate.clone()).await;
    for asked in 1..=3 {
        let reply = world.ask("www.example.com.", RecordType::A).await;
        assert_eq!((addresses(&reply), reply.answers[0].ttl), (vec![ip("203.0.113.1")], 0));
        assert_eq!((upstream.questions(), gate.asked().len()), (asked, asked));
    }
}

#[tokio::test]
async fn no_ttl_told_outlasts_the_lease_however_long_the_answers_is() {
    let upstream = ScriptedUpstream::honest().await;
    let gate = ScriptedGate::always(Says::Yes(Duration::from_millis(3900)));
    let world = World::start(&[upstream.address], gate.clone()).await;
    let ttl = async || world.ask("www.example.com.", RecordType::A).await.answers[0].ttl;
    assert_eq!(ttl().await, 3);
    sleep(Duration::from_millis(1100)).await;
    assert!((1..=2).contains(&ttl().await) && upstream.questions() == 1, "kept, and counted down to the end of the lease");
    sleep(Duration::from_millis(2900)).await;
    assert_eq!((ttl().await, upstream.questions(), gate.asked().len()), (3, 2, 2), "not told after the lease's end");
}

#[tokio::test]
async fn what_does_not_fit_the_bounds_is_not_kept_and_harms_nothing() {
    let upstream = ScriptedUpstream::honest().await;
    let limits = dnsproxy::Limits { cache_entries: 4, ..Default::default() };
    let world = World::with_limits(&[upstream.address], open(), limits).await;
    for n in 0..40 {
        assert_eq!(addresses(&world.ask(&format!("n{n}.cdn.example.net."), RecordType::A).await).len(), 1);
    }
    for n in 0..40 {
        assert_eq!(addresses(&world.ask(&format!("n{n}.cdn.example.net."), RecordType::A).await).len(), 1);
    }
    assert!(world.handle.stats().cached <= 4, "{}", world.handle.stats().cached);
}
