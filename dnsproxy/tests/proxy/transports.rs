//! UDP and TCP, IPv4 and IPv6: the same answers, each within what its transport carries.

use std::{net::Ipv6Addr, time::Duration};

use dnsproxy::RecordType;
use hickory_proto::op::{Edns, Message};
use tokio::net::{TcpStream, UdpSocket};

use crate::{
    gate::{Says, ScriptedGate},
    upstream::{Act, ScriptedUpstream, address, bytes, empty_answer, honest_answer},
    world::{World, addresses, question, read_framed, receive, write_framed},
};

fn open() -> ScriptedGate {
    ScriptedGate::always(Says::Yes(Duration::from_secs(3600)))
}

#[tokio::test]
async fn the_twin_on_ipv6_answers_on_both_transports_and_from_its_own_address() {
    let upstream = ScriptedUpstream::honest().await;
    let world = World::start(&[upstream.address], open()).await;
    let twin = world.addresses[1];
    assert_eq!((twin.ip(), twin.port()), (Ipv6Addr::LOCALHOST.into(), world.addresses[0].port()));
    let client = UdpSocket::bind("[::1]:0").await.unwrap();
    // A connected socket hears only the address it asked.
    client.connect(twin).await.unwrap();
    let query = question("www.example.com.", RecordType::A);
    client.send(&query.to_vec().unwrap()).await.unwrap();
    assert_eq!(addresses(&receive(&client, Duration::from_secs(5)).await.unwrap()).len(), 1);
    let mut stream = TcpStream::connect(twin).await.unwrap();
    write_framed(&mut stream, &query).await;
    assert_eq!(addresses(&read_framed(&mut stream).await.unwrap()).len(), 1);
}

#[tokio::test]
async fn datagrams_stay_within_the_clients_size_by_whole_records_and_tcp_has_all() {
    let upstream = ScriptedUpstream::start(|seen| {
        let mut message = empty_answer(seen);
        message.answers = (0..70).map(|n| address("www.example.com.", 60, &format!("203.0.113.{n}"))).collect();
        vec![Act::Send(bytes(&message))]
    })
    .await;
    let world = World::start(&[upstream.address], open()).await;
    let plain = question("www.example.com.", RecordType::A);
    for (payload, most) in [(None, 512), (Some(0), 512), (Some(800), 800), (Some(1232), 1232), (Some(65_535), 1232)] {
        let mut query: Message = plain.clone();
        query.edns = payload.map(|payload| {
            let mut edns = Edns::new();
            edns.set_max_payload(payload);
            edns
        });
        let client = world.client().await;
        client.send(&query.to_vec().unwrap()).await.unwrap();
        let mut buffer = vec![0; 65_535];
        let length = client.recv(&mut buffer).await.unwrap();
        assert!(length <= most && length > most - 100, "{payload:?}: {length}");
        let reply = Message::from_vec(&buffer[..length]).expect("whole records");
        // 70 records of 16 bytes fit into 1232 but not into 800.
        assert_eq!(reply.metadata.truncation, most < 1232, "{payload:?}");
        assert_eq!(reply.edns.is_some(), payload.is_some());
        assert_eq!(reply.metadata.id, query.metadata.id);
    }
    let reply = world.ask_tcp(&plain).await;
    assert!(!reply.metadata.truncation && addresses(&reply).len() == 70);
}

#[tokio::test]
async fn one_connection_carries_many_queries_and_a_slow_one_does_not_hold_the_others() {
    let upstream = ScriptedUpstream::start(|seen| {
        let slow = seen.message.queries[0].name.to_string().to_lowercase().starts_with("slow");
        let wait = Duration::from_millis(if slow { 400 } else { 0 });
        vec![Act::Wait(wait), Act::Send(bytes(&honest_answer(seen)))]
    })
    .await;
    let world = World::start(&[upstream.address], open()).await;
    let mut stream = TcpStream::connect(world.addresses[0]).await.unwrap();
    let slow = question("slow.cdn.example.net.", RecordType::A);
    let quick = question("quick.cdn.example.net.", RecordType::A);
    let refused = question("github.com.", RecordType::A);
    for query in [&slow, &quick, &refused] {
        write_framed(&mut stream, query).await;
    }
    let mut order = Vec::new();
    for _ in 0..3 {
        order.push(read_framed(&mut stream).await.unwrap().metadata.id);
    }
    assert_eq!(order[2], slow.metadata.id);
    assert!(order.contains(&quick.metadata.id) && order.contains(&refused.metadata.id));
}

#[tokio::test]
async fn a_client_that_closes_its_half_still_gets_its_answer() {
    use tokio::io::AsyncWriteExt;
    let upstream = ScriptedUpstream::honest().await;
    let world = World::start(&[upstream.address], open()).await;
    let mut stream = TcpStream::connect(world.addresses[0]).await.unwrap();
    write_framed(&mut stream, &question("www.example.com.", RecordType::A)).await;
    stream.shutdown().await.unwrap();
    assert_eq!(addresses(&read_framed(&mut stream).await.unwrap()).len(), 1);
}
