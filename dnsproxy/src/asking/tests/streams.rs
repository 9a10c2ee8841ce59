//! What does not fit a datagram comes over TCP, and is judged alike.

use std::{
    io::{Read, Write},
    net::TcpListener,
    thread,
};

use super::*;

/// A server on both transports, on one port.
fn both() -> (Scripted, TcpListener) {
    loop {
        let server = Scripted::new();
        if let Ok(listener) = TcpListener::bind(server.address) {
            return (server, listener);
        }
    }
}

/// Answers one connection with what `answer` makes of the question.
fn serve(listener: TcpListener, answer: impl FnOnce(&Seen) -> Vec<u8> + Send + 'static) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let (mut stream, from) = listener.accept().unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut octets = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut octets).unwrap();
        let answer = answer(&Seen { octets, from });
        stream.write_all(&u16::try_from(answer.len()).unwrap().to_be_bytes()).unwrap();
        stream.write_all(&answer).unwrap();
    })
}

fn truncated(seen: &Seen) -> Vec<u8> {
    let mut reply = seen.reply(0);
    reply[2] |= 2;
    reply
}

#[test]
fn a_truncated_answer_is_asked_for_over_tcp() {
    let (server, listener) = both();
    let mut bed = Bed::new(&[&server]);
    let ticket = bed.ask();
    let thread = serve(listener, |seen| seen.answer(5));
    let seen = server.take();
    server.say(&truncated(&seen), &seen);
    bed.until(|bed| bed.counters.snapshot().upstream_tcp == 1);
    bed.streamed();
    assert_eq!(bed.told[0].0, ticket);
    assert_eq!(bed.told[0].1.answer(), (5, server.address));
    thread.join().unwrap();
}

#[test]
fn a_datagram_over_the_buffer_is_asked_for_over_tcp() {
    let (server, listener) = both();
    let mut bed = Bed::new(&[&server]);
    bed.ask();
    let thread = serve(listener, |seen| seen.answer(5));
    let seen = server.take();
    let mut long = seen.answer(66);
    long.resize(5000, 0);
    server.say(&long, &seen);
    bed.until(|bed| bed.counters.snapshot().upstream_tcp == 1);
    bed.streamed();
    assert_eq!(bed.told[0].1.answer().0, 5);
    thread.join().unwrap();
}

/// Over TCP comes what must not count: it is over, for there is only this server.
fn fails(answer: impl FnOnce(&Seen) -> Vec<u8> + Send + 'static) {
    let (server, listener) = both();
    let mut bed = Bed::new(&[&server]);
    bed.ask();
    let thread = serve(listener, answer);
    let seen = server.take();
    server.say(&truncated(&seen), &seen);
    bed.until(|bed| bed.counters.snapshot().upstream_tcp == 1);
    bed.streamed();
    assert_eq!(bed.told.len(), 1);
    assert_eq!(bed.told[0].1, Told::Failed(Failure::Errors));
    thread.join().unwrap();
}

#[test]
fn another_id_over_tcp_does_not_count() {
    fails(|seen| {
        let mut answer = seen.answer(66);
        answer[0] ^= 1;
        answer
    });
}

#[test]
fn another_name_over_tcp_does_not_count() {
    fails(|seen| {
        let mut answer = seen.answer(66);
        answer[14] = b'x';
        answer
    });
}

#[test]
fn nothing_is_too_long_for_a_stream() {
    fails(truncated);
}

#[test]
fn no_connection_sends_the_question_to_the_next_server() {
    let (a, b) = (Scripted::new(), Scripted::new());
    let mut bed = Bed::new(&[&a, &b]);
    let ticket = bed.ask();
    let (at_a, _) = (a.take(), b.take());
    a.say(&truncated(&at_a), &at_a);
    bed.until(|bed| bed.counters.snapshot().upstream_tcp == 1);
    bed.streamed();
    let at_b = b.take();
    b.say(&at_b.answer(4), &at_b);
    let (of, told) = bed.outcome();
    assert_eq!((of, told.answer().0), (ticket, 4));
}

#[test]
fn what_comes_over_tcp_for_a_settled_question_settles_nothing() {
    let (server, listener) = both();
    let mut bed = Bed::new(&[&server]);
    bed.ask();
    let thread = serve(listener, |seen| seen.answer(5));
    let seen = server.take();
    server.say(&truncated(&seen), &seen);
    bed.until(|bed| bed.counters.snapshot().upstream_tcp == 1);
    let done = bed.stream_done();
    bed.pass(Duration::from_millis(4600));
    assert_eq!(bed.told.len(), 1);
    // Another question has its place by now.
    let next = bed.ask();
    let told = &mut bed.told;
    bed.asking.streamed(done, bed.now, &mut |ticket, outcome| told.push((ticket, own(outcome))));
    assert_eq!(bed.told.len(), 1);
    let seen = server.drain().pop().unwrap();
    server.say(&seen.answer(2), &seen);
    bed.until(|bed| bed.told.len() == 2);
    assert_eq!((bed.told[1].0, bed.told[1].1.answer().0), (next, 2));
    thread.join().unwrap();
}
