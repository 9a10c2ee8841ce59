//! Permitted names get what their chain leads to: those records, those addresses, and no longer a TTL than their lease has left.

use std::{net::IpAddr, time::Duration};

use dnsproxy::{Outcome, RecordType, ResponseCode, Source};
use hickory_proto::{
    op::Edns,
    rr::{
        Name, RData, Record,
        rdata::{MX, SOA, TXT},
    },
};

use crate::{
    gate::{Says, ScriptedGate},
    upstream::{Act, ScriptedUpstream, address, answer_with, bytes, cname, empty_answer, honest_answer},
    world::{World, addresses, extended_error, question},
};

const HOUR: Duration = Duration::from_secs(3600);

fn open() -> ScriptedGate {
    ScriptedGate::always(Says::Yes(HOUR))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_permitted_name_is_opened_told_and_observed() {
    let upstream = ScriptedUpstream::honest().await;
    let gate = open();
    let world = World::start(&[upstream.address], gate.clone()).await;

    let reply = world.ask("www.example.com.", RecordType::A).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
    assert!(reply.metadata.recursion_available && !reply.metadata.authoritative);
    assert_eq!(addresses(&reply), [ip("203.0.113.1")]);
    assert_eq!(reply.answers[0].ttl, 300);
    assert_eq!(gate.asked(), [("www.example.com".to_owned(), vec![ip("203.0.113.1")])]);

    let heard = &world.heard().await[0];
    assert!(matches!(&heard.outcome, Outcome::Released(grant) if grant.openings().len() == 1));
    assert_eq!((heard.name.as_str(), heard.ttl, heard.source), ("www.example.com", Some(300), Source::Upstream(upstream.address)));
    assert_eq!(heard.addresses, [ip("203.0.113.1")]);

    let reply = world.ask("www.example.com.", RecordType::AAAA).await;
    assert_eq!(addresses(&reply), [ip("2001:db8::1")]);
    assert_eq!(world.handle.stats().released, 2);
}

#[tokio::test]
async fn the_clients_own_case_comes_back() {
    let upstream = ScriptedUpstream::honest().await;
    let world = World::start(&[upstream.address], open()).await;
    let reply = world.ask("wWw.eXample.COM.", RecordType::A).await;
    assert_eq!(reply.queries[0].name.to_ascii(), "wWw.eXample.COM.");
    assert_eq!(reply.answers[0].name.to_ascii(), "wWw.eXample.COM.");
    let asked = upstream.seen()[0].message.queries[0].name.to_ascii();
    assert_ne!(asked, "wWw.eXample.COM.", "upstream is asked in a case of our own");
}

#[tokio::test]
async fn the_ttl_is_what_is_left_of_the_lease() {
    let upstream = ScriptedUpstream::honest().await;
    for (lease, told) in [(Duration::from_millis(60_900), 60), (HOUR, 300), (Duration::from_millis(500), 0)] {
        let world = World::start(&[upstream.address], ScriptedGate::always(Says::Yes(lease))).await;
        let reply = world.ask("www.example.com.", RecordType::A).await;
        assert_eq!(reply.answers[0].ttl, told, "a lease of {lease:?}");
    }
}

#[tokio::test]
async fn a_chain_is_told_whole_with_its_least_ttl_and_without_strays() {
    let upstream = ScriptedUpstream::start(|seen| {
        answer_with(
            seen,
            &[
                address("other.example.org.", 60, "203.0.113.66"),
                address("b.provider.example.", 500, "203.0.113.2"),
                cname("a.provider.example.", 40, "b.provider.example."),
                cname("www.example.com.", 900, "a.provider.example."),
                address("b.provider.example.", 500, "203.0.113.3"),
                address("a.provider.example.", 500, "203.0.113.67"),
            ],
        )
    })
    .await;
    let gate = open();
    let world = World::start(&[upstream.address], gate.clone()).await;
    let reply = world.ask("www.example.com.", RecordType::A).await;
    assert_eq!(addresses(&reply), [ip("203.0.113.2"), ip("203.0.113.3")]);
    assert_eq!(gate.asked()[0].1, [ip("203.0.113.2"), ip("203.0.113.3")]);
    assert_eq!(reply.answers.len(), 4);
    assert!(reply.answers.iter().all(|record| record.ttl == 40), "the least of the chain holds for the addresses");
    assert_eq!(world.handle.stats().stray_records, 2);
}

#[tokio::test]
async fn a_chain_through_a_denied_name_is_refused() {
    let upstream = ScriptedUpstream::start(|seen| {
        answer_with(seen, &[cname("www.example.com.", 60, "tracker.example.org."), address("tracker.example.org.", 60, "203.0.113.9")])
    })
    .await;
    let gate = open();
    let world = World::start(&[upstream.address], gate.clone()).await;
    let reply = world.ask_edns("www.example.com.", RecordType::A).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(addresses(&reply), [] as [IpAddr; 0]);
    assert_eq!(extended_error(&reply).unwrap().0, 15);
    assert!(gate.asked().is_empty());
}

#[tokio::test]
async fn forbidden_addresses_are_stripped_and_the_rest_is_told() {
    let upstream = ScriptedUpstream::start(|seen| {
        let name = "www.example.com.";
        answer_with(
            seen,
            &[
                address(name, 60, "10.0.0.1"),
                address(name, 60, "203.0.113.4"),
                address(name, 60, "127.0.0.1"),
                address(name, 60, "169.254.169.254"),
            ],
        )
    })
    .await;
    let gate = open();
    let world = World::start(&[upstream.address], gate.clone()).await;
    let reply = world.ask_edns("www.example.com.", RecordType::A).await;
    assert_eq!(addresses(&reply), [ip("203.0.113.4")]);
    assert_eq!(gate.asked()[0].1, [ip("203.0.113.4")]);
    assert_eq!(extended_error(&reply).unwrap().0, 17);
    assert_eq!(world.handle.stats().stripped_addresses, 3);
}

#[tokio::test]
async fn with_every_address_stripped_it_is_nodata_and_filtered() {
    let upstream = ScriptedUpstream::start(|seen| answer_with(seen, &[address("www.example.com.", 60, "192.168.1.1")])).await;
    let gate = open();
    let world = World::start(&[upstream.address], gate.clone()).await;
    let reply = world.ask_edns("www.example.com.", RecordType::A).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
    assert!(reply.answers.is_empty() && reply.authorities[0].record_type() == RecordType::SOA);
    assert_eq!(extended_error(&reply).unwrap().0, 17);
    assert!(gate.asked().is_empty());
}

#[tokio::test]
async fn a_rule_with_the_right_may_have_private_addresses() {
    let upstream = ScriptedUpstream::start(|seen| answer_with(seen, &[address("db.corp.example.", 60, "10.9.8.7")])).await;
    let world = World::start(&[upstream.address], open()).await;
    assert_eq!(addresses(&world.ask("db.corp.example.", RecordType::A).await), [ip("10.9.8.7")]);
}

#[tokio::test]
async fn the_clusters_right_ends_where_the_chain_leaves_it() {
    let upstream = ScriptedUpstream::start(|seen| {
        let name = "api.shop.svc.cluster.local.";
        let records = match u16::from(seen.message.queries[0].query_type) {
            1 => vec![cname(name, 60, "real.shop.svc.cluster.local."), address("real.shop.svc.cluster.local.", 60, "10.96.3.4")],
            // An ExternalName Service that leads out, and back to a private address.
            _ => vec![cname(name, 60, "outside.example.org."), address("outside.example.org.", 60, "fd00::1")],
        };
        answer_with(seen, &records)
    })
    .await;
    let world = World::start(&[upstream.address], open()).await;
    assert_eq!(addresses(&world.ask("api.shop.svc.cluster.local.", RecordType::A).await), [ip("10.96.3.4")]);
    let reply = world.ask("api.shop.svc.cluster.local.", RecordType::AAAA).await;
    assert_eq!(addresses(&reply), [] as [IpAddr; 0]);
    assert_eq!(world.handle.stats().stripped_addresses, 1);
}

#[tokio::test]
async fn negative_answers_pass_with_their_soa() {
    let upstream = ScriptedUpstream::start(|seen| {
        let mut message = empty_answer(seen);
        message.metadata.response_code = ResponseCode::NXDomain;
        let name = |text| Name::from_ascii(text).unwrap();
        let soa = SOA::new(name("ns.example.com."), name("hostmaster.example.com."), 7, 1, 2, 3, 77);
        message.authorities = vec![
            Record::from_rdata(name("example.com."), 77, RData::SOA(soa.clone())),
            Record::from_rdata(name("elsewhere.example."), 77, RData::SOA(soa)),
            address("ns.example.com.", 60, "203.0.113.53"),
        ];
        message.additionals = vec![address("ns.example.com.", 60, "203.0.113.53")];
        vec![Act::Send(bytes(&message))]
    })
    .await;
    let gate = open();
    let world = World::start(&[upstream.address], gate.clone()).await;
    let reply = world.ask("www.example.com.", RecordType::A).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(reply.authorities.len(), 1);
    assert_eq!((reply.authorities[0].name.to_ascii().as_str(), reply.authorities[0].ttl), ("example.com.", 77));
    assert_eq!(addresses(&reply), [] as [IpAddr; 0]);
    assert!(gate.asked().is_empty());
}

#[tokio::test]
async fn other_types_pass_without_any_address() {
    let upstream = ScriptedUpstream::start(|seen| {
        let mut message = empty_answer(seen);
        let owner = seen.message.queries[0].name.clone();
        message.answers = match u16::from(seen.message.queries[0].query_type) {
            16 => vec![Record::from_rdata(owner, 60, RData::TXT(TXT::new(vec!["v=1".into()])))],
            _ => vec![Record::from_rdata(owner, 60, RData::MX(MX::new(10, Name::from_ascii("mx.example.com.").unwrap())))],
        };
        message.answers.push(address("www.example.com.", 60, "203.0.113.70"));
        message.answers.push(address("mx.example.com.", 60, "203.0.113.71"));
        message.authorities.push(address("ns.example.com.", 60, "203.0.113.72"));
        message.additionals.push(address("mx.example.com.", 60, "203.0.113.73"));
        vec![Act::Send(bytes(&message))]
    })
    .await;
    let gate = open();
    let world = World::start(&[upstream.address], gate.clone()).await;
    for rtype in [RecordType::TXT, RecordType::MX] {
        let reply = world.ask("www.example.com.", rtype).await;
        assert_eq!(reply.answers.len(), 1, "{rtype}");
        assert_eq!(reply.answers[0].record_type(), rtype);
        assert_eq!(addresses(&reply), [] as [IpAddr; 0], "{rtype}");
    }
    assert!(gate.asked().is_empty());
}

#[tokio::test]
async fn https_is_empty_and_any_is_minimal_and_neither_is_asked_upstream() {
    let upstream = ScriptedUpstream::honest().await;
    let world = World::start(&[upstream.address], open()).await;
    for rtype in [RecordType::HTTPS, RecordType::SVCB] {
        let reply = world.ask("www.example.com.", rtype).await;
        assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
        assert!(reply.answers.is_empty() && reply.authorities[0].record_type() == RecordType::SOA);
    }
    let reply = world.ask("www.example.com.", RecordType::ANY).await;
    assert!(matches!(&reply.answers[..], [one] if one.record_type() == RecordType::HINFO));
    assert!(upstream.seen().is_empty());
}

#[tokio::test]
async fn the_do_bit_goes_up_and_ad_comes_back_only_for_whole_answers() {
    let upstream = ScriptedUpstream::start(|seen| {
        let mut message = honest_answer(seen);
        message.metadata.authentic_data = true;
        if u16::from(seen.message.queries[0].query_type) == 28 {
            message.answers.push(address("www.example.com.", 60, "fd00::1"));
        }
        vec![Act::Send(bytes(&message))]
    })
    .await;
    let world = World::start(&[upstream.address], open()).await;
    let mut query = question("www.example.com.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_dnssec_ok(true);
    query.edns = Some(edns);
    let reply = world.send(&query).await.unwrap();
    assert!(reply.metadata.authentic_data && reply.edns.unwrap().flags().dnssec_ok);
    assert!(upstream.seen()[0].message.edns.as_ref().unwrap().flags().dnssec_ok);
    assert_eq!(upstream.seen()[0].message.edns.as_ref().unwrap().max_payload(), 1232);

    query.queries[0].query_type = RecordType::AAAA;
    let reply = world.send(&query).await.unwrap();
    assert!(!reply.metadata.authentic_data, "an answer that lost an address is not what was signed");

    let reply = world.ask("www.example.com.", RecordType::A).await;
    assert!(!reply.metadata.authentic_data, "who did not ask for it is not told");
}
