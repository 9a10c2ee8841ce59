//! Several upstreams: the next one is asked when one fails, the last good one first, and each as it wants to be asked.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use dnsproxy::{RecordType, ResponseCode, Trouble};
use hickory_proto::op::Message;

use crate::{
    gate::{Says, ScriptedGate},
    upstream::{Act, ScriptedUpstream, bytes, empty_answer, honest_answer},
    world::{World, addresses, extended_error},
};

async fn world(upstreams: &[SocketAddr]) -> World {
    World::start(upstreams, ScriptedGate::always(Says::Yes(Duration::from_secs(3600)))).await
}

fn with_code(seen: &crate::upstream::Seen, code: ResponseCode) -> Vec<Act> {
    let mut message: Message = empty_answer(seen);
    message.metadata.response_code = code;
    vec![Act::Send(bytes(&message))]
}

async fn silent() -> ScriptedUpstream {
    ScriptedUpstream::start(|_| Vec::new()).await
}

#[tokio::test]
async fn the_next_is_asked_when_one_is_silent_and_then_it_is_the_first() {
    let (dead, good) = (silent().await, ScriptedUpstream::honest().await);
    let world = world(&[dead.address, good.address]).await;
    assert_eq!(addresses(&world.ask("www.example.com.", RecordType::A).await).len(), 1);

    let start = Instant::now();
    assert_eq!(addresses(&world.ask("www.example.com.", RecordType::AAAA).await).len(), 1);
    assert!(start.elapsed() < Duration::from_millis(500), "the one that has answered is asked first");

    let health = world.handle.upstreams();
    assert_eq!((health[0].address, health[0].answered), (dead.address, 0));
    assert!(health[1].is_up() && health[1].answered == 2 && health[1].last_answer.is_some() && health[1].round_trip.is_some());
}

#[tokio::test]
async fn a_port_nobody_listens_on_costs_no_time() {
    let good = ScriptedUpstream::honest().await;
    let closed = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let world = world(&[closed, good.address]).await;
    let start = Instant::now();
    assert_eq!(addresses(&world.ask("www.example.com.", RecordType::A).await).len(), 1);
    assert!(start.elapsed() < Duration::from_millis(500));
    assert_eq!(world.handle.upstreams()[0].last_trouble, Some(Trouble::Unreachable));
}

#[tokio::test]
async fn servfail_of_one_is_not_the_end_and_of_all_is() {
    let failing = ScriptedUpstream::start(|seen| with_code(seen, ResponseCode::ServFail)).await;
    let refusing = ScriptedUpstream::start(|seen| with_code(seen, ResponseCode::Refused)).await;
    let good = ScriptedUpstream::honest().await;
    let world_with = world(&[failing.address, refusing.address, good.address]).await;
    assert_eq!(addresses(&world_with.ask("www.example.com.", RecordType::A).await).len(), 1);
    assert!(world_with.handle.upstreams()[0].is_up(), "who answers SERVFAIL is not down");

    let world = world(&[failing.address, refusing.address]).await;
    let start = Instant::now();
    let reply = world.ask_edns("www.example.com.", RecordType::A).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(extended_error(&reply).unwrap().0, 22);
    assert!(start.elapsed() < Duration::from_millis(500), "nobody is asked again who has spoken");
}

#[tokio::test]
async fn when_none_answers_servfail_comes_before_the_client_gives_up() {
    let (one, two) = (silent().await, silent().await);
    let world = world(&[one.address, two.address]).await;
    let start = Instant::now();
    let reply = world.ask("www.example.com.", RecordType::A).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let tries = one.seen().len() + two.seen().len();
    assert!((4..=8).contains(&tries), "each more than once, and not for ever: {tries}");
}

#[tokio::test]
async fn a_lost_packet_is_asked_for_again() {
    let counter = std::sync::atomic::AtomicUsize::new(0);
    let lossy = ScriptedUpstream::start(move |seen| match counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
        0 => Vec::new(),
        _ => vec![Act::Send(bytes(&honest_answer(seen)))],
    })
    .await;
    let world = world(&[lossy.address]).await;
    assert_eq!(addresses(&world.ask("www.example.com.", RecordType::A).await).len(), 1);
}

#[tokio::test]
async fn a_server_that_lowers_the_case_is_asked_once_more_and_then_known() {
    let lowering = ScriptedUpstream::start(|seen| {
        let mut message = honest_answer(seen);
        message.queries[0].name = message.queries[0].name.to_lowercase();
        vec![Act::Send(bytes(&message))]
    })
    .await;
    let world = world(&[lowering.address]).await;
    // Long enough that one in 2^40 runs draws the lower case by chance. Learnt from two: one could be forged.
    for (asked, seen) in [(0, 2), (1, 4), (2, 5)] {
        let name = format!("abcdefghijklmnopqrstuvwxyz{asked}.abcdefghij.cdn.example.net.");
        assert_eq!(addresses(&world.ask(&name, RecordType::A).await).len(), 1);
        assert_eq!(lowering.seen().len(), seen);
    }
    assert!(!world.handle.upstreams()[0].keeps_case);
}

#[tokio::test]
async fn a_server_without_edns_is_asked_without() {
    let old = ScriptedUpstream::start(|seen| match seen.message.edns {
        Some(_) => with_code(seen, ResponseCode::FormErr),
        None => vec![Act::Send(bytes(&honest_answer(seen)))],
    })
    .await;
    let world = world(&[old.address]).await;
    for (asked, seen) in [(0, 2), (1, 4), (2, 5)] {
        assert_eq!(addresses(&world.ask(&format!("n{asked}.cdn.example.net."), RecordType::A).await).len(), 1);
        assert_eq!(old.seen().len(), seen);
    }
}

#[tokio::test]
async fn a_truncated_answer_is_fetched_over_tcp_even_when_cut_in_mid_record() {
    for cut in [0, 7] {
        let upstream = ScriptedUpstream::start(move |seen| {
            let mut message = honest_answer(seen);
            if seen.tcp {
                return vec![Act::Send(bytes(&message))];
            }
            message.metadata.truncation = true;
            let mut bytes = bytes(&message);
            bytes.truncate(bytes.len() - cut);
            vec![Act::Send(bytes)]
        })
        .await;
        let world = world(&[upstream.address]).await;
        assert_eq!(addresses(&world.ask("www.example.com.", RecordType::A).await).len(), 1);
        assert_eq!(upstream.seen().iter().map(|seen| seen.tcp).collect::<Vec<_>>(), [false, true]);
        assert_eq!(world.handle.stats().upstream_tcp, 1);
    }
}

#[tokio::test]
async fn ids_and_case_differ_from_question_to_question() {
    let upstream = ScriptedUpstream::honest().await;
    let world = world(&[upstream.address]).await;
    for n in 10..60 {
        world.ask(&format!("a-rather-long-name-to-draw-case-for-{n}.cdn.example.net."), RecordType::A).await;
    }
    let seen = upstream.seen();
    let distinct = |values: Vec<String>| values.into_iter().collect::<std::collections::HashSet<_>>().len();
    assert!(distinct(seen.iter().map(|seen| seen.message.metadata.id.to_string()).collect()) >= 48);
    assert_eq!(distinct(seen.iter().map(|seen| seen.message.queries[0].name.to_ascii()).collect()), 50);
}
