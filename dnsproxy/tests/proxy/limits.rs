//! What is held at once has a bound: over it queries are dropped and counted, and idle connections end.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use dnsproxy::{BindError, Config, Limits, MAX_QUERY, Proxy, RecordType, ResponseCode};
use tokio::{io::AsyncReadExt, net::TcpStream, time::timeout};

use crate::{
    gate::{Says, ScriptedGate},
    upstream::{Act, ScriptedUpstream, bytes, honest_answer},
    world::{World, addresses, question, read_framed, receive, write_framed},
};

const LIMIT: usize = 4;

fn open() -> ScriptedGate {
    ScriptedGate::always(Says::Yes(Duration::from_secs(3600)))
}

async fn slow() -> ScriptedUpstream {
    ScriptedUpstream::start(|seen| vec![Act::Wait(Duration::from_millis(600)), Act::Send(bytes(&honest_answer(seen)))]).await
}

#[tokio::test]
async fn queries_over_the_limit_are_dropped_and_counted_and_refusals_are_not_among_them() {
    let upstream = slow().await;
    let limits = Limits { in_flight: LIMIT, ..Limits::default() };
    let world = World::with_limits(&[upstream.address], open(), limits).await;
    let client = world.client().await;
    for n in 0..10 {
        let query = question(&format!("n{n}.cdn.example.net."), RecordType::A);
        client.send(&query.to_vec().unwrap()).await.unwrap();
    }
    let refused = world.ask("github.com.", RecordType::A).await;
    assert_eq!(refused.metadata.response_code, ResponseCode::NXDomain, "answered while the limit is reached");
    let mut answered = 0;
    while receive(&client, Duration::from_secs(1)).await.is_some() {
        answered += 1;
    }
    assert_eq!(answered, LIMIT);
    assert_eq!(world.handle.stats().dropped_over_limit, 6);
    assert_eq!(upstream.questions(), LIMIT);
    assert_eq!(addresses(&world.ask("www.example.com.", RecordType::A).await).len(), 1, "places come back");
}

#[tokio::test]
async fn connections_over_the_limit_are_closed_and_idle_ones_end() {
    let upstream = ScriptedUpstream::honest().await;
    let limits = Limits { connections: 2, tcp_idle: Duration::from_millis(300), ..Limits::default() };
    let world = World::with_limits(&[upstream.address], open(), limits).await;
    let mut first = TcpStream::connect(world.addresses[0]).await.unwrap();
    let _second = TcpStream::connect(world.addresses[0]).await.unwrap();
    let mut third = TcpStream::connect(world.addresses[0]).await.unwrap();
    let mut buffer = [0; 1];
    let ended = timeout(Duration::from_millis(200), third.read(&mut buffer)).await.expect("closed at once");
    assert!(matches!(ended, Ok(0) | Err(_)));
    assert_eq!(world.handle.stats().connections_over_limit, 1);
    let ended = timeout(Duration::from_secs(5), first.read(&mut buffer)).await.expect("closed when idle");
    assert!(matches!(ended, Ok(0)));
    let query = question("www.example.com.", RecordType::A);
    assert_eq!(addresses(&world.ask_tcp(&query).await).len(), 1, "places come back");
}

