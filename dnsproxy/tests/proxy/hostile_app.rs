//! What an app may send: anything. What it gets back: an error code or nothing, and never a panic.

use std::{net::SocketAddr, time::Duration};

use dnsproxy::{RecordType, ResponseCode};
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode},
    rr::DNSClass,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    gate::{Says, ScriptedGate},
    upstream::ScriptedUpstream,
    world::{World, addresses, question, receive},
};

async fn world() -> (ScriptedUpstream, World) {
    let upstream = ScriptedUpstream::honest().await;
    let world = World::start(&[upstream.address], ScriptedGate::always(Says::Yes(Duration::from_secs(60)))).await;
    (upstream, world)
}

async fn code(world: &World, query: &Message) -> ResponseCode {
    world.send(query).await.expect("a reply").metadata.response_code
}

#[tokio::test]
async fn questions_that_are_none_get_the_code_the_rfcs_say() {
    let (upstream, world) = world().await;
    let good = || question("www.example.com.", RecordType::A);

    let mut none = good();
    none.queries.clear();
    assert_eq!(code(&world, &none).await, ResponseCode::FormErr);
    let mut two = good();
    two.queries.push(two.queries[0].clone());
    assert_eq!(code(&world, &two).await, ResponseCode::FormErr);
    let mut chaos = good();
    chaos.queries[0].query_class = DNSClass::CH;
    assert_eq!(code(&world, &chaos).await, ResponseCode::Refused);
    for opcode in [OpCode::Status, OpCode::Notify, OpCode::Update, OpCode::Unknown(6)] {
        let mut other = good();
        other.metadata.op_code = opcode;
        let reply = world.send(&other).await.unwrap();
        assert_eq!((reply.metadata.response_code, reply.metadata.op_code), (ResponseCode::NotImp, opcode));
    }
    for rtype in [RecordType::AXFR, RecordType::IXFR] {
        assert_eq!(code(&world, &question("www.example.com.", rtype)).await, ResponseCode::Refused);
    }
    let mut version = good();
    let mut edns = Edns::new();
    edns.set_version(1);
    version.edns = Some(edns);
    let reply = world.send(&version).await.unwrap();
    assert_eq!(u16::from(reply.metadata.response_code), u16::from(ResponseCode::BADVERS));
    assert_eq!(reply.edns.unwrap().version(), 0);
    assert!(upstream.seen().is_empty());
    assert_eq!(world.handle.stats().rejected, 10);
}

#[tokio::test]
async fn replies_and_shreds_get_nothing() {
    let (_upstream, world) = world().await;
    let mut reply = question("www.example.com.", RecordType::A);
    reply.metadata.message_type = MessageType::Response;
    let client = world.client().await;
    client.send(&reply.to_vec().unwrap()).await.unwrap();
    client.send(&[0; 11]).await.unwrap();
    client.send(&[]).await.unwrap();
    assert!(receive(&client, Duration::from_millis(200)).await.is_none());
    assert_eq!(world.handle.stats().ignored, 3);
}

#[tokio::test]
async fn loops_and_cut_messages_are_format_errors() {
    let (_upstream, world) = world().await;
    let whole = question("www.example.com.", RecordType::A).to_vec().unwrap();
    let mut pointers = whole[..12].to_vec();
    pointers.extend([0xc0, 12, 0, 1, 0, 1]);
    let mut forward = whole[..12].to_vec();
    forward.extend([0xc0, 14, 0xc0, 12, 0, 1, 0, 1]);
    let mut long = whole.clone();
    long.resize(5000, 0);
    let client = world.client().await;
    for bytes in [&pointers[..], &forward, &whole[..20], &whole[..whole.len() - 1], &long] {
        client.send(bytes).await.unwrap();
        let reply = receive(&client, Duration::from_secs(5)).await.expect("a reply");
        assert_eq!(reply.metadata.response_code, ResponseCode::FormErr);
    }
    assert_eq!(addresses(&world.ask("www.example.com.", RecordType::A).await).len(), 1, "and it still answers");
}

#[tokio::test]
async fn names_of_odd_bytes_are_refused_like_any_other() {
    let (upstream, world) = world().await;
    let mut bytes = question("a.b.", RecordType::A).to_vec().unwrap()[..12].to_vec();
    bytes.extend([5, 0, 0xff, b'.', b'*', b'\\', 3, b'c', b'o', b'm', 0, 0, 1, 0, 1]);
    let client = world.client().await;
    client.send(&bytes).await.unwrap();
    let mut buffer = [0; 512];
    let length = client.recv(&mut buffer).await.unwrap();
    assert_eq!(buffer[3] & 0x0f, 3, "NXDOMAIN: {:?}", &buffer[..length]);
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn a_stream_of_junk_is_closed() {
    let (_upstream, world) = world().await;
    let address: SocketAddr = world.addresses[0];
    for junk in [&[0xff, 0xff, 0, 0][..], &[0, 3, 1, 2, 3]] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(junk).await.unwrap();
        let mut rest = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
        assert!(end.is_ok() && rest.is_empty(), "closed, and not only when idle for long");
    }
}
