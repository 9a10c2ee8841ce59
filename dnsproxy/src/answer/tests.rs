//! Whatever an answer says, what is told of it lies on the chain, is permitted, and has no longer a TTL than any link.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, Ipv6Addr},
};

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query as Question},
    rr::{
        RData,
        rdata::{A, AAAA, CNAME},
    },
};
use policies::{Date, Pod, Source, Surroundings, Verdict};
use proptest::prelude::*;

use super::*;
use crate::{
    observer::Transport,
    query::Parsed,
    reply::{Failure, Reply},
};

/// Names that answers are made of. The first is asked for, the last is denied.
const NAMES: [&str; 6] = ["q.example.com.", "a.example.", "b.example.", "c.example.", "Q.Example.Com.", "denied.example."];

fn policy() -> Policy {
    let text = r#"
version = 1
name = "test"
[[allow]]
name = "web"
hosts = ["q.example.com"]
ports = ["443"]
[[deny]]
hosts = ["denied.example"]
"#;
    let parsed = policies::parse(&Source::new("test.toml", text));
    let file = parsed.file.expect("a valid policy");
    let pod = Pod { namespace: String::new(), name: String::new(), labels: BTreeMap::new() };
    Policy::compile(&[file], &pod, &Surroundings::on(Date::new(2026, 8, 1).unwrap())).unwrap()
}

fn query(rtype: RecordType) -> Query {
    let mut message = Message::query();
    message.queries.push(Question::query(WireName::from_ascii(NAMES[0]).unwrap(), rtype));
    match Query::parse(&message.to_vec().unwrap(), Transport::Udp) {
        Parsed::Query(query) => query,
        other => panic!("{other:?}"),
    }
}

fn grant(policy: &Policy, query: &Query) -> Grant {
    match policy.judge(query.name()) {
        Verdict::Granted(grant) => grant,
        Verdict::Refused(refusal) => panic!("{refusal}"),
    }
}

fn name() -> impl Strategy<Value = WireName> {
    prop_oneof![10 => 0..NAMES.len() - 1, 1 => Just(NAMES.len() - 1)].prop_map(|index| WireName::from_ascii(NAMES[index]).unwrap())
}

/// Public, private, loopback and metadata addresses.
fn data() -> impl Strategy<Value = RData> {
    let v4 = prop_oneof![
        (0_u8..4).prop_map(|n| Ipv4Addr::new(203, 0, 113, n)),
        (0_u8..2).prop_map(|n| Ipv4Addr::new(10, 0, 0, n)),
        Just(Ipv4Addr::LOCALHOST),
        Just(Ipv4Addr::new(169, 254, 169, 254)),
    ];
    let v6 = prop_oneof![
        (0_u16..4).prop_map(|n| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, n)),
        Just(Ipv6Addr::LOCALHOST),
        Just(Ipv4Addr::LOCALHOST.to_ipv6_mapped()),
    ];
    prop_oneof![
        3 => name().prop_map(|target| RData::CNAME(CNAME(target))),
        3 => v4.prop_map(|address| RData::A(A(address))),
        2 => v6.prop_map(|address| RData::AAAA(AAAA(address))),
    ]
}

fn records() -> impl Strategy<Value = Vec<Record>> {
    let record = (name(), 0_u32..1000, data()).prop_map(|(name, ttl, data)| Record::from_rdata(name, ttl, data));
    prop::collection::vec(record, 0..14)
}

fn reply(records: &[Record], rcode: ResponseCode) -> UpstreamReply {
    let mut message = Message::new(1, MessageType::Response, OpCode::Query);
    message.metadata.response_code = rcode;
    message.answers = records.to_vec();
    message.authorities = records.to_vec();
    message.additionals = records.to_vec();
    UpstreamReply::trusted(message)
}

/// The slow way to say which names the chain of the first name passes; CNAMEs that come later for the same owner count for nothing.
fn reachable(records: &[Record]) -> Vec<WireName> {
    let mut names = vec![WireName::from_ascii(NAMES[0]).unwrap()];
    loop {
        let here = names.last().unwrap();
        let target = records.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == *here => Some(target.0.clone()),
            _ => None,
        });
        match target {
            Some(target) if !names.contains(&target) => names.push(target),
            _ => return names,
        }
    }
}

