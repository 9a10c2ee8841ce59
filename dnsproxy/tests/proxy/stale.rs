//! While no upstream answers, what was known before is told beyond its time (RFC 8767): marked, briefly, and never past policy or gate.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use dnsproxy::{Limits, OpenError, RecordType, ResponseCode, Source};
use tokio::time::sleep;

use crate::{
    gate::{Says, ScriptedGate},
    upstream::{Act, ScriptedUpstream, Seen, address, aged, bytes, cname, empty_answer, honest_answer, nothing},
    world::{POLICY, World, addresses, extended_error, ip, question, question_edns, receive},
};

const NAME: &str = "www.example.com.";

/// What an upstream does.
#[derive(Clone, Copy)]
enum Mood {
    /// Answers as its script says.
    Well,
    Silent,
    Code(ResponseCode),
}

/// An upstream of changing mood.
struct Moody {
    upstream: ScriptedUpstream,
    mood: Arc<Mutex<Mood>>,
}

impl Moody {
    async fn start(script: impl Fn(&Seen) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let mood = Arc::new(Mutex::new(Mood::Well));
        let mine = Arc::clone(&mood);
        let upstream = ScriptedUpstream::start(move |seen| match *mine.lock().unwrap() {
            Mood::Well => vec![Act::Send(script(seen))],
            Mood::Silent => Vec::new(),
            Mood::Code(code) => vec![Act::Send(bytes(&nothing(seen, code, None)))],
        })
        .await;
        Self { upstream, mood }
    }

    /// One that answers like the honest one, for a second.
    async fn honest() -> Self {
        Self::start(|seen| bytes(&aged(honest_answer(seen), 1))).await
    }

    fn becomes(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }
}

fn open() -> ScriptedGate {
    ScriptedGate::always(Says::Yes(Duration::from_secs(3600)))
}

/// A world in which an upstream soon counts as silent.
async fn world(upstream: &Moody, gate: ScriptedGate) -> World {
    let limits = Limits { upstream_try: Duration::from_millis(100), ..Limits::default() };
    World::with_limits(&[upstream.upstream.address], gate, limits).await
}

/// Has the name answered, lets the answer's time pass, and changes the upstream's mood.
async fn known(world: &World, upstream: &Moody, mood: Mood) {
    world.ask(NAME, RecordType::A).await;
    upstream.becomes(mood);
    sleep(Duration::from_millis(1100)).await;
}