#[tokio::test]
async fn a_query_that_trickles_in_does_not_hold_a_connection() {
    use tokio::io::AsyncWriteExt;
    let upstream = ScriptedUpstream::honest().await;
    let limits = Limits { tcp_idle: Duration::from_millis(300), ..Limits::default() };
    let world = World::with_limits(&[upstream.address], open(), limits).await;
    let mut stream = TcpStream::connect(world.addresses[0]).await.unwrap();
    let start = std::time::Instant::now();
    let mut closed = false;
    for byte in [0, 30].into_iter().chain([0; 28]) {
        closed = stream.write_all(&[byte]).await.is_err();
        if closed {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(closed && start.elapsed() < Duration::from_millis(1200), "{:?}", start.elapsed());
}

#[tokio::test]
async fn many_queries_of_one_connection_are_all_answered_a_few_at_a_time() {
    let upstream = slow().await;
    let limits = Limits { pipelined: 3, ..Limits::default() };
    let world = World::with_limits(&[upstream.address], open(), limits).await;
    let mut stream = TcpStream::connect(world.addresses[0]).await.unwrap();
    for n in 0..9 {
        write_framed(&mut stream, &question(&format!("n{n}.cdn.example.net."), RecordType::A)).await;
    }
    while upstream.questions() < 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(upstream.questions(), 3, "no fourth before one of them is answered");
    for _ in 0..9 {
        assert_eq!(addresses(&read_framed(&mut stream).await.unwrap()).len(), 1);
    }
}

#[tokio::test]
async fn a_stream_whose_query_is_over_the_limit_ends() {
    let upstream = slow().await;
    let limits = Limits { in_flight: 1, ..Limits::default() };
    let world = World::with_limits(&[upstream.address], open(), limits).await;
    let client = world.client().await;
    client.send(&question("n1.cdn.example.net.", RecordType::A).to_vec().unwrap()).await.unwrap();
    while upstream.questions() < 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut stream = TcpStream::connect(world.addresses[0]).await.unwrap();
    write_framed(&mut stream, &question("n2.cdn.example.net.", RecordType::A)).await;
    let ended = timeout(Duration::from_secs(5), read_framed(&mut stream)).await.expect("not left waiting");
    assert!(ended.is_none(), "a stream has no loss that a client would wait out");
    assert_eq!((world.handle.stats().dropped_over_limit, upstream.questions()), (1, 1));
    assert!(receive(&client, Duration::from_secs(5)).await.is_some(), "who was there before is answered");
}

#[tokio::test]
async fn the_longest_query_is_answered_and_one_octet_more_is_not() {
    use hickory_proto::{op::Edns, rr::rdata::opt::EdnsOption};
    use tokio::io::AsyncWriteExt;
    let upstream = ScriptedUpstream::honest().await;
    let world = World::start(&[upstream.address], open()).await;
    let padded = |length: usize| {
        let mut query = question("www.example.com.", RecordType::A);
        let mut edns = Edns::new();
        // Behind header, question and OPT record, and the option's own code and length.
        edns.options_mut().insert(EdnsOption::Unknown(12, vec![0; length - 12 - 21 - 11 - 4]));
        query.edns = Some(edns);
        let bytes = query.to_vec().unwrap();
        assert_eq!(bytes.len(), length);
        bytes
    };
    let client = world.client().await;
    for (length, code) in [(MAX_QUERY, ResponseCode::NoError), (MAX_QUERY + 1, ResponseCode::FormErr)] {
        client.send(&padded(length)).await.unwrap();
        assert_eq!(receive(&client, Duration::from_secs(5)).await.unwrap().metadata.response_code, code);
    }
    for (length, answered) in [(MAX_QUERY, true), (MAX_QUERY + 1, false)] {
        let mut stream = TcpStream::connect(world.addresses[0]).await.unwrap();
        let framed = [&u16::try_from(length).unwrap().to_be_bytes()[..], &padded(length)].concat();
        stream.write_all(&framed).await.unwrap();
        let reply = timeout(Duration::from_secs(5), stream.read_u16()).await.expect("answered or ended");
        assert_eq!(reply.is_ok(), answered, "{length}");
    }
}

#[tokio::test]
async fn at_the_end_what_is_in_flight_is_finished() {
    let upstream = slow().await;
    let mut world = World::start(&[upstream.address], open()).await;
    let client = world.client().await;
    client.send(&question("www.example.com.", RecordType::A).to_vec().unwrap()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(world.cancel.take());
    let reply = receive(&client, Duration::from_secs(5)).await.expect("the answer still comes");
    assert_eq!(addresses(&reply).len(), 1);
    timeout(Duration::from_secs(1), &mut world.task).await.expect("then the proxy ends").unwrap();
    assert!(TcpStream::connect(world.addresses[0]).await.is_err());
}

#[tokio::test]
async fn a_configuration_that_makes_no_sense_is_refused() {
    let good = Config {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        upstreams: vec!["192.0.2.53:53".parse().unwrap()],
        identity: None,
        limits: Limits::default(),
    };
    let bind = |config: Config| {
        let policy = Arc::new(ArcSwap::from_pointee(policies::Policy::nothing()));
        Proxy::bind(config, policy, open(), ()).map(|proxy| proxy.addresses().to_vec())
    };
    assert!(matches!(bind(Config { listen: Vec::new(), ..good.clone() }), Err(BindError::NoListen)));
    assert!(matches!(bind(Config { upstreams: Vec::new(), ..good.clone() }), Err(BindError::NoUpstream)));
    let wildcard = vec!["0.0.0.0:0".parse().unwrap()];
    assert!(matches!(bind(Config { listen: wildcard, ..good.clone() }), Err(BindError::Wildcard { .. })));
    let holder = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    assert!(matches!(bind(Config { listen: vec![taken], ..good.clone() }), Err(BindError::Socket { transport: "UDP", .. })));
    let free = bind(good.clone()).unwrap()[0];
    let own = Config { listen: vec![free], upstreams: vec![free], ..good };
    assert!(matches!(bind(own), Err(BindError::OwnUpstream { .. })));
}
