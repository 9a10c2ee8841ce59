//! Clients that are slow, huge, broken or too many: each is ended in its time, and the next one is served meanwhile.

use std::time::{Duration, Instant};

use injector::ca::NewCa;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Client, Http, tls};
use crate::echo::question;
use crate::world::World;

/// An answer to somebody else, soon.
async fn others_are_served(world: &World, ca: &NewCa) {
    let asking = async {
        let (mut client, _) = Client::connect(world.https, &[&ca.certificate], Http::Two).await.unwrap();
        assert_eq!(client.ask("/pods", question("1")).await.unwrap().0, 200);
    };
    tokio::time::timeout(Duration::from_secs(2), asking).await.expect("others are served");
}

/// What comes until the other side ends the connection, and when that is.
async fn rest(stream: &mut (impl AsyncReadExt + Unpin)) -> (String, Duration) {
    let (mut bytes, start) = (Vec::new(), Instant::now());
    // An end without TLS's goodbye is an end too.
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes)).await;
    read.expect("it ends").ok();
    (String::from_utf8_lossy(&bytes).into_owned(), start.elapsed())
}

#[tokio::test]
async fn a_head_that_never_ends_is_ended() {
    let (world, ca) = World::start(|_, _| {});
    let mut slow = tls(world.https, &[&ca.certificate], Http::One).await.unwrap();
    slow.write_all(b"POST /pods HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    let mut silent = tls(world.https, &[&ca.certificate], Http::Two).await.unwrap();
    let mut mute = TcpStream::connect(world.https).await.unwrap();
    let (mut kept, _) = Client::connect(world.https, &[&ca.certificate], Http::One).await.unwrap();
    assert_eq!(kept.ask("/pods", question("1")).await.unwrap().0, 200);
    others_are_served(&world, &ca).await;
    let (slow, silent, mute) = tokio::join!(rest(&mut slow), rest(&mut silent), rest(&mut mute));
    for (_, after) in [slow, silent] {
        assert!((Duration::from_secs(8)..Duration::from_secs(13)).contains(&after), "{after:?}");
    }
    assert!((Duration::from_secs(4)..Duration::from_secs(7)).contains(&mute.1), "no handshake: {:?}", mute.1);
    // One of the others may have been slow to ask.
    world.at_least("portreeve_injector_connections_ended_total{how=\"idle\"}", 2.0).await;
    assert_eq!(kept.ask("/pods", question("1")).await.expect("who has asked may be idle for longer").0, 200);
    assert_eq!(world.metric("portreeve_injector_connections_ended_total{how=\"no-handshake\"}").await, 1.0);
}

#[tokio::test]
async fn a_body_that_never_ends_is_refused_in_five_seconds() {
    let (world, ca) = World::start(|_, _| {});
    let mut slow = tls(world.https, &[&ca.certificate], Http::One).await.unwrap();
    slow.write_all(b"POST /pods HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{").await.unwrap();
    others_are_served(&world, &ca).await;
    let (said, after) = rest(&mut slow).await;
    assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
    assert!((Duration::from_secs(4)..Duration::from_secs(8)).contains(&after), "{after:?}");
}

#[tokio::test]
async fn huge_bodies_and_bodies_of_too_many_values_are_refused() {
    let (world, ca) = World::start(|_, _| {});
    for http in [Http::One, Http::Two] {
        let ask = async |body: Vec<u8>| {
            let (mut client, _) = Client::connect(world.https, &[&ca.certificate], http).await.unwrap();
            client.ask("/pods", body).await.map(|(status, _)| status.as_u16())
        };
        assert_eq!(ask(vec![b' '; 8 << 20]).await.unwrap(), 200, "8 MiB are not too many");
        assert_eq!(ask(vec![b'['; 100_000]).await.unwrap(), 413);
        assert_eq!(ask("{\"a\":0},".repeat(30_000).into_bytes()).await.unwrap(), 413);
    }
    // One byte more. It is refused by the length that it claims, before it comes.
    let mut claims = tls(world.https, &[&ca.certificate], Http::One).await.unwrap();
    let head = format!("POST /pods HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", (8 << 20) + 1);
    claims.write_all(head.as_bytes()).await.unwrap();
    assert!(rest(&mut claims).await.0.starts_with("HTTP/1.1 413 "));
    // Without a length, when it has come.
    let mut chunked = tls(world.https, &[&ca.certificate], Http::One).await.unwrap();
    let head = "POST /pods HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    chunked.write_all(head.as_bytes()).await.unwrap();
    let chunk = [b"100000\r\n".as_slice(), &vec![b' '; 1 << 20], b"\r\n"].concat();
    for _ in 0..8 {
        chunked.write_all(&chunk).await.unwrap();
    }
    chunked.write_all(b"1\r\n \r\n").await.unwrap();
    assert!(rest(&mut chunked).await.0.starts_with("HTTP/1.1 413 "));
    assert_eq!(world.metric("portreeve_injector_requests_refused_total{why=\"too-large\"}").await, 2.0);
    assert_eq!(world.metric("portreeve_injector_requests_refused_total{why=\"too-many\"}").await, 4.0);
}

#[tokio::test]
async fn bodies_together_have_a_bound_and_leave_their_room_behind() {
    let (world, ca) = World::start(|_, _| {});
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = tls(world.https, &[&ca.certificate], Http::One).await.unwrap();
        let head = format!("POST /pods HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", 8 << 20);
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![b' '; (8 << 20) - 1]).await.unwrap();
        held.push(stream);
    }
    let (mut client, _) = Client::connect(world.https, &[&ca.certificate], Http::Two).await.unwrap();
    // Three octets are left.
    let mut full = false;
    for _ in 0..80 {
        full |= client.ask("/pods", question("1")).await.unwrap().0 == 503;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(full, "24 MiB are the bound");
    for stream in &mut held {
        assert!(rest(stream).await.0.starts_with("HTTP/1.1 408 "));
    }
    assert_eq!(client.ask("/pods", question("1")).await.unwrap().0, 200);
}

