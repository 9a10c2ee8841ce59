//! Reverse look-ups: a leased address is told by the names that it is leased for, any other like any name.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use dnsproxy::{Outcome, RecordType, ResponseCode, Source};
use hickory_proto::{op::Message, rr::RData};

use crate::{
    gate::{Says, ScriptedGate},
    upstream::ScriptedUpstream,
    world::{POLICY, World, ip, question},
};

const V4: &str = "7.113.0.203.in-addr.arpa.";
const V6: &str = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.";

/// A gate that has leased these addresses for these names, for so many seconds and a half.
fn leased(leases: &[(&str, &str, u64)]) -> ScriptedGate {
    let gate = ScriptedGate::always(Says::Yes(Duration::from_secs(60)));
    let lease = |(address, name, seconds): &(&str, &str, u64)| -> (IpAddr, policies::Name, Instant) {
        (ip(address), name.parse().unwrap(), Instant::now() + Duration::from_millis(seconds * 1000 + 900))
    };
    gate.names.lock().unwrap().extend(leases.iter().map(lease));
    gate
}

/// The names in a reply, sorted.
fn names(reply: &Message) -> Vec<String> {
    let name = |record: &hickory_proto::rr::Record| match &record.data {
        RData::PTR(name) => Some(name.0.to_ascii()),
        _ => None,
    };
    let mut names: Vec<_> = reply.answers.iter().filter_map(name).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_leased_address_is_told_by_its_names_for_as_long_as_the_lease() {
    let upstream = ScriptedUpstream::honest().await;
    let gate = leased(&[
        ("203.0.113.7", "www.example.com", 100),
        ("203.0.113.7", "api.example.com", 50),
        ("203.0.113.8", "other.example.com", 100),
        ("2001:db8::1", "six.example.com", 9),
    ]);
    let world = World::start(&[upstream.address], gate.clone()).await;
    let reply = world.ask(V4, RecordType::PTR).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
    assert_eq!(names(&reply), ["api.example.com.", "www.example.com."]);
    assert!(reply.answers.iter().all(|record| (45..=50).contains(&record.ttl)), "the least of both: {:?}", reply.answers);
    assert!(reply.answers.iter().all(|record| record.name.to_ascii() == V4));

    let spelt = V6.to_uppercase();
    let reply = world.ask_tcp(&question(&spelt, RecordType::PTR)).await;
    assert_eq!((names(&reply), reply.answers[0].name.to_ascii()), (vec!["six.example.com.".to_owned()], spelt));
    assert!(reply.answers[0].ttl <= 9);

    assert_eq!((world.handle.stats().reverse, upstream.questions()), (2, 0));
    let heard = &world.heard_of(2).await[0];
    assert!(matches!(heard.outcome, Outcome::Leased) && heard.source == Source::Here);

    gate.names.lock().unwrap().clear();
    assert_eq!(world.ask(V4, RecordType::PTR).await.metadata.response_code, ResponseCode::NXDomain, "nothing of it is kept");
}

#[tokio::test]
async fn an_address_that_is_not_leased_is_a_name_like_any_other() {
    let upstream = ScriptedUpstream::honest().await;
    let gate = leased(&[("203.0.113.8", "other.example.com", 100)]);
    let world = World::start(&[upstream.address], gate).await;
    for name in [V4, V6, "0.203.in-addr.arpa."] {
        assert_eq!(world.ask(name, RecordType::PTR).await.metadata.response_code, ResponseCode::NXDomain, "{name}");
    }
    // Only PTR is for the address book.
    assert_eq!(world.ask("8.113.0.203.in-addr.arpa.", RecordType::A).await.metadata.response_code, ResponseCode::NXDomain);
    assert!(upstream.seen().is_empty());
    world.set_policy(&POLICY.replace("www.example.com", "*.113.0.203.in-addr.arpa"));
    world.ask(V4, RecordType::PTR).await;
    assert_eq!(upstream.questions(), 1, "a rule permits it, so upstream is asked");
}

#[tokio::test]
async fn an_address_of_very_many_names_is_told_by_a_few() {
    let upstream = ScriptedUpstream::honest().await;
    let many: Vec<_> = (0..40).map(|n| format!("n{n}.a-rather-long-name-of-a-shared-front.example.com")).collect();
    let gate = leased(&many.iter().map(|name| ("203.0.113.7", name.as_str(), 60)).collect::<Vec<_>>());
    let world = World::start(&[upstream.address], gate).await;
    let reply = world.ask_tcp(&question(V4, RecordType::PTR)).await;
    assert_eq!((names(&reply).len(), reply.metadata.truncation), (8, false));
}
