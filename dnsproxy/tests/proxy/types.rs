//! Types that carry names and hints: SRV targets are granted for the time of their record, HTTPS leads to no address that is not open.

use std::time::Duration;

use dnsproxy::{RecordType, ResponseCode};
use hickory_proto::{
    op::Edns,
    rr::{
        Name, RData, Record,
        rdata::{
            A, AAAA, HTTPS, MX, SRV, TXT,
            opt::EdnsOption,
            svcb::{Alpn, IpHint, SVCB, SvcParamKey, SvcParamValue},
        },
    },
};
use tokio::time::sleep;

use crate::{
    gate::{Says, ScriptedGate},
    upstream::{Act, ScriptedUpstream, aged, answer_with, bytes, empty_answer, honest_answer},
    world::{POLICY, World, addresses, extended_error, ip, question, question_edns},
};

const SERVICE: &str = "_db._tcp.example.com.";

fn open() -> ScriptedGate {
    ScriptedGate::always(Says::Yes(Duration::from_secs(3600)))
}

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

/// A service on two hosts, one of them denied; every host has an address, for a second: what is kept of it does not outlast the target.
async fn service(ttl: u32) -> ScriptedUpstream {
    ScriptedUpstream::start(move |seen| {
        if seen.message.queries[0].query_type != RecordType::SRV {
            return vec![Act::Send(bytes(&aged(honest_answer(seen), 1)))];
        }
        let to = |target| Record::from_rdata(name(SERVICE), ttl, RData::SRV(SRV::new(1, 1, 5432, name(target))));
        answer_with(seen, &[to("db1.provider.example."), to("tracker.example.org.")])
    })
    .await
}

fn with_service(targets: bool) -> String {
    let word = if targets { "srv-targets = true" } else { "" };
    format!("{POLICY}\n[[allow]]\nname = \"service-of-a-name\"\nhosts = [\"_db._tcp.example.com\"]\nports = [\"5432\"]\n{word}\n")
}

#[tokio::test]
async fn targets_of_a_service_are_permitted_along_with_it_where_the_rule_says_so() {
    let upstream = service(60).await;
    let gate = open();
    let world = World::under(&with_service(true), &[upstream.address], gate.clone()).await;
    let code = async |name: &str| world.ask(name, RecordType::A).await.metadata.response_code;
    assert_eq!(code("db1.provider.example.").await, ResponseCode::NXDomain, "not before it was led to");
    for asked in 0..2 {
        let reply = world.ask(SERVICE, RecordType::SRV).await;
        assert_eq!((reply.answers.len(), addresses(&reply).len()), (2, 0));
        assert_eq!((upstream.questions(), world.handle.stats().cached), (1, asked));
    }
    assert_eq!(addresses(&world.ask("DB1.provider.example.", RecordType::A).await), [ip("203.0.113.1")]);
    assert_eq!(gate.asked(), [("db1.provider.example".to_owned(), vec![ip("203.0.113.1")])]);
    assert_eq!(code("tracker.example.org.").await, ResponseCode::NXDomain, "a deny holds");
    assert_eq!(code("db2.provider.example.").await, ResponseCode::NXDomain);
    world.set_policy(&with_service(true).replace("\"443\"", "\"8443\""));
    assert_eq!(code("db1.provider.example.").await, ResponseCode::NoError, "another policy that says the same of the service");
    for changed in [with_service(false), with_service(true).replace("_db._tcp", "_sip._tcp")] {
        world.set_policy(&changed);
        assert_eq!(code("db1.provider.example.").await, ResponseCode::NXDomain, "another policy, another word");
    }
}

#[tokio::test]
async fn without_the_word_of_a_rule_a_target_is_refused() {
    let upstream = service(60).await;
    let world = World::under(&with_service(false), &[upstream.address], open()).await;
    assert_eq!(world.ask(SERVICE, RecordType::SRV).await.answers.len(), 2);
    assert_eq!(world.ask("db1.provider.example.", RecordType::A).await.metadata.response_code, ResponseCode::NXDomain);
}

#[tokio::test]
async fn a_target_is_permitted_for_the_time_of_its_record_and_not_after() {
    for ttl in [0, 1] {
        let upstream = service(ttl).await;
        let world = World::under(&with_service(true), &[upstream.address], open()).await;
        world.ask(SERVICE, RecordType::SRV).await;
        assert_eq!(addresses(&world.ask("db1.provider.example.", RecordType::A).await).len(), 1, "a TTL of {ttl} works");
        sleep(Duration::from_millis(3200)).await;
        assert_eq!(world.ask("db1.provider.example.", RecordType::A).await.metadata.response_code, ResponseCode::NXDomain);
    }
}

/// The app keeps the SRV record as long as its TTL says, and asks for the target alone then.
#[tokio::test]
async fn a_target_stays_permitted_over_a_change_of_policy_that_permits_its_service() {
    let upstream = service(60).await;
    let world = World::under(&with_service(true), &[upstream.address], open()).await;
    world.ask(SERVICE, RecordType::SRV).await;
    world.set_policy(&with_service(true).replace("\"443\"", "\"8443\""));
    assert_eq!(addresses(&world.ask("db1.provider.example.", RecordType::A).await).len(), 1);
}

