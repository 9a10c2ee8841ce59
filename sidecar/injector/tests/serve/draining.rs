//! The end: no longer ready, then no longer open, and what was asked is answered first.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Client, Http, tls};
use crate::echo::question;
use crate::world::World;

#[tokio::test]
async fn what_is_in_work_is_answered_and_then_it_ends() {
    let (mut world, ca) = World::start(|_, options| options.drain_pause = Duration::from_secs(1));
    let body = question("late");
    let head = format!("POST /pods HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
    let (begun, missing) = body.split_at(body.len() - 5);
    let mut late = tls(world.https, &[&ca.certificate], Http::One).await.unwrap();
    late.write_all(&[head.as_bytes(), begun].concat()).await.unwrap();
    // Idle ones of both kinds, which have asked before.
    let (mut one, _) = Client::connect(world.https, &[&ca.certificate], Http::One).await.unwrap();
    let (mut two, _) = Client::connect(world.https, &[&ca.certificate], Http::Two).await.unwrap();
    for client in [&mut one, &mut two] {
        assert_eq!(client.ask("/pods", question("1")).await.unwrap().0, 200);
    }
    let start = Instant::now();
    world.stop.take().unwrap().send(()).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    // In the pause: not ready, and open as ever.
    assert_eq!(world.get("/readyz").await, (503, "stopping\n".to_owned()));
    assert_eq!(world.get("/livez").await.0, 200);
    for client in [&mut one, &mut two] {
        assert_eq!(client.ask("/pods", question("1")).await.unwrap().0, 200);
    }
    assert_eq!(
        Client::connect(world.https, &[&ca.certificate], Http::Two).await.unwrap().0.ask("/pods", question("1")).await.unwrap().0,
        200
    );
    tokio::time::sleep(Duration::from_millis(1500)).await;
    // After it: closed for new ones, and for those who are idle.
    assert!(TcpStream::connect(world.https).await.is_err());
    assert!(one.ask("/pods", question("1")).await.is_err());
    assert!(two.ask("/pods", question("1")).await.is_err());
    assert_eq!(world.get("/readyz").await.0, 503);
    assert!(!world.running.is_finished(), "it waits for the one in work");
    late.write_all(missing).await.unwrap();
    let mut said = String::new();
    late.read_to_string(&mut said).await.unwrap();
    assert!(said.starts_with("HTTP/1.1 200 ") && said.contains("\"uid\":\"late\""), "{said}");
    tokio::time::timeout(Duration::from_secs(2), world.running).await.expect("it ends").unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test]
async fn who_does_not_end_is_left_behind() {
    let (mut world, ca) = World::start(|_, options| options.drain_timeout = Duration::from_secs(1));
    let mut slow = tls(world.https, &[&ca.certificate], Http::One).await.unwrap();
    slow.write_all(b"POST /pods HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{").await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let start = Instant::now();
    world.stop.take().unwrap().send(()).unwrap();
    world.running.await.unwrap();
    let took = start.elapsed();
    assert!((Duration::from_millis(900)..Duration::from_secs(3)).contains(&took), "{took:?}");
}
