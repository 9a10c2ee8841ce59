//! Whatever is encoded fits, can be read again, and keeps its OPT record.

use std::net::Ipv4Addr;

use hickory_proto::{
    op::{MessageType, OpCode, Query as Question},
    rr::rdata::{A, opt::EdnsCode},
};
use proptest::prelude::*;

use super::*;

fn message(addresses: u32) -> Message {
    let name = WireName::from_ascii("www.example.com.").unwrap();
    let mut message = Message::new(7, MessageType::Response, OpCode::Query);
    message.queries.push(Question::query(name.clone(), RecordType::A));
    message.answers = (0..addresses).map(|n| Record::from_rdata(name.clone(), 60, RData::A(A(Ipv4Addr::from(0xc612_0000 + n))))).collect();
    message
}

#[test]
fn a_long_error_text_is_cut_at_a_character() {
    let opt = Opt { error: Some((15, "ä".repeat(300))), ..Opt::default() };
    let bytes = encode(&message(0), Some(&opt), UDP_PLAIN).unwrap();
    let read = Message::from_vec(&bytes).unwrap();
    let option = read.edns.as_ref().unwrap().option(EdnsCode::from(15)).unwrap();
    assert_eq!(usize::from(option.len()), 2 + EDE_TEXT);
}

#[test]
fn a_name_that_fills_255_bytes_still_fits_with_its_error() {
    let label = "a".repeat(63);
    let name = WireName::from_ascii(format!("{label}.{label}.{label}.{}.", "a".repeat(61))).unwrap();
    let mut message = message(0);
    message.queries = vec![Question::query(name, RecordType::A)];
    let opt = Opt { error: Some((15, "x".repeat(300))), ..Opt::default() };
    let bytes = encode(&message, Some(&opt), UDP_PLAIN).unwrap();
    assert!(!Message::from_vec(&bytes).unwrap().metadata.truncation);
}

#[test]
fn the_last_resort_is_a_servfail_that_can_be_read() {
    let read = Message::from_vec(&bare_servfail(0xabcd, true)).unwrap();
    assert_eq!((read.metadata.id, read.metadata.message_type), (0xabcd, MessageType::Response));
    assert_eq!(read.metadata.response_code, hickory_proto::op::ResponseCode::ServFail);
    assert!(read.metadata.recursion_available && read.metadata.recursion_desired);
}

proptest! {
    #[test]
    fn what_is_encoded_fits_and_is_truncated_only_when_it_must_be(
        count in 0_u32..120,
        limit in UDP_PLAIN..3000,
        text in prop::option::of(".{0,200}"),
        with_opt: bool,
    ) {
        let message = message(count);
        let opt = with_opt.then(|| Opt { error: text.map(|text| (15, text)), ..Opt::default() });
        let whole = encode(&message, opt.as_ref(), u16::MAX).unwrap();
        let bytes = encode(&message, opt.as_ref(), limit).unwrap();
        prop_assert!(bytes.len() <= usize::from(limit));
        let read = Message::from_vec(&bytes).unwrap();
        prop_assert_eq!(read.metadata.truncation, whole.len() > usize::from(limit));
        prop_assert_eq!(&read.answers[..], &message.answers[..read.answers.len()]);
        prop_assert_eq!(read.edns.is_some(), with_opt);
        if read.metadata.truncation {
            prop_assert!(bytes.len() + 16 > usize::from(limit), "room for one more record was left");
        }
    }
}