proptest! {

    #[test]
    fn what_is_told_is_on_the_chain_and_permitted(records in records(), six: bool) {
        let rtype = if six { RecordType::AAAA } else { RecordType::A };
        let (policy, query) = (policy(), query(rtype));
        let names = reachable(&records);
        let denied = WireName::from_ascii(NAMES[5]).unwrap();
        let grant = grant(&policy, &query);
        let expected: BTreeSet<IpAddr> = records
            .iter()
            .filter(|record| record.name == *names.last().unwrap() && record.record_type() == rtype)
            .filter_map(|record| record.data.ip_addr())
            .filter(|address| grant.permits_address(*address).is_ok())
            .collect();
        match verify(&policy, grant.clone(), &query, &reply(&records, ResponseCode::NoError)) {
            Ok(Verified::Addresses(answer)) => {
                prop_assert_eq!(answer.addresses().iter().copied().collect::<BTreeSet<_>>(), expected);
                prop_assert!(!names.contains(&denied));
                for record in answer.records() {
                    prop_assert!(names.contains(&record.name));
                    prop_assert!(answer.ttl() <= record.ttl);
                }
            }
            Ok(Verified::Plain(plain)) => {
                prop_assert!(expected.is_empty());
                let told = Message::from_vec(Reply::plain(&query, &plain).bytes()).unwrap();
                prop_assert!(told.all_sections().all(|record| record.data.ip_addr().is_none()));
            }
            Ok(Verified::Refused(_)) => prop_assert!(names.contains(&denied)),
            Err(unusable) => prop_assert_eq!(unusable, Unusable::Loop),
        }
    }

    #[test]
    fn nothing_is_opened_for_an_answer_that_says_there_is_no_such_name(records in records()) {
        let (policy, query) = (policy(), query(RecordType::A));
        let verified = verify(&policy, grant(&policy, &query), &query, &reply(&records, ResponseCode::NXDomain));
        prop_assert!(!matches!(verified, Ok(Verified::Addresses(_))));
    }

    #[test]
    fn any_message_is_verified_without_panic(bytes in prop::collection::vec(any::<u8>(), 12..300), counts in 0_u8..4) {
        let mut bytes = bytes;
        bytes[4..12].copy_from_slice(&[0, 0, 0, counts, 0, 1, 0, 0]);
        if let Ok(message) = Message::from_vec(&bytes) {
            let (policy, query) = (policy(), query(RecordType::A));
            let _ = verify(&policy, grant(&policy, &query), &query, &UpstreamReply::trusted(message));
        }
    }
}

#[test]
fn an_answer_released_to_another_question_is_servfail() {
    struct Yes;
    impl crate::Gate for Yes {
        async fn open(&self, _: &PermittedAnswer) -> Result<crate::Opened, crate::OpenError> {
            Ok(crate::Opened { until: std::time::Instant::now() + std::time::Duration::from_secs(60) })
        }
    }
    let policy = policy();
    let asked = query(RecordType::A);
    let records = [Record::from_rdata(WireName::from_ascii(NAMES[0]).unwrap(), 60, RData::A(A::new(203, 0, 113, 1)))];
    let Ok(Verified::Addresses(answer)) = verify(&policy, grant(&policy, &asked), &asked, &reply(&records, ResponseCode::NoError)) else {
        panic!()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let committed =
        runtime.block_on(crate::Committed::by(&Yes, answer, std::time::Duration::from_secs(1))).map_err(|(_, failure)| failure).unwrap();
    assert_eq!(Reply::release(&asked, &committed).rcode(), ResponseCode::NoError);
    let other = query(RecordType::AAAA);
    assert_eq!(Reply::release(&other, &committed), Reply::fail(&other, Failure::Gate));
}

#[test]
fn a_plain_reply_drops_an_address_that_should_never_have_come_so_far() {
    let (policy, query) = (policy(), query(RecordType::TXT));
    let address = Record::from_rdata(WireName::from_ascii(NAMES[0]).unwrap(), 60, RData::A(A::new(203, 0, 113, 1)));
    let answer = PlainAnswer {
        grant: grant(&policy, &query),
        rcode: ResponseCode::NoError,
        answers: vec![address.clone()],
        authorities: vec![address],
        authentic: false,
        left_out: LeftOut::default(),
    };
    let told = Message::from_vec(Reply::plain(&query, &answer).bytes()).unwrap();
    assert_eq!(told.all_sections().count(), 0);
}
