//! Whatever an answer says, what is told of it lies on the chain, is permitted, and has no longer a TTL than any link.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, Ipv6Addr},
};

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query as WireQuestion},
    rr::{
        RData,
        rdata::{A, AAAA, CNAME},
    },
};
use policies::{Date, Pod, Source, Surroundings, Verdict};
use proptest::prelude::*;

use super::*;

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

fn question(rtype: RecordType) -> Question<'static> {
    Question { name: b"\x01q\x07example\x03com", rtype: rtype.into(), dnssec_ok: false, checking_disabled: false }
}

fn grant(policy: &Policy) -> Grant {
    match policy.judge(&Name::parse(NAMES[0]).unwrap()) {
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

/// The message of an upstream with these records in every section.
fn message(rtype: RecordType, records: &[Record], rcode: ResponseCode) -> Vec<u8> {
    let mut message = Message::new(1, MessageType::Response, OpCode::Query);
    message.metadata.response_code = rcode;
    message.queries.push(WireQuestion::query(WireName::from_ascii(NAMES[0]).unwrap(), rtype));
    message.answers = records.to_vec();
    message.authorities = records.to_vec();
    message.additionals = records.to_vec();
    message.to_vec().unwrap()
}

/// A body, read as it would be told.
fn read(body: &Body, rtype: RecordType) -> Message {
    Message::from_vec(&body::message(question(rtype), &body.octets, body.answers, body.authorities, body.marks)).unwrap()
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
        let policy = policy();
        let names = reachable(&records);
        let denied = WireName::from_ascii(NAMES[5]).unwrap();
        let grant = grant(&policy);
        let expected: BTreeSet<IpAddr> = records
            .iter()
            .filter(|record| record.name == *names.last().unwrap() && record.record_type() == rtype)
            .filter_map(|record| record.data.ip_addr())
            .filter(|address| grant.permits_address(*address).is_ok())
            .collect();
        match verify(&policy, &grant, question(rtype), &message(rtype, &records, ResponseCode::NoError)) {
            Ok(Verified::Addresses(answer)) => {
                let told = read(answer.body(), rtype);
                prop_assert_eq!(answer.addresses().iter().copied().collect::<BTreeSet<_>>(), expected.clone());
                prop_assert_eq!(told.answers.iter().filter_map(|record| record.data.ip_addr()).collect::<BTreeSet<_>>(), expected);
                prop_assert!(!names.contains(&denied));
                prop_assert!(told.authorities.is_empty() && told.additionals.is_empty());
                for record in &told.answers {
                    prop_assert!(names.contains(&record.name));
                    prop_assert!(answer.ttl() <= record.ttl);
                }
            }
            Ok(Verified::Plain(plain)) => {
                prop_assert!(expected.is_empty());
                prop_assert!(read(&plain.body, rtype).all_sections().all(|record| record.data.ip_addr().is_none()));
            }
            Ok(Verified::Refused(_)) => prop_assert!(names.contains(&denied)),
            Err(unusable) => prop_assert_eq!(unusable, Unusable::Loop),
        }
    }

    /// The fast path takes only what the careful one takes, and makes the same of it.
    #[test]
    fn the_swift_way_comes_to_what_the_careful_one_comes_to(links in 0_usize..4, addresses in 1_u8..5, stray in records(), place: prop::sample::Index) {
        let policy = policy();
        let owner = |link: usize| WireName::from_ascii(NAMES[link]).unwrap();
        let mut records: Vec<_> =
            (0..links).map(|link| Record::from_rdata(owner(link), 100 + link as u32, RData::CNAME(CNAME(owner(link + 1))))).collect();
        records.extend((0..addresses).map(|n| Record::from_rdata(owner(links), 90 + u32::from(n), RData::A(A::new(203, 0, 113, n)))));
        let plain = message(RecordType::A, &records, ResponseCode::NoError);
        let swift = swift::verify(&policy, &grant(&policy), question(RecordType::A), &plain);
        prop_assert!(swift.is_some(), "the plain answer is for the fast path");
        equal(&policy, &plain, swift)?;
        if let Some(record) = stray.first() {
            records.insert(place.index(records.len() + 1), record.clone());
        }
        let odd = message(RecordType::A, &records, ResponseCode::NoError);
        let swift = swift::verify(&policy, &grant(&policy), question(RecordType::A), &odd);
        equal(&policy, &odd, swift)?;
    }

    #[test]
    fn nothing_is_opened_for_an_answer_that_says_there_is_no_such_name(records in records()) {
        let policy = policy();
        let verified = verify(&policy, &grant(&policy), question(RecordType::A), &message(RecordType::A, &records, ResponseCode::NXDomain));
        prop_assert!(!matches!(verified, Ok(Verified::Addresses(_))));
    }

    #[test]
    fn any_message_is_verified_without_panic(bytes in prop::collection::vec(any::<u8>(), 31..300), counts in 0_u8..4) {
        let policy = policy();
        let mut bytes = [&message(RecordType::A, &[], ResponseCode::NoError)[..], &bytes].concat();
        bytes[6..8].copy_from_slice(&[0, counts]);
        let swift = swift::verify(&policy, &grant(&policy), question(RecordType::A), &bytes);
        let careful = verify_carefully(&policy, grant(&policy), question(RecordType::A), &bytes);
        prop_assert!(swift.is_none() || careful.is_ok());
    }
}

/// Both ways tell the same records, addresses and TTL.
fn equal(policy: &Policy, message: &[u8], swift: Option<PermittedAnswer>) -> Result<(), TestCaseError> {
    let Some(swift) = swift else { return Ok(()) };
    let careful = verify_carefully(policy, grant(policy), question(RecordType::A), message);
    let Ok(Verified::Addresses(careful)) = careful else { return Err(TestCaseError::fail(format!("{careful:?}"))) };
    prop_assert_eq!(swift.addresses(), careful.addresses());
    prop_assert_eq!((swift.ttl(), swift.chain(), swift.left_out()), (careful.ttl(), careful.chain(), careful.left_out()));
    prop_assert_eq!(read(swift.body(), RecordType::A).answers, read(careful.body(), RecordType::A).answers);
    Ok(())
}

#[test]
fn hints_go_and_the_rest_of_a_service_binding_stays() {
    use hickory_proto::rr::rdata::{
        HTTPS,
        svcb::{IpHint, Mandatory, SVCB, SvcParamKey, SvcParamValue},
    };
    let parameters = vec![
        (SvcParamKey::Mandatory, SvcParamValue::Mandatory(Mandatory(vec![SvcParamKey::Ipv4Hint, SvcParamKey::Port]))),
        (SvcParamKey::Port, SvcParamValue::Port(8443)),
        (SvcParamKey::Ipv4Hint, SvcParamValue::Ipv4Hint(IpHint(vec![A::new(203, 0, 113, 9)]))),
        (SvcParamKey::Ipv6Hint, SvcParamValue::Ipv6Hint(IpHint(vec![AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9)]))),
    ];
    let owner = WireName::from_ascii(NAMES[0]).unwrap();
    let record = Record::from_rdata(owner.clone(), 60, RData::HTTPS(HTTPS(SVCB::new(1, owner, parameters))));
    let policy = policy();
    let message = message(RecordType::HTTPS, &[record], ResponseCode::NoError);
    let Ok(Verified::Plain(plain)) = verify(&policy, &grant(&policy), question(RecordType::HTTPS), &message) else { panic!() };
    let told = read(&plain.body, RecordType::HTTPS);
    let RData::HTTPS(https) = &told.answers[0].data else { panic!() };
    let left: Vec<_> = https.0.svc_params.iter().map(|(key, _)| *key).collect();
    assert_eq!(left, [SvcParamKey::Mandatory, SvcParamKey::Port]);
    assert!(matches!(&https.0.svc_params[0].1, SvcParamValue::Mandatory(mandatory) if mandatory.0 == [SvcParamKey::Port]));
}
