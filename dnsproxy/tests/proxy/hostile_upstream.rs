//! What an upstream, or who forges one, may send: only the answer to the question asked counts, and only within its bounds.

use std::{net::IpAddr, time::Duration};

use dnsproxy::{MAX_ADDRESSES, MAX_LINKS, Outcome, RecordType, ResponseCode, Unusable};
use hickory_proto::{op::Message, rr::Name};

use crate::{
    gate::{Says, ScriptedGate},
    upstream::{Act, ScriptedUpstream, Seen, address, answer_with, bytes, cname, empty_answer, honest_answer},
    world::{World, addresses, question, receive},
};

async fn ask(upstream: &ScriptedUpstream) -> (World, Message) {
    let gate = ScriptedGate::always(Says::Yes(Duration::from_secs(3600)));
    let world = World::start(&[upstream.address], gate).await;
    let reply = world.ask("www.example.com.", RecordType::A).await;
    (world, reply)
}

fn forged(seen: &Seen, change: impl FnOnce(&mut Message)) -> Vec<u8> {
    let mut message = empty_answer(seen);
    message.answers = vec![address("www.example.com.", 60, "198.51.100.66")];
    change(&mut message);
    bytes(&message)
}

#[tokio::test]
async fn only_the_answer_to_the_question_asked_counts() {
    let upstream = ScriptedUpstream::start(|seen| {
        let other = |name: &str| Name::from_ascii(name).unwrap();
        vec![
            Act::Send(forged(seen, |message| message.metadata.id ^= 1)),
            Act::Send(forged(seen, |message| message.queries[0].name = other("www.example.org."))),
            Act::Send(forged(seen, |message| message.queries[0].query_type = RecordType::AAAA)),
            Act::Send(forged(seen, |message| message.queries.clear())),
            Act::Send(forged(seen, |message| message.queries.push(message.queries[0].clone()))),
            Act::Send(forged(seen, |message| message.metadata.message_type = hickory_proto::op::MessageType::Query)),
            Act::Send(b"junk".to_vec()),
            Act::Send(Vec::new()),
            Act::Send(vec![0xff; 2000]),
            Act::FromElsewhere(forged(seen, |_| {})),
            Act::Wait(Duration::from_millis(50)),
            Act::Send(bytes(&honest_answer(seen))),
            Act::Send(forged(seen, |_| {})),
        ]
    })
    .await;
    let (world, reply) = ask(&upstream).await;
    assert_eq!(addresses(&reply), ["203.0.113.1".parse::<IpAddr>().unwrap()]);
    let stats = world.handle.stats();
    assert!(
        (9..=10).contains(&stats.upstream_strays),
        "what came from elsewhere did not even arrive, what came behind the answer may have"
    );
    assert_eq!(upstream.seen().len(), 1);
}

#[tokio::test]
async fn a_late_answer_still_counts_once_and_a_second_one_is_nobodys() {
    let upstream = ScriptedUpstream::start(|seen| {
        // Comes when the question has been asked once more.
        vec![Act::Wait(Duration::from_millis(1000)), Act::Send(bytes(&honest_answer(seen)))]
    })
    .await;
    let gate = ScriptedGate::always(Says::Yes(Duration::from_secs(3600)));
    let world = World::start(&[upstream.address], gate.clone()).await;
    let client = world.client().await;
    client.send(&question("www.example.com.", RecordType::A).to_vec().unwrap()).await.unwrap();
    assert_eq!(addresses(&receive(&client, Duration::from_secs(5)).await.unwrap()).len(), 1);
    assert!(receive(&client, Duration::from_millis(1500)).await.is_none(), "told once");
    assert_eq!(gate.asked().len(), 1);
    let ids: Vec<_> = upstream.seen().iter().map(|seen| seen.message.metadata.id).collect();
    assert!(ids.len() >= 2 && ids[0] != ids[1], "each try has its own id: {ids:?}");
    assert!(world.handle.stats().upstream_strays >= 1);
}

#[tokio::test]
async fn a_flood_of_strays_ends_in_a_bounded_number_of_tries() {
    // Whoever guesses has 64 guesses a socket, and never hits.
    let upstream = ScriptedUpstream::start(|_| (0..200).map(|_| Act::Send(b"junk that answers nothing".to_vec())).collect()).await;
    let (world, reply) = ask(&upstream).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    assert!(upstream.seen().len() <= 8, "{}", upstream.seen().len());
    assert!(world.handle.stats().upstream_strays <= 8 * 200);
}