#[tokio::test]
async fn what_is_no_tls_is_ended_at_once() {
    let (world, ca) = World::start(|_, _| {});
    let seeds: Vec<u8> = (0..4096_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let pieces: [&[u8]; 4] = [b"POST /pods HTTP/1.1\r\nhost: x\r\n\r\n", &seeds, &[0; 512], b"\x16\x03\x01\xff\xff\x01"];
    for piece in pieces {
        let mut stream = TcpStream::connect(world.https).await.unwrap();
        stream.write_all(piece).await.unwrap();
        let (_, after) = rest(&mut stream).await;
        assert!(after < Duration::from_secs(6), "{after:?}");
    }
    // In TLS, but no HTTP.
    for http in [Http::One, Http::Two] {
        let mut stream = tls(world.https, &[&ca.certificate], http).await.unwrap();
        stream.write_all(&seeds).await.unwrap();
        assert!(rest(&mut stream).await.1 < Duration::from_secs(3));
    }
    others_are_served(&world, &ca).await;
    // A name that nobody has: the client refuses, and the server goes on.
    let other = crate::world::new_ca();
    assert!(tls(world.https, &[&other.certificate], Http::Two).await.is_err());
    others_are_served(&world, &ca).await;
}

#[tokio::test]
async fn a_thousand_idle_connections_make_room_for_a_new_one() {
    // Both ends are in this process.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most.min(8192), most).unwrap();
    let (world, ca) = World::start(|_, _| {});
    let (mut busy, _) = Client::connect(world.https, &[&ca.certificate], Http::Two).await.unwrap();
    let mut idle = Vec::new();
    for at in 0..1_000 {
        idle.push(tls(world.https, &[&ca.certificate], if at % 2 == 0 { Http::One } else { Http::Two }).await.unwrap());
        // Who asks now and then is not the one that is idle longest.
        if at % 100 == 0 {
            assert_eq!(busy.ask("/pods", question("1")).await.unwrap().0, 200);
        }
    }
    others_are_served(&world, &ca).await;
    assert_eq!(busy.ask("/pods", question("1")).await.unwrap().0, 200);
    let open = world.metric("portreeve_injector_connections").await;
    assert!((200.0..=256.0).contains(&open), "{open}");
    assert!(world.metric("portreeve_injector_connections_ended_total{how=\"made-room\"}").await >= 700.0);
}

#[tokio::test]
async fn a_client_that_closed_its_half_gets_its_answer() {
    let (world, ca) = World::start(|_, _| {});
    let mut stream = tls(world.https, &[&ca.certificate], Http::One).await.unwrap();
    let body = question("half");
    let head = format!("POST /pods HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
    stream.shutdown().await.unwrap();
    let (said, after) = rest(&mut stream).await;
    assert!(said.starts_with("HTTP/1.1 200 ") && said.contains("\"uid\":\"half\""), "{said}");
    assert!(after < Duration::from_secs(2), "{after:?}");
    // Nothing asked, or half of it: ended at once.
    for piece in [b"".as_slice(), b"POST /pods HT"] {
        let mut stream = tls(world.https, &[&ca.certificate], Http::One).await.unwrap();
        stream.write_all(piece).await.unwrap();
        stream.shutdown().await.unwrap();
        assert!(rest(&mut stream).await.1 < Duration::from_secs(2));
    }
}

#[tokio::test]
async fn the_probes_port_is_not_held_up_either() {
    let (world, _) = World::start(|_, _| {});
    let mut slow = Vec::new();
    for _ in 0..100 {
        let mut stream = TcpStream::connect(world.ops).await.unwrap();
        stream.write_all(b"GET /readyz HTTP/1.1\r\n").await.unwrap();
        slow.push(stream);
    }
    let (status, _) = tokio::time::timeout(Duration::from_secs(2), world.get("/readyz")).await.expect("a probe is answered");
    assert_eq!(status, 200);
}