/// Waits until no upstream is known to live.
async fn all_down(world: &World) {
    let client = world.client().await;
    client.send(&question("down.cdn.example.net.", RecordType::A).to_vec().unwrap()).await.unwrap();
    for _ in 0..200 {
        if world.handle.upstreams().iter().all(|upstream| !upstream.is_up()) {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("the upstream is silent and counts as up");
}

#[tokio::test]
async fn while_the_upstream_is_silent_what_was_known_is_told_marked_and_with_a_lease() {
    let upstream = Moody::honest().await;
    let gate = open();
    let world = world(&upstream, gate.clone()).await;
    known(&world, &upstream, Mood::Silent).await;

    let start = Instant::now();
    let (reply, plain) = tokio::join!(world.ask_edns(NAME, RecordType::A), world.ask(NAME, RecordType::A));
    assert!(start.elapsed() < Duration::from_secs(4), "before the question is given up: {:?}", start.elapsed());
    assert_eq!((reply.metadata.response_code, addresses(&reply)), (ResponseCode::NoError, vec![ip("203.0.113.1")]));
    assert!((1..=30).contains(&reply.answers[0].ttl), "{}", reply.answers[0].ttl);
    assert_eq!(extended_error(&reply).unwrap().0, 3);
    assert!(plain.edns.is_none() && addresses(&plain).len() == 1, "who sent no OPT gets none");
    assert_eq!(gate.asked().len(), 2, "it passes the gate again, once for both");
    assert_eq!((world.handle.stats().stale, world.handle.stats().servfail), (2, 0));
    assert_eq!(world.heard_of(3).await[1].source, Source::Stale);
}

#[tokio::test]
async fn once_all_upstreams_are_known_to_be_down_nobody_waits() {
    let upstream = Moody::honest().await;
    let world = world(&upstream, open()).await;
    known(&world, &upstream, Mood::Silent).await;
    all_down(&world).await;
    let asked = upstream.upstream.seen().len();
    let start = Instant::now();
    // The second comes while the first is still being asked, though it was answered.
    for _ in 0..2 {
        assert_eq!(extended_error(&world.ask_edns(NAME, RecordType::A).await).unwrap().0, 3);
    }
    assert!(start.elapsed() < Duration::from_millis(1500), "{:?}", start.elapsed());
    assert_eq!(world.handle.stats().coalesced, 1);
    sleep(Duration::from_millis(100)).await;
    assert!(upstream.upstream.seen().len() > asked, "it is asked all the same");
}

#[tokio::test]
async fn who_comes_after_the_first_was_told_does_not_wait_for_the_end() {
    let upstream = Moody::honest().await;
    // Long tries: a single silent one does not make the upstream count as down.
    let world = World::start(&[upstream.upstream.address], open()).await;
    known(&world, &upstream, Mood::Silent).await;
    let first = world.client().await;
    first.send(&question_edns(NAME, RecordType::A, false).to_vec().unwrap()).await.unwrap();
    assert_eq!(extended_error(&receive(&first, Duration::from_secs(4)).await.unwrap()).unwrap().0, 3);
    let start = Instant::now();
    assert_eq!(extended_error(&world.ask_edns(NAME, RecordType::A).await).unwrap().0, 3);
    assert!(start.elapsed() < Duration::from_millis(2400), "{:?}", start.elapsed());
}

#[tokio::test]
async fn an_absence_is_told_stale_too() {
    for (code, mark) in [(ResponseCode::NXDomain, 19), (ResponseCode::NoError, 3)] {
        let upstream = Moody::start(move |seen| bytes(&nothing(seen, code, Some((1, 1))))).await;
        let gate = open();
        let world = world(&upstream, gate.clone()).await;
        known(&world, &upstream, Mood::Silent).await;
        let reply = world.ask_edns(NAME, RecordType::A).await;
        assert_eq!((reply.metadata.response_code, extended_error(&reply).unwrap().0), (code, mark));
        assert!((1..=30).contains(&reply.authorities[0].ttl));
        assert_eq!(gate.nothing.lock().unwrap().len(), 1, "no upstream said so again");
    }
}

#[tokio::test]
async fn a_name_that_is_refused_by_now_is_never_told_stale() {
    let edge = "edge.provider.example.";
    let chain = move |seen: &Seen| {
        let mut message = empty_answer(seen);
        message.answers = vec![cname(NAME, 1, edge), address(edge, 1, "203.0.113.4")];
        bytes(&message)
    };
    let without = POLICY.replace("www.example.com", "web.example.com");
    let denied = POLICY.replace("tracker.example.org", "edge.provider.example");
    for policy in [without, denied] {
        let upstream = Moody::start(chain).await;
        let gate = open();
        let world = world(&upstream, gate.clone()).await;
        known(&world, &upstream, Mood::Silent).await;
        world.set_policy(&policy);
        let reply = world.ask_edns(NAME, RecordType::A).await;
        assert_eq!((reply.metadata.response_code, addresses(&reply)), (ResponseCode::NXDomain, Vec::new()));
        assert_eq!((extended_error(&reply).unwrap().0, gate.asked().len()), (15, 1));
    }
}

#[tokio::test]
async fn an_upstream_that_answers_with_an_error_is_not_down() {
    for code in [ResponseCode::ServFail, ResponseCode::Refused] {
        let upstream = Moody::honest().await;
        let world = world(&upstream, open()).await;
        known(&world, &upstream, Mood::Code(code)).await;
        let reply = world.ask_edns(NAME, RecordType::A).await;
        assert_eq!((reply.metadata.response_code, addresses(&reply)), (ResponseCode::ServFail, Vec::new()));
        assert_eq!((extended_error(&reply).unwrap().0, world.handle.stats().stale), (22, 0));
        assert!(world.handle.upstreams()[0].is_up());
    }
}

#[tokio::test]
async fn when_the_upstream_lives_again_its_answers_are_told() {
    let address_now = Arc::new(Mutex::new("203.0.113.1"));
    let mine = Arc::clone(&address_now);
    let upstream = Moody::start(move |seen| {
        let mut message = empty_answer(seen);
        message.answers = vec![address(NAME, 1, *mine.lock().unwrap())];
        bytes(&message)
    })
    .await;
    let world = world(&upstream, open()).await;
    known(&world, &upstream, Mood::Silent).await;
    assert_eq!(addresses(&world.ask(NAME, RecordType::A).await), [ip("203.0.113.1")]);
    *address_now.lock().unwrap() = "203.0.113.2";
    upstream.becomes(Mood::Well);
    for _ in 0..50 {
        let reply = world.ask_edns(NAME, RecordType::A).await;
        if addresses(&reply) == [ip("203.0.113.2")] {
            assert_eq!(extended_error(&reply), None, "it is fresh");
            return;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("stale for ever");
}

#[tokio::test]
async fn what_the_gate_does_not_open_is_not_told_stale_either() {
    let upstream = Moody::honest().await;
    let gate = ScriptedGate::script(|call| match call {
        0 => Says::Yes(Duration::from_secs(3600)),
        1 => Says::No(OpenError::Full),
        _ => Says::Yes(Duration::from_millis(5500)),
    });
    let world = world(&upstream, gate).await;
    known(&world, &upstream, Mood::Silent).await;
    let reply = world.ask(NAME, RecordType::A).await;
    assert_eq!((reply.metadata.response_code, addresses(&reply)), (ResponseCode::ServFail, Vec::new()));
    let reply = world.ask(NAME, RecordType::A).await;
    assert!((1..=5).contains(&reply.answers[0].ttl), "and never for longer than its lease: {}", reply.answers[0].ttl);
}

#[tokio::test]
async fn what_was_for_one_use_is_not_told_stale() {
    let zero = Moody::start(|seen| bytes(&aged(honest_answer(seen), 0))).await;
    let no_soa = Moody::start(|seen| bytes(&nothing(seen, ResponseCode::NXDomain, None))).await;
    for upstream in [zero, no_soa] {
        let gate = open();
        let limits = Limits { upstream_try: Duration::from_millis(100), upstream_total: Duration::from_secs(1), ..Limits::default() };
        let world = World::with_limits(&[upstream.upstream.address], gate.clone(), limits).await;
        world.ask(NAME, RecordType::A).await;
        upstream.becomes(Mood::Silent);
        let reply = world.send(&question(NAME, RecordType::A)).await.unwrap();
        assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
        assert_eq!(world.handle.stats().stale, 0);
    }
}