#[tokio::test]
async fn loops_and_endless_chains_are_servfail() {
    let name = |n: usize| if n == 0 { "www.example.com.".to_owned() } else { format!("n{n}.example.org.") };
    let links = move |count: usize| (0..count).map(move |n| cname(&name(n), 60, &name(n + 1)));
    for (records, expected) in [
        (vec![cname("www.example.com.", 60, "www.example.com.")], Some(Unusable::Loop)),
        (vec![cname("www.example.com.", 60, "b.example.org."), cname("b.example.org.", 60, "WWW.example.com.")], Some(Unusable::Loop)),
        (links(MAX_LINKS + 1).chain([address(&name(MAX_LINKS + 1), 60, "203.0.113.1")]).collect(), Some(Unusable::TooManyLinks)),
        (links(MAX_LINKS).chain([address(&name(MAX_LINKS), 60, "203.0.113.1")]).collect(), None),
    ] {
        let upstream = ScriptedUpstream::start(move |seen| answer_with(seen, &records)).await;
        let (world, reply) = ask(&upstream).await;
        let heard = world.heard().await.remove(0).outcome;
        match expected {
            None => assert_eq!(addresses(&reply).len(), 1),
            Some(expected) => {
                assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
                assert!(matches!(heard, Outcome::Unusable(_, told) if told == expected), "{heard:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_thousand_addresses_are_servfail_and_256_are_told() {
    for (count, told) in [(1000, 0), (MAX_ADDRESSES + 1, 0), (MAX_ADDRESSES, MAX_ADDRESSES)] {
        let upstream = ScriptedUpstream::start(move |seen| {
            let mut message = empty_answer(seen);
            if !seen.tcp {
                message.metadata.truncation = true;
                return vec![Act::Send(bytes(&message))];
            }
            message.answers = (0..count).map(|n| address("www.example.com.", 60, &format!("198.18.{}.{}", n / 256, n % 256))).collect();
            // Doubled records are one address each.
            message.answers.extend(message.answers.clone());
            vec![Act::Send(bytes(&message))]
        })
        .await;
        let gate = ScriptedGate::always(Says::Yes(Duration::from_secs(3600)));
        let world = World::start(&[upstream.address], gate.clone()).await;
        let reply = world.ask_tcp(&crate::world::question("www.example.com.", RecordType::A)).await;
        assert_eq!(addresses(&reply).len(), told, "{count}");
        assert_eq!(gate.asked().len(), usize::from(told > 0));
        assert_eq!(reply.metadata.response_code == ResponseCode::ServFail, told == 0);
    }
}

#[tokio::test]
async fn addresses_of_another_class_type_or_owner_open_nothing() {
    let upstream = ScriptedUpstream::start(|seen| {
        let mut chaos = address("www.example.com.", 60, "198.51.100.1");
        chaos.dns_class = hickory_proto::rr::DNSClass::CH;
        answer_with(seen, &[chaos, address("www.example.com.", 60, "2001:db8::bad"), address("example.com.", 60, "198.51.100.2")])
    })
    .await;
    let (world, reply) = ask(&upstream).await;
    assert!(reply.answers.is_empty());
    assert_eq!(world.handle.stats().stray_records, 3);
}

#[tokio::test]
async fn a_ttl_with_the_top_bit_set_is_zero() {
    let upstream = ScriptedUpstream::start(|seen| answer_with(seen, &[address("www.example.com.", 0x8000_0001, "203.0.113.1")])).await;
    let (_, reply) = ask(&upstream).await;
    assert_eq!(reply.answers[0].ttl, 0);
}

/// Names that were compressed when they came take more room when they are written anew: what does not fit is never counted as told.
#[tokio::test]
async fn an_answer_that_grows_beyond_a_message_is_not_told_by_half() {
    let upstream = ScriptedUpstream::start(|seen| {
        let mut message = bytes(&empty_answer(seen));
        if !seen.tcp {
            message[2] |= 0x02;
            return vec![Act::Send(message)];
        }
        message.truncate(12 + "www.example.com.".len() + 1 + 4);
        message[6..12].copy_from_slice(&[2000_u16.to_be_bytes(), [0, 0], [0, 0]].concat());
        let target = u16::try_from(message.len() + 18).unwrap() | 0xc000;
        for n in 0..2000_u16 {
            let name = if n == 0 { [[&[63][..], &[b'x'; 63]].concat().repeat(3), vec![0]].concat() } else { target.to_be_bytes().to_vec() };
            message.extend([0xc0, 12, 0, 33, 0, 1, 0, 0, 1, 0]);
            message.extend(u16::try_from(name.len() + 6).unwrap().to_be_bytes());
            message.extend([0, 0, 0, 0, 1, 187]);
            message.extend(name);
        }
        vec![Act::Send(message)]
    })
    .await;
    let world = World::start(&[upstream.address], ScriptedGate::always(Says::Yes(Duration::from_secs(3600)))).await;
    let reply = world.ask_tcp(&question("www.example.com.", RecordType::SRV)).await;
    assert_eq!((reply.metadata.response_code, reply.answers.len()), (ResponseCode::ServFail, 0));
}
