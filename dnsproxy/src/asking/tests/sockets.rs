//! Ports and ids: many, not to be foreseen, and given up when somebody guesses at them.

use std::collections::HashSet;

use super::*;
use crate::asking::pool::{AGE, QUESTIONS, STRAYS};

#[test]
fn ids_and_spellings_differ() {
    let server = Scripted::new();
    let mut bed = Bed::new(&[&server]);
    let mut ids = HashSet::new();
    let mut spellings = HashSet::new();
    for _ in 0..500 {
        bed.ask();
        let seen = server.take();
        ids.insert(seen.id());
        spellings.insert(seen.name().to_vec());
        server.say(&seen.answer(1), &seen);
        bed.outcome();
    }
    assert!(ids.len() > 480, "{}", ids.len());
    assert!(spellings.len() > 450, "{}", spellings.len());
    assert!(ids.iter().any(|id| *id > 0xf000) && ids.iter().any(|id| *id < 0x1000));
}

#[test]
fn a_port_is_kept_for_so_many_questions_only() {
    let server = Scripted::new();
    let mut bed = Bed::new(&[&server]);
    let mut ports = Vec::new();
    for _ in 0..QUESTIONS * 6 {
        bed.ask();
        let seen = server.take();
        ports.push(seen.from.port());
        server.say(&seen.answer(1), &seen);
        bed.outcome();
    }
    let runs: Vec<_> = ports.chunk_by(|a, b| a == b).map(<[u16]>::len).collect();
    let distinct: HashSet<_> = ports.iter().collect();
    assert!((4..=6).contains(&distinct.len()), "{runs:?}");
    let whole = &runs[..runs.len() - 1];
    assert!(whole.iter().all(|run| (QUESTIONS..=QUESTIONS * 3 / 2).contains(run)), "{runs:?}");
    assert!(whole.iter().collect::<HashSet<_>>().len() > 1, "the number is not drawn: {runs:?}");
    assert_eq!(bed.asking.pool.of_server(0).len(), 1, "old sockets are not closed");
}

#[test]
fn a_port_is_kept_for_a_time_only() {
    let server = Scripted::new();
    let mut bed = Bed::new(&[&server]);
    let mut ports = HashSet::new();
    for _ in 0..5 {
        bed.ask();
        let seen = server.take();
        ports.insert(seen.from.port());
        server.say(&seen.answer(1), &seen);
        bed.outcome();
        bed.pass(AGE * 3 / 2);
    }
    assert_eq!(ports.len(), 5);
}

#[test]
fn many_questions_go_out_of_several_ports() {
    let server = Scripted::new();
    let mut bed = Bed::new(&[&server]);
    let mut ports = HashSet::new();
    for _ in 0..400 {
        bed.ask();
        ports.insert(server.take().from.port());
    }
    assert!((5..=8).contains(&ports.len()), "{}", ports.len());
}

#[test]
fn a_retired_socket_still_hears_what_it_asked() {
    let server = Scripted::new();
    let mut bed = Bed::new(&[&server]);
    let ticket = bed.ask();
    let seen = server.take();
    for _ in 0..QUESTIONS * 3 / 2 {
        bed.answered_by(&server, Duration::ZERO);
    }
    bed.ask();
    assert_ne!(server.take().from.port(), seen.from.port());
    server.say(&seen.answer(8), &seen);
    let (of, told) = bed.outcome();
    assert_eq!((of, told.answer().0), (ticket, 8));
}

#[test]
fn a_flood_of_strays_closes_the_port_and_asks_over_another() {
    let server = Scripted::new();
    let mut bed = Bed::new(&[&server]);
    let ticket = bed.ask();
    let seen = server.take();
    let mut forged = seen.answer(66);
    forged[0] ^= 0x80;
    for _ in 0..STRAYS {
        server.say(&forged, &seen);
    }
    bed.until(|bed| bed.strays() == STRAYS as u64);
    assert!(server.drain().is_empty(), "it is given up too early");
    for _ in 0..20 {
        let _ = server.socket.send_to(&forged, seen.from);
    }
    bed.until(|bed| bed.round(Duration::ZERO) || server.peek());
    let again = server.take_with(&mut bed);
    let place = bed.asking.pool.of_server(0)[0];
    assert_eq!(bed.asking.pool.get(place).unwrap().strays, 0, "guesses at the old port count at the new one");
    assert_ne!((again.from.port(), again.id()), (seen.from.port(), seen.id()));
    server.say(&again.answer(1), &again);
    let (of, told) = bed.outcome();
    assert_eq!((of, told.answer().0), (ticket, 1));
    assert_eq!(bed.asking.pool.of_server(0).len(), 1);
}

#[test]
fn late_answers_are_no_flood() {
    let server = Scripted::new();
    let mut bed = Bed::new(&[&server]);
    let port = {
        bed.ask();
        let seen = server.take();
        server.say(&seen.answer(1), &seen);
        bed.outcome();
        seen.from.port()
    };
    for _ in 0..60 {
        bed.asking.ask(question(1), false, bed.now).unwrap();
    }
    bed.asking.flush(bed.now);
    let all = (0..60).map(|_| server.take()).collect::<Vec<_>>();
    assert!(all.iter().all(|seen| seen.from.port() == port));
    // Settled without their answers.
    for index in 0..60 {
        bed.asking.drop_question(index);
    }
    for seen in &all {
        server.say(&seen.answer(1), seen);
    }
    bed.until(|bed| bed.strays() == 60);
    let place = bed.asking.pool.of_server(0)[0];
    assert_eq!(bed.asking.pool.get(place).unwrap().strays, 0);
}

#[test]
fn time_outs_lead_to_another_port() {
    let server = Scripted::new();
    let mut bed = Bed::new(&[&server]);
    bed.answered_by(&server, Duration::ZERO);
    bed.ask();
    bed.pass(Duration::from_secs(2));
    let ports: HashSet<_> = server.drain().iter().map(|seen| seen.from.port()).collect();
    assert!(ports.len() >= 2, "{ports:?}");
}

#[test]
fn a_socket_that_nothing_waits_on_is_closed_when_its_time_is_over() {
    let server = Scripted::new();
    let mut bed = Bed::new(&[&server]);
    for _ in 0..10 {
        bed.ask();
        bed.pass(SOON);
    }
    // Each question timed out several times and retired its sockets.
    assert!(bed.asking.pool.of_server(0).len() <= 1);
}
