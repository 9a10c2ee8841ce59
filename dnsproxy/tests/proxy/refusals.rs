//! A refused name does not exist, for half a minute, alike for every type, and never costs a question upstream.

use std::time::Duration;

use dnsproxy::{Outcome, RecordType, ResponseCode};
use hickory_proto::rr::RData;
use policies::Reason;

use crate::{
    gate::{Says, ScriptedGate},
    upstream::ScriptedUpstream,
    world::{POLICY, World, extended_error, policy},
};

async fn world(upstream: &ScriptedUpstream) -> World {
    World::start(&[upstream.address], ScriptedGate::always(Says::Yes(Duration::from_secs(60)))).await
}

#[tokio::test]
async fn refused_names_are_nxdomain_with_a_soa_for_every_type() {
    let upstream = ScriptedUpstream::honest().await;
    let world = world(&upstream).await;
    for name in ["github.com.", "evilwww.example.com.", "www.example.com.evil.org.", "cdn.example.net.", "tracker.example.org."] {
        for rtype in [RecordType::A, RecordType::AAAA, RecordType::TXT, RecordType::HTTPS, RecordType::ANY, RecordType::PTR] {
            let reply = world.ask(name, rtype).await;
            let expected = match name {
                // Above *.cdn.example.net: it exists, with nothing at it.
                "cdn.example.net." => ResponseCode::NoError,
                _ => ResponseCode::NXDomain,
            };
            assert_eq!(reply.metadata.response_code, expected, "{name} {rtype}");
            assert!(reply.answers.is_empty() && reply.edns.is_none(), "{name} {rtype}");
            let RData::SOA(soa) = &reply.authorities[0].data else { panic!("{name} {rtype} without SOA") };
            assert_eq!((reply.authorities[0].ttl, soa.minimum), (30, 30));
            assert!(reply.authorities[0].name.zone_of(&reply.queries[0].name));
        }
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn ancestors_of_permitted_names_are_nodata() {
    let upstream = ScriptedUpstream::honest().await;
    let world = world(&upstream).await;
    for name in ["example.com.", "com.", "example.net.", "svc.cluster.local."] {
        let reply = world.ask(name, RecordType::A).await;
        assert_eq!(reply.metadata.response_code, ResponseCode::NoError, "{name}");
        assert!(reply.answers.is_empty() && reply.authorities[0].record_type() == RecordType::SOA, "{name}");
    }
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn the_policys_word_goes_to_who_sent_opt() {
    let upstream = ScriptedUpstream::honest().await;
    let world = world(&upstream).await;
    let (code, text) = extended_error(&world.ask_edns("tracker.example.org.", RecordType::A).await).unwrap();
    assert_eq!(code, 15);
    assert!(text.starts_with("portreeve: policy test, ") && text.contains("test.toml:21"), "{text}");
    let (code, text) = extended_error(&world.ask_edns("github.com.", RecordType::AAAA).await).unwrap();
    assert_eq!((code, text.as_str()), (15, "portreeve: no rule permits this name"));
    assert!(matches!(world.heard().await[0].outcome, Outcome::Refused(_)));
}

#[tokio::test]
async fn search_list_tries_are_nxdomain_too_and_counted_by_themselves() {
    let upstream = ScriptedUpstream::honest().await;
    let world = world(&upstream).await;
    for rtype in [RecordType::A, RecordType::AAAA] {
        let reply = world.ask_edns("www.example.com.shop.svc.cluster.local.", rtype).await;
        assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
        assert_eq!(extended_error(&reply).unwrap(), (15, "portreeve: a permitted name with a search domain behind it".to_owned()));
    }
    let stats = world.handle.stats();
    assert_eq!((stats.search_steps, stats.refused, upstream.seen().len()), (2, 0, 0));
    assert!(matches!(&world.heard().await[0].outcome, Outcome::Refused(refusal) if refusal.reason() == Reason::SearchListStep));
    // What is not permitted without the domain is no step towards it.
    world.ask("github.com.shop.svc.cluster.local.", RecordType::A).await;
    let stats = world.handle.stats();
    assert_eq!((stats.search_steps, stats.refused), (2, 1));
}

#[tokio::test]
async fn the_policy_in_force_is_the_one_that_judges() {
    let upstream = ScriptedUpstream::honest().await;
    let world = world(&upstream).await;
    assert_eq!(world.ask("www.example.com.", RecordType::A).await.answers.len(), 1);
    world.policy.store(policy(&POLICY.replace("www.example.com", "web.example.com")).into());
    assert_eq!(world.ask("www.example.com.", RecordType::A).await.metadata.response_code, ResponseCode::NXDomain);
    world.policy.store(policies::Policy::nothing().into());
    assert_eq!(world.ask("web.example.com.", RecordType::A).await.metadata.response_code, ResponseCode::NXDomain);
}
