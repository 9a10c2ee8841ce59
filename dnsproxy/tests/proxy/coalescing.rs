//! Equal questions in flight are asked once, and each client gets the answer as its own.

use std::time::Duration;

use dnsproxy::{OpenError, RecordType, ResponseCode};
use hickory_proto::op::Message;
use tokio::net::{TcpStream, UdpSocket};

use crate::{
    gate::{Says, ScriptedGate},
    upstream::{Act, ScriptedUpstream, bytes, nothing},
    world::{World, addresses, extended_error, question, question_edns, read_framed, receive, write_framed},
};

const SPELLINGS: [&str; 4] = ["www.example.com.", "WWW.example.com.", "www.EXAMPLE.com.", "wWw.eXaMpLe.CoM."];

fn open() -> ScriptedGate {
    ScriptedGate::always(Says::Yes(Duration::from_secs(3600)))
}

/// Clients that have asked, each by a socket of its own.
async fn clients(world: &World, queries: &[Message]) -> Vec<UdpSocket> {
    let mut clients = Vec::new();
    for query in queries {
        let client = world.client().await;
        client.send(&query.to_vec().unwrap()).await.unwrap();
        clients.push(client);
    }
    clients
}

/// The same question four times, with and without OPT.
fn queries() -> Vec<Message> {
    let plain = SPELLINGS.iter().map(|name| question(name, RecordType::A));
    plain.chain(SPELLINGS.iter().map(|name| question_edns(name, RecordType::A, false))).collect()
}

#[tokio::test]
async fn equal_questions_are_asked_once_and_each_client_gets_its_own_answer() {
    let upstream = ScriptedUpstream::slow(Duration::from_millis(400)).await;
    let gate = open();
    let world = World::start(&[upstream.address], gate.clone()).await;
    let queries = queries();
    let waiting = clients(&world, &queries).await;
    let mut stream = TcpStream::connect(world.addresses[0]).await.unwrap();
    let framed = question("www.example.com.", RecordType::A);
    write_framed(&mut stream, &framed).await;
    for (query, client) in queries.iter().zip(&waiting) {
        let reply = receive(client, Duration::from_secs(5)).await.expect("each is answered");
        assert_eq!((reply.metadata.id, addresses(&reply).len()), (query.metadata.id, 1));
        assert_eq!(reply.queries[0].name.to_ascii(), query.queries[0].name.to_ascii());
        assert_eq!(reply.answers[0].name.to_ascii(), query.queries[0].name.to_ascii());
        assert_eq!(reply.edns.is_some(), query.edns.is_some());
    }
    assert_eq!(read_framed(&mut stream).await.unwrap().metadata.id, framed.metadata.id);
    assert_eq!((upstream.questions(), gate.asked().len()), (1, 1));
    let stats = world.handle.stats();
    assert_eq!((stats.coalesced, stats.released, stats.cached), (8, 9, 0));
    assert_eq!(world.heard_of(9).await.len(), 9, "each is told of");
}

#[tokio::test]
async fn what_differs_in_type_do_or_cd_is_asked_by_itself() {
    let upstream = ScriptedUpstream::slow(Duration::from_millis(300)).await;
    let world = World::start(&[upstream.address], open()).await;
    let name = "www.example.com.";
    let mut cd = question(name, RecordType::A);
    cd.metadata.checking_disabled = true;
    let queries = [question(name, RecordType::A), question(name, RecordType::AAAA), question_edns(name, RecordType::A, true), cd];
    for client in clients(&world, &queries).await {
        assert_eq!(addresses(&receive(&client, Duration::from_secs(5)).await.unwrap()).len(), 1);
    }
    assert_eq!((upstream.questions(), world.handle.stats().coalesced), (4, 0));
}

#[tokio::test]
async fn a_failure_is_that_of_all_who_wait_and_of_nobody_after() {
    let failing = ScriptedUpstream::start(|seen| {
        let message = nothing(seen, ResponseCode::ServFail, None);
        vec![Act::Wait(Duration::from_millis(300)), Act::Send(bytes(&message))]
    })
    .await;
    let honest = ScriptedUpstream::slow(Duration::from_millis(300)).await;
    let full = ScriptedGate::script(|call| if call == 0 { Says::No(OpenError::Full) } else { Says::Yes(Duration::from_secs(60)) });
    for (upstream, gate, code) in [(&failing, open(), 22), (&honest, full, 0)] {
        let world = World::start(&[upstream.address], gate).await;
        let queries = queries();
        let waiting = clients(&world, &queries).await;
        for (query, client) in queries.iter().zip(&waiting) {
            let reply = receive(client, Duration::from_secs(5)).await.expect("each is answered");
            assert_eq!((reply.metadata.id, reply.metadata.response_code), (query.metadata.id, ResponseCode::ServFail));
            assert_eq!(extended_error(&reply).map(|(code, _)| code), query.edns.as_ref().map(|_| code));
        }
        assert_eq!((upstream.questions(), world.handle.stats().servfail), (1, 8));
        world.ask("www.example.com.", RecordType::A).await;
        assert_eq!(upstream.questions(), 2, "no failure is kept");
    }
}

#[tokio::test]
async fn clients_that_wait_for_one_question_count_against_the_bound() {
    let upstream = ScriptedUpstream::slow(Duration::from_millis(1000)).await;
    let limits = dnsproxy::Limits { in_flight: 4, ..Default::default() };
    let world = World::with_limits(&[upstream.address], open(), limits).await;
    // Over UDP the order is that of the sending: one socket of the proxy's takes them all.
    let waiting = clients(&world, &queries()).await;
    for client in &waiting[..4] {
        assert!(receive(client, Duration::from_secs(5)).await.is_some());
    }
    for client in &waiting[4..] {
        assert!(receive(client, Duration::from_millis(50)).await.is_none());
    }
    assert_eq!(world.handle.stats().dropped_over_limit, 4);
}
