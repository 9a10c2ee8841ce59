//! Whatever is written fits, can be read again, and keeps its OPT record.

use hickory_proto::{
    op::{Message, MessageType},
    rr::{Name as WireName, rdata::opt::EdnsCode},
};
use proptest::prelude::*;

use super::*;
use crate::query::ClientEdns;

/// `count` addresses of the name asked for.
fn addresses(count: u16) -> Body {
    let record = |n: u16| [&[0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 0, 0, 4, 198, 18][..], &n.to_be_bytes()].concat();
    Body { octets: (0..count).flat_map(record).collect(), answers: count, authorities: 0, marks: Marks::default() }
}

fn asker(section: &[u8], edns: Option<ClientEdns>, transport: Transport) -> Glimpse<'_> {
    let head = Head { id: 7, recursion_desired: true, checking_disabled: false, authentic_data: false, edns, transport };
    let question = crate::question::Question { name: &[], rtype: 1, dnssec_ok: false, checking_disabled: false };
    Glimpse { head, question, section }
}

const SECTION: &[u8] = b"\x03WWW\x07example\x03com\0\0\x01\0\x01";

#[test]
fn a_long_error_text_is_cut_at_a_character() {
    let text: &'static str = Box::leak("ä".repeat(300).into_boxed_str());
    let mut out = Vec::new();
    let edns = ClientEdns { payload: 512, dnssec_ok: false };
    Reply::bare(ResponseCode::NoError).with_error(15, text).write(&asker(SECTION, Some(edns), Transport::Udp), &mut out);
    let read = Message::from_vec(&out).unwrap();
    let option = read.edns.as_ref().unwrap().option(EdnsCode::from(15)).unwrap();
    assert_eq!(usize::from(option.len()), 2 + 150);
}

#[test]
fn a_name_that_fills_255_bytes_still_fits_with_its_error() {
    let label = [&[63][..], &[b'a'; 63]].concat();
    let section = [&label, &label, &label, &[61][..], &[b'a'; 61], &[0, 0, 1, 0, 1]].concat();
    let mut out = Vec::new();
    let edns = ClientEdns { payload: 0, dnssec_ok: false };
    let text: &'static str = Box::leak("x".repeat(300).into_boxed_str());
    Reply::empty().with_error(15, text).write(&asker(&section, Some(edns), Transport::Udp), &mut out);
    assert!(out.len() <= 512);
    let read = Message::from_vec(&out).unwrap();
    assert_eq!(read.queries[0].name.iter().map(|label| label.len() + 1).sum::<usize>(), 254);
    assert_eq!(read.metadata.message_type, MessageType::Response);
    assert!(!read.metadata.truncation && read.authorities.len() == 1);
}

#[test]
fn every_reply_of_our_own_can_be_read() {
    for (reply, answers, authorities) in [(Reply::empty(), 0, 1), (Reply::minimal_any(), 1, 0), (Reply::fail(Failure::Gate), 0, 0)] {
        let mut out = Vec::new();
        reply.write(&asker(SECTION, None, Transport::Udp), &mut out);
        let read = Message::from_vec(&out).unwrap();
        assert_eq!((read.answers.len(), read.authorities.len()), (answers, authorities));
        let records = read.answers.iter().chain(&read.authorities);
        assert!(records.into_iter().all(|record| record.name == WireName::from_ascii("www.example.com.").unwrap()));
    }
}

proptest! {
    #[test]
    fn what_is_written_fits_and_is_truncated_only_when_it_must_be(
        count in 0_u16..120,
        payload in 0_u16..3000,
        error: bool,
        with_opt: bool,
        tcp: bool,
        ttl: u32,
    ) {
        let body = addresses(count);
        let reply = Reply::of(&body, ttl);
        let reply = if error { reply.with_error(3, "something is to be said") } else { reply };
        let edns = with_opt.then_some(ClientEdns { payload, dnssec_ok: true });
        let limit = if with_opt { usize::from(payload.clamp(512, 1232)) } else { 512 };
        let (mut whole, mut out) = (Vec::new(), Vec::new());
        reply.write(&asker(SECTION, edns, Transport::Tcp), &mut whole);
        reply.write(&asker(SECTION, edns, if tcp { Transport::Tcp } else { Transport::Udp }), &mut out);
        let read = Message::from_vec(&out).unwrap();
        prop_assert_eq!(read.queries[0].name.to_ascii(), "WWW.example.com.");
        prop_assert_eq!(read.metadata.truncation, !tcp && whole.len() > limit);
        prop_assert!(tcp || out.len() <= limit);
        prop_assert_eq!(read.edns.is_some(), with_opt);
        prop_assert!(read.answers.iter().all(|record| record.ttl == ttl && record.data.ip_addr().is_some()));
        match read.metadata.truncation {
            true => prop_assert!(out.len() + 16 > limit, "room for one more record was left"),
            false => prop_assert_eq!(read.answers.len(), usize::from(count)),
        }
    }
}
