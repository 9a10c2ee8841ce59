//! What settles a question, and what does not.

use super::*;

#[test]
fn an_answer_settles_its_question_with_the_name_in_lower_case() {
    let server = Scripted::new();
    let mut bed = Bed::new(&[&server]);
    let ticket = bed.ask();
    let seen = server.take();
    assert_eq!(seen.name().to_ascii_lowercase(), NAME);
    server.say(&seen.answer(7), &seen);
    let (of, told) = bed.outcome();
    assert_eq!(of, ticket);
    assert_eq!(told.answer(), (7, server.address));
    let Told::Answer { message, .. } = told else { unreachable!() };
    assert_eq!(&message[12..12 + NAME.len()], NAME);
    assert_eq!(bed.strays(), 0);
    bed.pass(Duration::from_secs(10));
    assert_eq!((bed.told.len(), bed.asking.deadline()), (0, None));
}

#[test]
fn that_a_name_is_not_there_is_an_answer() {
    let server = Scripted::new();
    let mut bed = Bed::new(&[&server]);
    bed.ask();
    let seen = server.take();
    server.say(&seen.reply(3), &seen);
    assert!(matches!(bed.outcome().1, Told::Answer { message, .. } if message[3] & 15 == 3));
}

/// Sends what must not count, then the true answer: only that may settle.
fn is_passed_over(spoil: impl Fn(&mut Vec<u8>)) {
    let server = Scripted::new();
    let mut bed = Bed::new(&[&server]);
    bed.ask();
    let seen = server.take();
    let mut forged = seen.answer(66);
    spoil(&mut forged);
    server.say(&forged, &seen);
    server.say(&seen.answer(1), &seen);
    assert_eq!(bed.outcome().1.answer().0, 1);
    assert_eq!(bed.strays(), 1);
}

#[test]
fn another_id_is_a_stray() {
    is_passed_over(|forged| forged[1] ^= 1);
}

#[test]
fn another_name_is_a_stray() {
    is_passed_over(|forged| forged[14] = if forged[14] == b'x' { b'y' } else { b'x' });
}

#[test]
fn another_type_is_a_stray() {
    is_passed_over(|forged| forged[12 + NAME.len() + 2] = 28);
}

#[test]
fn another_class_is_a_stray() {
    is_passed_over(|forged| forged[12 + NAME.len() + 4] = 3);
}

#[test]
fn a_question_is_no_answer() {
    is_passed_over(|forged| forged[2] &= 0x7f);
}

#[test]
fn another_opcode_is_a_stray() {
    is_passed_over(|forged| forged[2] |= 0x20);
}

#[test]
fn two_questions_are_a_stray() {
    is_passed_over(|forged| forged[5] = 2);
}

#[test]
fn half_a_header_is_a_stray() {
    is_passed_over(|forged| forged.truncate(11));
}

#[test]
fn half_a_question_is_a_stray() {
    is_passed_over(|forged| forged.truncate(20));
}

#[test]
fn without_a_question_nobody_says_that_a_name_is_not_there() {
    is_passed_over(|forged| {
        forged.truncate(12);
        forged[3] = 0x83;
        forged[5] = 0;
        forged[7] = 0;
    });
}

#[test]
fn another_server_is_not_heard() {
    let (server, other) = (Scripted::new(), Scripted::new());
    let mut bed = Bed::new(&[&server]);
    bed.ask();
    let seen = server.take();
    other.say(&seen.answer(66), &seen);
    server.say(&seen.answer(1), &seen);
    assert_eq!(bed.outcome().1.answer(), (1, server.address));
}

#[test]
fn a_doubled_answer_settles_once() {
    let server = Scripted::new();
    let mut bed = Bed::new(&[&server]);
    bed.ask();
    let seen = server.take();
    server.say(&seen.answer(1), &seen);
    server.say(&seen.answer(2), &seen);
    assert_eq!(bed.outcome().1.answer().0, 1);
    bed.until(|bed| bed.strays() == 1);
    assert!(bed.told.is_empty());
}

#[test]
fn an_answer_behind_the_end_settles_nothing() {
    let server = Scripted::new();
    let mut bed = Bed::new(&[&server]);
    let ticket = bed.ask();
    let seen = server.take();
    bed.pass(Duration::from_millis(4499));
    assert!(bed.told.is_empty());
    bed.pass(Duration::from_millis(10));
    assert_eq!(bed.told, [(ticket, Told::Failed(Failure::Silent))]);
    assert_eq!(bed.asking.deadline(), None);
    server.say(&seen.answer(1), &seen);
    bed.round(Duration::from_millis(50));
    assert_eq!(bed.told.len(), 1);
}

#[test]
fn equal_questions_have_tickets_and_ids_of_their_own() {
    let server = Scripted::new();
    let mut bed = Bed::new(&[&server]);
    let tickets: Vec<_> = (0..40).map(|_| bed.asking.ask(question(1), false, bed.now).unwrap()).collect();
    bed.asking.flush(bed.now);
    let seen: Vec<_> = (0..40).map(|_| server.take()).collect();
    for (index, seen) in (0..40).zip(&seen).rev() {
        server.say(&seen.answer(index), seen);
    }
    bed.until(|bed| bed.told.len() == 40);
    for (ticket, told) in &bed.told {
        assert_eq!(tickets[usize::from(told.answer().0)], *ticket);
    }
    let ids: std::collections::HashSet<_> = seen.iter().map(Seen::id).collect();
    assert_eq!(ids.len(), 40);
}

#[test]
fn no_more_are_taken_than_may_be_in_flight() {
    let server = Scripted::new();
    let mut bed = Bed::with(&[server.address], Limits { in_flight: 3, ..Limits::default() });
    for _ in 0..3 {
        assert!(bed.ask().index() < 3);
    }
    assert_eq!(bed.asking.ask(question(1), false, bed.now), Err(super::super::TooMany));
    let seen = server.take();
    server.say(&seen.answer(1), &seen);
    bed.outcome();
    assert!(bed.ask().index() < 3);
}

#[test]
fn cut_records_are_an_error_and_not_an_answer() {
    let server = Scripted::new();
    let mut bed = Bed::new(&[&server]);
    bed.ask();
    let seen = server.take();
    let mut cut = seen.answer(1);
    cut.pop();
    server.say(&cut, &seen);
    assert_eq!(bed.outcome().1, Told::Failed(Failure::Errors));
}
