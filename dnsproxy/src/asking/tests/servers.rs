//! Whom a question goes to: errors, time-outs, the dead and the fast.

use super::*;
use crate::asking::server::Trouble;

/// A bed with two servers that were both measured: the first is the faster one.
fn two() -> (Scripted, Scripted, Bed) {
    let (a, b) = (Scripted::new(), Scripted::new());
    let mut bed = Bed::new(&[&a, &b]);
    bed.ask();
    let (at_a, at_b) = (a.take(), b.take());
    bed.now += Duration::from_millis(1);
    a.say(&at_a.answer(1), &at_a);
    bed.outcome();
    bed.now += Duration::from_millis(9);
    b.say(&at_b.answer(1), &at_b);
    bed.until(|bed| bed.health()[1].round_trip.is_some());
    // For a while nobody is measured again, so that the tests can count.
    (a, b, bed)
}

#[test]
fn an_error_code_sends_the_question_to_the_next_server() {
    let (a, b, mut bed) = two();
    for rcode in [2, 5] {
        bed.ask();
        let seen = a.take();
        a.say(&seen.reply(rcode), &seen);
        bed.until(|bed| bed.health()[0].failed == u64::from(rcode) / 2);
        let seen = b.take();
        b.say(&seen.answer(9), &seen);
        assert_eq!(bed.outcome().1.answer(), (9, b.address));
    }
    let health = bed.health();
    assert!(health[0].is_up());
    assert_eq!((health[0].failed_in_a_row, health[0].last_trouble), (0, Some(Trouble::ErrorCode)));
}

#[test]
fn when_all_say_errors_it_is_over_at_once() {
    let (a, b, mut bed) = two();
    bed.ask();
    let seen = a.take();
    a.say(&seen.reply(2), &seen);
    bed.until(|bed| bed.health()[0].failed == 1);
    let seen = b.take();
    b.say(&seen.reply(5), &seen);
    assert_eq!(bed.outcome().1, Told::Failed(Failure::Errors));
    assert_eq!(bed.asking.deadline(), None);
    bed.pass(SOON);
    assert!(a.drain().is_empty() && b.drain().is_empty());
    assert_eq!(bed.counters.snapshot().upstream_errors, 2);
}

#[test]
fn an_error_without_the_question_is_that_error() {
    let server = Scripted::new();
    let mut bed = Bed::new(&[&server]);
    bed.ask();
    let seen = server.take();
    let mut reply = seen.reply(2);
    reply.truncate(12);
    reply[5] = 0;
    server.say(&reply, &seen);
    assert_eq!(bed.outcome().1, Told::Failed(Failure::Errors));
}

#[test]
fn one_that_only_says_errors_is_asked_behind_the_other() {
    let (a, b, mut bed) = two();
    for _ in 0..3 {
        bed.ask();
        let seen = a.take();
        a.say(&seen.reply(2), &seen);
        let seen = b.take_with(&mut bed);
        b.say(&seen.answer(1), &seen);
        bed.outcome();
    }
    bed.ask();
    let seen = b.take();
    b.say(&seen.answer(1), &seen);
    assert_eq!(bed.outcome().1.answer().1, b.address);
}

#[test]
fn a_silent_server_is_followed_by_the_next_and_still_heard() {
    let (a, b, mut bed) = two();
    bed.ask();
    let at_a = a.take();
    // Both answered within 10 ms: the shortest wait holds.
    bed.pass(Duration::from_millis(199));
    assert!(b.drain().is_empty());
    bed.pass(Duration::from_millis(10));
    let _ = b.take();
    a.say(&at_a.answer(5), &at_a);
    assert_eq!(bed.outcome().1.answer(), (5, a.address));
    assert_eq!(bed.counters.snapshot().upstream_errors, 1);
}

#[test]
fn the_answer_of_the_second_settles_and_that_of_the_first_then_does_not() {
    let (a, b, mut bed) = two();
    bed.ask();
    let at_a = a.take();
    bed.pass(Duration::from_millis(210));
    let at_b = b.take();
    b.say(&at_b.answer(6), &at_b);
    assert_eq!(bed.outcome().1.answer(), (6, b.address));
    a.say(&at_a.answer(5), &at_a);
    bed.round(Duration::from_millis(100));
    assert!(bed.told.is_empty());
}