#[tokio::test]
async fn what_was_kept_of_a_service_gives_its_targets_no_new_time() {
    let upstream = service(6).await;
    let world = World::under(&with_service(true), &[upstream.address], open()).await;
    world.ask(SERVICE, RecordType::SRV).await;
    sleep(Duration::from_millis(3500)).await;
    // Judged again out of what was kept: the targets are granted by the new policy.
    world.set_policy(&with_service(true).replace("\"443\"", "\"8443\""));
    world.ask(SERVICE, RecordType::SRV).await;
    assert_eq!(upstream.questions(), 1);
    assert_eq!(addresses(&world.ask("db1.provider.example.", RecordType::A).await).len(), 1);
    sleep(Duration::from_millis(3500)).await;
    assert_eq!(world.ask("db1.provider.example.", RecordType::A).await.metadata.response_code, ResponseCode::NXDomain);
}

/// A binding with hints, or without.
fn binding(hints: bool) -> Record {
    let alpn = (SvcParamKey::Alpn, SvcParamValue::Alpn(Alpn(vec!["h2".into(), "h3".into()])));
    let port = (SvcParamKey::Port, SvcParamValue::Port(8443));
    let v4 = (SvcParamKey::Ipv4Hint, SvcParamValue::Ipv4Hint(IpHint(vec![A::new(198, 51, 100, 9)])));
    let v6 = (SvcParamKey::Ipv6Hint, SvcParamValue::Ipv6Hint(IpHint(vec![AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9)])));
    let parameters = if hints { vec![alpn, port, v4, v6] } else { vec![alpn, port] };
    Record::from_rdata(name("www.example.com."), 60, RData::HTTPS(HTTPS(SVCB::new(1, Name::root(), parameters))))
}

#[tokio::test]
async fn bindings_lose_their_hints_and_nothing_else_where_the_rule_says_strip() {
    for hints in [true, false] {
        let upstream = ScriptedUpstream::start(move |seen| {
            let mut message = empty_answer(seen);
            message.metadata.authentic_data = true;
            message.answers.push(binding(hints));
            vec![Act::Send(bytes(&message))]
        })
        .await;
        let gate = open();
        let strip = POLICY.replacen("ports = [\"443\"]", "ports = [\"443\"]\nhttps-records = \"strip\"", 1);
        let world = World::under(&strip, &[upstream.address], gate.clone()).await;
        for _ in 0..2 {
            let reply = world.send(&question_edns("www.example.com.", RecordType::HTTPS, true)).await.unwrap();
            let RData::HTTPS(https) = &reply.answers[0].data else { panic!("{reply:?}") };
            let left: Vec<_> = https.0.svc_params.iter().map(|(key, _)| *key).collect();
            assert_eq!(left, [SvcParamKey::Alpn, SvcParamKey::Port]);
            assert_eq!(https.0.svc_params[1].1, SvcParamValue::Port(8443));
            assert_eq!(reply.metadata.authentic_data, !hints, "what was altered is not what was signed");
        }
        assert!(upstream.questions() == 1 && gate.asked().is_empty());
        world.set_policy(POLICY);
        let reply = world.ask("www.example.com.", RecordType::HTTPS).await;
        assert!(reply.answers.is_empty() && reply.authorities.len() == 1, "without that word there is none");
    }
}

#[tokio::test]
async fn other_types_are_kept_like_addresses() {
    let upstream = ScriptedUpstream::start(|seen| {
        let owner = name("www.example.com.");
        let record = match seen.message.queries[0].query_type {
            RecordType::TXT => Record::from_rdata(owner, 60, RData::TXT(TXT::new(vec!["v=1".into()]))),
            _ => Record::from_rdata(owner, 60, RData::MX(MX::new(10, name("mx.example.com.")))),
        };
        answer_with(seen, &[record])
    })
    .await;
    let gate = open();
    let world = World::start(&[upstream.address], gate.clone()).await;
    for rtype in [RecordType::TXT, RecordType::MX, RecordType::TXT, RecordType::MX] {
        let reply = world.ask("www.example.com.", rtype).await;
        assert_eq!((reply.answers.len(), reply.answers[0].record_type()), (1, rtype));
    }
    assert_eq!((upstream.questions(), world.handle.stats().cached), (2, 2));
    assert!(gate.asked().is_empty());
    let reply = world.ask("mx.example.com.", RecordType::A).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain, "an exchanger needs a rule of its own");
}

#[tokio::test]
async fn edns_options_end_here_both_ways() {
    let upstream = ScriptedUpstream::start(|seen| {
        let mut message = honest_answer(seen);
        let mut edns = Edns::new();
        edns.options_mut().insert(EdnsOption::Unknown(65_001, vec![9]));
        message.edns = Some(edns);
        vec![Act::Send(bytes(&message))]
    })
    .await;
    let world = World::start(&[upstream.address], open()).await;
    let mut query = question("www.example.com.", RecordType::A);
    let mut edns = Edns::new();
    // A subnet of the client's (8), a cookie (10), padding (12).
    edns.options_mut().insert(EdnsOption::Unknown(8, vec![0, 1, 24, 0, 198, 51, 100]));
    edns.options_mut().insert(EdnsOption::Unknown(10, vec![7; 8]));
    edns.options_mut().insert(EdnsOption::Unknown(12, vec![0; 64]));
    query.edns = Some(edns);
    for _ in 0..2 {
        let reply = world.send(&query).await.unwrap();
        assert_eq!((addresses(&reply).len(), extended_error(&reply)), (1, None));
        assert!(reply.edns.unwrap().options().as_ref().is_empty(), "none comes back");
    }
    assert_eq!(upstream.questions(), 1, "they make no other question of it");
    assert!(upstream.seen()[0].message.edns.as_ref().unwrap().options().as_ref().is_empty(), "none goes up");
}
