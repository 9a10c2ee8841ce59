//! Parsing never panics, and what it lets through has the shape it promises.

use hickory_proto::op::Query as Question;
use proptest::prelude::*;

use super::*;
use crate::{
    glimpse::{NAME, glimpse},
    reply::Reply,
};

fn valid(name: &str, rtype: RecordType) -> Vec<u8> {
    let mut message = Message::query();
    message.queries.push(Question::query(WireName::from_ascii(name).unwrap(), rtype));
    message.to_vec().unwrap()
}

fn rcode(bytes: &[u8]) -> Option<ResponseCode> {
    match Query::parse(bytes, Transport::Udp) {
        Parsed::Rejected(rejected) => Some(rejected.rcode()),
        Parsed::Query(_) => Some(ResponseCode::NoError),
        Parsed::Ignored => None,
    }
}

#[test]
fn a_plain_question_is_read() {
    let Parsed::Query(query) = Query::parse(&valid("WWW.example.com.", RecordType::A), Transport::Udp) else { panic!() };
    assert_eq!(query.name().to_string(), "www.example.com");
    assert_eq!(query.wire_name().to_ascii(), "WWW.example.com.");
    assert!(query.wants_addresses() && !query.dnssec_ok());
}

#[test]
fn types_that_are_no_question_are_turned_away() {
    for (rtype, expected) in [
        (0, ResponseCode::FormErr),
        (41, ResponseCode::FormErr),
        (249, ResponseCode::FormErr),
        (250, ResponseCode::FormErr),
        (251, ResponseCode::Refused),
        (252, ResponseCode::Refused),
        (253, ResponseCode::FormErr),
        (255, ResponseCode::NoError),
        (256, ResponseCode::NoError),
        (65_535, ResponseCode::NoError),
    ] {
        assert_eq!(rcode(&valid("example.com.", RecordType::from(rtype))), Some(expected), "{rtype}");
    }
}

#[test]
fn two_opt_records_are_a_format_error() {
    let mut bytes = valid("example.com.", RecordType::A);
    let opt = [0, 0, 41, 4, 0xd0, 0, 0, 0, 0, 0, 0];
    bytes.extend(opt);
    bytes[11] = 1;
    assert_eq!(rcode(&bytes), Some(ResponseCode::NoError));
    bytes.extend(opt);
    bytes[11] = 2;
    assert_eq!(rcode(&bytes), Some(ResponseCode::FormErr));
}

proptest! {
    #![proptest_config(more_cases())]

    #[test]
    fn any_bytes_get_a_reply_that_can_be_read_or_none(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        check(&bytes)?;
    }

    /// Most random bytes fail at the header; these get past it.
    #[test]
    fn bytes_behind_a_good_header_do_too(
        additionals in 0_u16..3,
        tail in prop::collection::vec(any::<u16>().prop_map(telling), 0..300),
    ) {
        let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0];
        bytes.extend(additionals.to_be_bytes());
        bytes.extend(tail);
        check(&bytes)?;
    }

    #[test]
    fn a_good_question_with_one_byte_changed_does_too(place in 0_usize..60, value: u8) {
        let mut message = Message::query();
        message.queries.push(Question::query(WireName::from_ascii("www.example.com.").unwrap(), RecordType::A));
        message.edns = Some(hickory_proto::op::Edns::new());
        let mut bytes = message.to_vec().unwrap();
        if let Some(byte) = bytes.get_mut(place) {
            *byte = value;
        }
        check(&bytes)?;
    }
}

/// 4,000 cases, or as many more as `PROPTEST_CASES` says.
fn more_cases() -> ProptestConfig {
    let config = ProptestConfig::default();
    ProptestConfig { cases: config.cases.max(4000), ..config }
}

/// Every second byte one that means something to a parser: the root, a pointer, the place behind the header, the type OPT.
fn telling(random: u16) -> u8 {
    match random.to_be_bytes() {
        [0..128, byte] => byte,
        [_, byte] => [0, 0xc0, 12, 41][usize::from(byte % 4)],
    }
}

/// Parses, and answers whatever came out of it.
fn check(bytes: &[u8]) -> Result<(), TestCaseError> {
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut out = Vec::new();
        let parsed = Query::parse(bytes, transport);
        same(bytes, transport, &parsed)?;
        match parsed {
            Parsed::Ignored => prop_assert!(bytes.len() < 12 || bytes[2] & 0x80 != 0),
            Parsed::Rejected(rejected) => {
                Reply::write_rejected(&rejected, &mut out);
                prop_assert_ne!(rejected.rcode(), ResponseCode::NoError);
                readable(&out, rejected.rcode(), bytes)?;
            }
            Parsed::Query(query) => {
                let reply = Reply::fail(crate::reply::Failure::Upstream);
                reply.write(&query.glimpse(), &mut out);
                readable(&out, reply.rcode(), bytes)?;
            }
        }
    }
    Ok(())
}

/// What a glimpse takes, it takes for what it is; and it takes every plain question.
fn same(bytes: &[u8], transport: Transport, parsed: &Parsed) -> Result<(), TestCaseError> {
    let mut scratch = [0; NAME];
    match (glimpse(bytes, &mut scratch, transport), parsed) {
        (Some(seen), Parsed::Query(query)) => prop_assert_eq!(seen, query.glimpse()),
        (Some(_), other) => prop_assert!(false, "taken for a question: {other:?}"),
        (None, _) => {}
    }
    Ok(())
}

/// The reply can be read, fits, bears the id, and says it is a reply.
fn readable(reply: &[u8], rcode: ResponseCode, query: &[u8]) -> Result<(), TestCaseError> {
    let message = Message::from_vec(reply).expect("our own reply");
    prop_assert_eq!(message.metadata.id.to_be_bytes(), [query[0], query[1]]);
    prop_assert_eq!(message.metadata.message_type, MessageType::Response);
    // By number: 16 has two names.
    prop_assert_eq!(u16::from(message.metadata.response_code), u16::from(rcode));
    prop_assert!(reply.len() <= 1232);
    Ok(())
}

#[test]
fn a_plain_question_is_glimpsed() {
    let mut message = Message::query();
    message.queries.push(Question::query(WireName::from_ascii("WWW.example.com.").unwrap(), RecordType::AAAA));
    let mut edns = hickory_proto::op::Edns::new();
    edns.set_max_payload(4096).set_dnssec_ok(true);
    for edns in [None, Some(edns)] {
        message.edns = edns;
        let (bytes, mut scratch) = (message.to_vec().unwrap(), [0; NAME]);
        let Parsed::Query(query) = Query::parse(&bytes, Transport::Udp) else { panic!() };
        assert_eq!(glimpse(&bytes, &mut scratch, Transport::Udp), Some(query.glimpse()));
    }
}