#[test]
fn the_wait_doubles_each_round_and_all_of_it_is_bounded() {
    let server = Scripted::new();
    let mut bed = Bed::new(&[&server]);
    bed.answered_by(&server, Duration::from_millis(1));
    bed.ask();
    let begun = bed.now;
    let mut sent = Vec::new();
    while bed.told.is_empty() {
        sent.extend(server.drain().iter().map(|_| (bed.now - begun).as_millis()));
        bed.pass(Duration::from_millis(10));
    }
    for (sent, expected) in sent.iter().zip([0, 200, 600, 1400, 3000]) {
        assert!((expected..expected + 30).contains(sent), "{sent} {expected}");
    }
    assert_eq!(sent.len(), 5);
    assert_eq!(bed.told[0].1, Told::Failed(Failure::Silent));
    assert!((4500..4520).contains(&(bed.now - begun).as_millis()));
}

#[test]
fn an_unreachable_server_is_followed_by_the_next_at_once() {
    let (a, b, mut bed) = two();
    drop(a.socket);
    bed.ask();
    bed.until(|bed| bed.health()[0].last_trouble == Some(Trouble::Unreachable));
    let seen = b.take();
    b.say(&seen.answer(3), &seen);
    assert_eq!(bed.outcome().1.answer(), (3, b.address));
}

#[test]
fn where_nobody_is_reachable_it_is_tried_again_a_little_later() {
    let server = Scripted::new();
    let mut bed = Bed::new(&[&server]);
    let address = server.address;
    drop(server.socket);
    let ticket = bed.ask();
    bed.until(|bed| bed.health()[0].failed == 1);
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let server = Scripted { socket, address };
    bed.pass(Duration::from_millis(201));
    let seen = server.take();
    server.say(&seen.answer(3), &seen);
    assert_eq!(bed.outcome(), (ticket, Told::Answer { message: lowered(&seen.answer(3)), from: address }));
}

fn lowered(answer: &[u8]) -> Vec<u8> {
    let mut answer = answer.to_vec();
    answer[12..12 + NAME.len()].make_ascii_lowercase();
    answer
}

#[test]
fn where_nobody_is_ever_reachable_it_is_over_before_the_time() {
    let server = Scripted::new();
    let mut bed = Bed::new(&[&server]);
    drop(server.socket);
    bed.ask();
    for failed in 1..=3 {
        bed.until(|bed| bed.health()[0].failed == failed);
        bed.pass(Duration::from_millis(200 * failed));
    }
    assert_eq!(bed.told.len(), 1);
    assert_eq!(bed.told[0].1, Told::Failed(Failure::Silent));
    assert!(bed.asking.all_down());
}

#[test]
fn three_time_outs_make_a_server_the_last_one_and_a_probe_brings_it_back() {
    let (a, b, mut bed) = two();
    for _ in 0..3 {
        bed.ask();
        bed.pass(Duration::from_millis(210));
        let seen = b.take();
        b.say(&seen.answer(1), &seen);
        bed.outcome();
    }
    assert!(!bed.health()[0].is_up() && !bed.asking.all_down());
    let _ = a.drain();
    // From now on the second is asked first, and the first one gets a copy at most once a second, then less often.
    let mut probes = Vec::new();
    let begun = bed.now;
    for _ in 0..200 {
        bed.ask();
        probes.extend(a.drain().into_iter().map(|seen| ((bed.now - begun).as_millis(), seen)));
        let seen = b.take();
        bed.now += Duration::from_millis(20);
        b.say(&seen.answer(1), &seen);
        bed.outcome();
        bed.pass(Duration::from_millis(180));
    }
    let times: Vec<_> = probes.iter().map(|(at, _)| *at).collect();
    assert!((5..=7).contains(&times.len()), "{times:?}");
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 1000), "{times:?}");
    assert!(times.windows(2).any(|pair| pair[1] - pair[0] >= 8000), "{times:?}");
    assert!(!bed.health()[0].is_up());

    // It lives again: the next probe is answered, and that is all it takes.
    let probe = loop {
        bed.ask();
        let seen = b.take();
        b.say(&seen.answer(1), &seen);
        bed.outcome();
        if let Some(probe) = a.drain().pop() {
            break probe;
        }
        bed.pass(Duration::from_secs(1));
    };
    a.say(&probe.answer(1), &probe);
    bed.until(|bed| bed.health()[0].is_up());
    bed.ask();
    let seen = a.take();
    a.say(&seen.answer(2), &seen);
    assert_eq!(bed.outcome().1.answer(), (2, a.address));
}

