//! That there is nothing is kept as long as the zone's SOA allows (RFC 2308), and not at all without one.

use std::time::Duration;

use dnsproxy::{RecordType, ResponseCode};
use tokio::time::sleep;

use crate::{
    gate::{Says, ScriptedGate},
    upstream::{Act, ScriptedUpstream, bytes, nothing},
    world::World,
};

fn open() -> ScriptedGate {
    ScriptedGate::always(Says::Yes(Duration::from_secs(3600)))
}

async fn empty(code: ResponseCode, soa: Option<(u32, u32)>) -> ScriptedUpstream {
    ScriptedUpstream::start(move |seen| vec![Act::Send(bytes(&nothing(seen, code, soa)))]).await
}

#[tokio::test]
async fn an_absence_is_kept_for_the_lesser_of_the_soas_ttl_and_minimum() {
    for code in [ResponseCode::NXDomain, ResponseCode::NoError] {
        for soa in [(90, 2), (2, 90)] {
            let upstream = empty(code, Some(soa)).await;
            let gate = open();
            let world = World::start(&[upstream.address], gate.clone()).await;
            for _ in 0..2 {
                let reply = world.ask("www.example.com.", RecordType::A).await;
                assert_eq!((reply.metadata.response_code, reply.authorities.len()), (code, 1));
                assert!((1..=2).contains(&reply.authorities[0].ttl), "{soa:?}: {}", reply.authorities[0].ttl);
            }
            assert_eq!((upstream.questions(), world.handle.stats().cached), (1, 1), "{code} {soa:?}");
            assert_eq!(gate.nothing.lock().unwrap().len(), 1, "the gate hears what an upstream said, and not what was kept");
            sleep(Duration::from_millis(2100)).await;
            assert_eq!(world.ask("www.example.com.", RecordType::A).await.metadata.response_code, code);
            assert_eq!(upstream.questions(), 2, "{code} {soa:?}: over");
            assert!(gate.asked().is_empty());
        }
    }
}

#[tokio::test]
async fn without_a_soa_an_absence_is_for_one_use() {
    for code in [ResponseCode::NXDomain, ResponseCode::NoError] {
        let upstream = empty(code, None).await;
        let world = World::start(&[upstream.address], open()).await;
        for asked in 1..=3 {
            assert_eq!(world.ask("www.example.com.", RecordType::A).await.metadata.response_code, code);
            assert_eq!(upstream.questions(), asked);
        }
    }
}

#[tokio::test]
async fn an_absence_is_believed_for_five_minutes_at_most() {
    let upstream = empty(ResponseCode::NXDomain, Some((86_400, 86_400))).await;
    let world = World::start(&[upstream.address], open()).await;
    assert_eq!(world.ask("www.example.com.", RecordType::A).await.authorities[0].ttl, 300);
}

#[tokio::test]
async fn an_absence_is_that_of_its_type_and_the_gate_is_told_of_addresses_alone() {
    let upstream = empty(ResponseCode::NoError, Some((90, 90))).await;
    let gate = open();
    let world = World::start(&[upstream.address], gate.clone()).await;
    for rtype in [RecordType::AAAA, RecordType::TXT, RecordType::A, RecordType::AAAA, RecordType::TXT] {
        world.ask("www.example.com.", rtype).await;
    }
    assert_eq!(upstream.questions(), 3);
    let name = "www.example.com".to_owned();
    assert_eq!(*gate.nothing.lock().unwrap(), [(name.clone(), true), (name, false)]);
}
