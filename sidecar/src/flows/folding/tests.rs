use nft::{FlowOwner, RuleId, Volume};

use super::*;
use crate::flows::kind::{Owner, Seen, Volumes};
use crate::record::{Cause, Timestamp, Verdict};

fn kind(port: u16, cause: Option<Cause>) -> Kind {
    let owner = if cause.is_some() { Owner::Refused } else { Owner::Passed(FlowOwner::Rule(RuleId::MIN)) };
    Kind {
        seen: Seen {
            owner,
            source: [10, 0, 0, 2].into(),
            destination: [198, 51, 100, 7].into(),
            protocol: 6,
            port: Some(port),
            uid: Some(1000),
        },
        verdict: if cause.is_some() { Verdict::Refused } else { Verdict::Permitted },
        audit: false,
        names: vec!["a.example".to_owned()],
        rule: None,
        cause,
    }
}

fn at(ms: u64) -> Fold {
    Fold::one(Timestamp::from_millis(ms), Some(40_000))
}

#[test]
fn the_first_is_told_at_once_and_the_others_as_one() {
    let mut folding = Folding::default();
    let id = folding.place(kind(443, None)).unwrap();
    let first = folding.add(id, FlowEvent::Began, &at(0), 0).unwrap();
    assert_eq!((first.count, first.source_port), (1, Some(40_000)));
    for ms in [10, 20, 4_999] {
        assert!(folding.add(id, FlowEvent::Began, &at(ms), ms).is_none());
    }
    let mut told = Vec::new();
    folding.due(4_999, |record| told.push(record));
    assert!(told.is_empty());
    folding.due(5_000, |record| told.push(record));
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].count, told[0].first.millis(), told[0].last.millis(), told[0].source_port), (3, 10, 4_999, None));
    // Nothing came in the window after it: the next one is a first again.
    folding.due(10_000, |record| told.push(record));
    assert_eq!((told.len(), folding.places.len(), folding.open.len()), (1, 0, 0));
    let id = folding.place(kind(443, None)).unwrap();
    assert!(folding.add(id, FlowEvent::Began, &at(10_001), 10_001).is_some());
}

#[test]
fn ends_are_folded_for_themselves_with_their_volumes() {
    let mut folding = Folding::default();
    let id = folding.place(kind(443, None)).unwrap();
    let volume = |bytes| Volume { packets: 2, bytes };
    let end = |ms| Fold { volumes: Some(Volumes { sent: volume(100), received: volume(1000) }), duration_ms: Some(5), ..at(ms) };
    assert!(folding.add(id, FlowEvent::Began, &at(0), 0).is_some());
    folding.live(id, true);
    let first = folding.add(id, FlowEvent::Ended, &end(1), 1).unwrap();
    assert_eq!((first.bytes_sent, first.packets_received, first.duration_ms), (Some(100), Some(2), Some(5)));
    for ms in [2, 3] {
        assert!(folding.add(id, FlowEvent::Ended, &end(ms), ms).is_none());
    }
    let mut told = Vec::new();
    folding.all(|record| told.push(record));
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].event, told[0].count, told[0].bytes_received, told[0].duration_ms), (FlowEvent::Ended, 2, Some(2000), Some(10)));
    // A flow that lives keeps its kind.
    folding.due(u64::MAX, |_| {});
    assert_eq!(folding.places.len(), 1);
    folding.live(id, false);
    assert_eq!(folding.places.len(), 0);
}

#[test]
fn kinds_are_bounded_and_refused_ones_leave_room() {
    let mut folding = Folding::default();
    let refused = |port| folding_kind(port, true);
    let taken = (1..=u16::MAX).filter(|port| folding.place(refused(*port)).is_some()).count();
    assert_eq!(taken, MOST_REFUSED);
    let inbound = |port| {
        let kind = folding_kind(port, false);
        Kind { seen: Seen { owner: Owner::Passed(FlowOwner::Inbound), ..kind.seen }, ..kind }
    };
    let taken = (1..=u16::MAX).filter(|port| folding.place(inbound(*port)).is_some()).count();
    assert_eq!(taken, MOST_INBOUND);
    let taken = (1..=u16::MAX).filter(|port| folding.place(folding_kind(*port, false)).is_some()).count();
    assert_eq!(taken, MOST_KINDS - MOST_REFUSED - MOST_INBOUND);
    assert!(folding.place(folding_kind(1, false)).is_some(), "one that is known has its place");
}

fn folding_kind(port: u16, refused: bool) -> Kind {
    kind(port, refused.then_some(Cause::NeverResolved))
}