#[test]
fn time_outs_are_not_held_against_a_server_that_has_answered_since() {
    let server = Scripted::new();
    let mut bed = Bed::new(&[&server]);
    for _ in 0..5 {
        bed.ask();
        let _ = server.take();
    }
    bed.now += Duration::from_millis(100);
    bed.answered_by(&server, Duration::ZERO);
    bed.pass(Duration::from_millis(705));
    assert_eq!(bed.counters.snapshot().upstream_errors, 5);
    assert!(bed.health()[0].is_up());
}

#[test]
fn a_probe_that_is_faster_settles_the_question() {
    let (a, b) = (Scripted::new(), Scripted::new());
    let mut bed = Bed::new(&[&a, &b]);
    let ticket = bed.ask();
    let (at_a, at_b) = (a.take(), b.take());
    b.say(&at_b.answer(2), &at_b);
    assert_eq!(bed.outcome().0, ticket);
    a.say(&at_a.answer(1), &at_a);
    bed.round(Duration::from_millis(100));
    assert!(bed.told.is_empty());
}

#[test]
fn the_faster_server_is_asked() {
    let (a, b, mut bed) = two();
    bed.answered_by(&a, Duration::from_millis(1));
    // The first becomes slow.
    for _ in 0..8 {
        bed.ask();
        let seen = if let Some(seen) = a.drain().pop() { seen } else { break };
        bed.now += Duration::from_millis(60);
        a.say(&seen.answer(1), &seen);
        bed.outcome();
    }
    let _ = b.drain();
    bed.answered_by(&b, Duration::from_millis(1));
    let health = bed.health();
    assert!(health[0].round_trip > health[1].round_trip, "{health:?}");
}

#[test]
fn the_slower_server_is_measured_now_and_then() {
    let (a, b, mut bed) = two();
    let mut copies = 0;
    for _ in 0..1000 {
        bed.answered_by(&a, Duration::ZERO);
        bed.now += Duration::from_millis(100);
        let seen = b.drain();
        copies += seen.len();
        for seen in seen {
            b.say(&seen.answer(1), &seen);
        }
        // Slower than the first one, though its answers come at once: else it would become the one that is asked.
        bed.round(Duration::ZERO);
        bed.asking.servers[1].as_mut().unwrap().took(Duration::from_millis(500));
    }
    // One question in 50, half of them drawn for the server that is asked anyway.
    assert!((3..=30).contains(&copies), "{copies}");
}

#[test]
fn servers_are_exchanged_under_way() {
    let (a, b, mut bed) = two();
    let c = Scripted::new();
    let ticket = bed.ask();
    let _ = a.take();
    bed.asking.set_servers(&[c.address, b.address], bed.now);
    assert_eq!(bed.health().iter().map(|server| server.address).collect::<Vec<_>>(), [c.address, b.address]);
    assert!(bed.health()[1].round_trip.is_some(), "what is known of the one that stays is lost");
    bed.pass(Duration::from_millis(1));
    let seen = b.take();
    b.say(&seen.answer(4), &seen);
    assert_eq!(bed.outcome(), (ticket, Told::Answer { message: lowered(&seen.answer(4)), from: b.address }));
    bed.ask();
    let _ = c.take();
    assert!(a.drain().is_empty());
}

#[test]
fn without_servers_a_question_fails() {
    let server = Scripted::new();
    let mut bed = Bed::new(&[&server]);
    let first = bed.ask();
    bed.asking.set_servers(&[], bed.now);
    let second = bed.ask();
    bed.pass(Duration::from_millis(10));
    let mut tickets: Vec<_> = bed.told.iter().map(|(ticket, told)| (ticket.index(), told.clone())).collect();
    tickets.sort_by_key(|(index, _)| *index);
    assert_eq!(tickets, [first, second].map(|ticket| (ticket.index(), Told::Failed(Failure::Silent))));
}
