//! The upstream side against scripted servers on loopback: real sockets, and a clock that the tests hold.

mod answers;
mod manners;
mod servers;
mod sockets;
mod streams;

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{Arc, mpsc::Receiver},
    time::{Duration, Instant},
};

use mio::{Events, Poll};
use tokio::runtime::Runtime;

use super::{Asking, Failure, Outcome, Setup, StreamDone, Streams, Ticket, UpstreamHealth};
use crate::{config::Limits, question::Question, stats::Counters};

/// `www.example.org`, as questions have it.
const NAME: &[u8] = b"\x03www\x07example\x03org";

/// How long a packet may take that is known to be on its way.
const SOON: Duration = Duration::from_secs(5);

/// An outcome that owns its message.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Answer { message: Vec<u8>, from: SocketAddr },
    Failed(Failure),
}

/// The part under test, and what an engine would have around it.
struct Bed {
    asking: Asking,
    poll: Poll,
    now: Instant,
    counters: Arc<Counters>,
    told: Vec<(Ticket, Told)>,
    streams: Receiver<StreamDone>,
    runtime: Runtime,
}

/// A server that does what the test says.
struct Scripted {
    socket: UdpSocket,
    address: SocketAddr,
}

/// A question as a server saw it.
#[derive(Clone, Debug)]
struct Seen {
    octets: Vec<u8>,
    from: SocketAddr,
}

fn question(rtype: u16) -> Question<'static> {
    Question { name: NAME, rtype, dnssec_ok: false, checking_disabled: false }
}

impl Bed {
    fn new(servers: &[&Scripted]) -> Self {
        Self::with(&servers.iter().map(|server| server.address).collect::<Vec<_>>(), Limits::default())
    }

    fn with(servers: &[SocketAddr], limits: Limits) -> Self {
        let poll = Poll::new().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (streams, results) = Streams::new(runtime.handle().clone(), Arc::new(|| {}));
        let counters = Arc::new(Counters::default());
        let setup = Setup {
            servers: servers.to_vec(),
            identity: None,
            limits,
            registry: poll.registry().try_clone().unwrap(),
            first_token: 100,
            streams,
            counters: Arc::clone(&counters),
        };
        let asking = Asking::new(setup);
        Self { asking, poll, now: Instant::now(), counters, told: Vec::new(), streams: results, runtime }
    }

    /// Asks and sends.
    fn ask(&mut self) -> Ticket {
        let ticket = self.asking.ask(question(1), false, self.now).unwrap();
        self.asking.flush(self.now);
        ticket
    }

    /// One round of the engine: waits for packets at most so long, then hears them.
    fn round(&mut self, wait: Duration) -> bool {
        let mut events = Events::with_capacity(64);
        self.poll.poll(&mut events, Some(wait)).unwrap();
        let Self { asking, now, told, .. } = self;
        for event in &events {
            assert!(asking.owns(event.token()));
            asking.readable(event.token(), *now, &mut |ticket, outcome| told.push((ticket, own(outcome))));
        }
        self.asking.flush(self.now);
        !events.is_empty()
    }

    /// Rounds until `done`, for what is known to be on its way.
    fn until(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        let begun = Instant::now();
        while !done(self) {
            assert!(begun.elapsed() < SOON, "it did not come");
            self.round(Duration::from_millis(20));
        }
    }

    /// The next outcome.
    fn outcome(&mut self) -> (Ticket, Told) {
        self.until(|bed| !bed.told.is_empty());
        self.told.remove(0)
    }

    /// Lets the clock run, with a tick where one is due.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.asking.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.tick();
        }
        self.now = end;
        self.tick();
    }

    fn tick(&mut self) {
        let Self { asking, now, told, .. } = self;
        asking.tick(*now, &mut |ticket, outcome| told.push((ticket, own(outcome))));
        asking.flush(*now);
    }

    /// Takes one result that came over TCP.
    fn streamed(&mut self) {
        let done = self.stream_done();
        let Self { asking, now, told, .. } = self;
        asking.streamed(done, *now, &mut |ticket, outcome| told.push((ticket, own(outcome))));
        asking.flush(*now);
    }

    /// The next result that came over TCP.
    fn stream_done(&mut self) -> StreamDone {
        let Self { runtime, streams, .. } = self;
        runtime.block_on(async {
            let begun = Instant::now();
            loop {
                if let Ok(done) = streams.try_recv() {
                    return done;
                }
                assert!(begun.elapsed() < SOON, "nothing came over TCP");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
    }

    fn strays(&self) -> u64 {
        self.counters.snapshot().upstream_strays
    }

    fn health(&self) -> Vec<UpstreamHealth> {
        self.asking.health(self.now)
    }

    /// One question that this server answers after so long, and what it is measured by.
    fn answered_by(&mut self, server: &Scripted, after: Duration) {
        let ticket = self.ask();
        let seen = server.take();
        self.now += after;
        server.say(&seen.answer(1), &seen);
        assert_eq!(self.outcome().0, ticket);
    }
}

fn own(outcome: Outcome<'_>) -> Told {
    match outcome {
        Outcome::Answer { message, from } => Told::Answer { message: message.to_vec(), from },
        Outcome::Failed(failure) => Told::Failed(failure),
    }
}

impl Told {
    /// The address in the answer, and who gave it.
    fn answer(&self) -> (u8, SocketAddr) {
        match self {
            Self::Answer { message, from } => (*message.last().unwrap(), *from),
            Self::Failed(failure) => panic!("{failure:?}"),
        }
    }
}

impl Scripted {
    fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        let address = socket.local_addr().unwrap();
        Self { socket, address }
    }

    /// The next question.
    fn take(&self) -> Seen {
        let mut buffer = [0; 1024];
        let (length, from) = self.socket.recv_from(&mut buffer).expect("the server is asked");
        Seen { octets: buffer[..length].to_vec(), from }
    }

    /// All questions that have come.
    fn drain(&self) -> Vec<Seen> {
        self.socket.set_nonblocking(true).unwrap();
        let mut buffer = [0; 1024];
        let mut all = Vec::new();
        while let Ok((length, from)) = self.socket.recv_from(&mut buffer) {
            all.push(Seen { octets: buffer[..length].to_vec(), from });
        }
        self.socket.set_nonblocking(false).unwrap();
        all
    }

    /// The next question, with rounds of the engine until it is there.
    fn take_with(&self, bed: &mut Bed) -> Seen {
        bed.until(|_| self.peek());
        self.take()
    }

    /// Whether a question is there.
    fn peek(&self) -> bool {
        self.socket.set_nonblocking(true).unwrap();
        let there = self.socket.peek_from(&mut [0; 1]).is_ok();
        self.socket.set_nonblocking(false).unwrap();
        there
    }

    fn say(&self, octets: &[u8], to: &Seen) {
        self.socket.send_to(octets, to.from).unwrap();
    }
}

impl Seen {
    fn id(&self) -> u16 {
        u16::from_be_bytes([self.octets[0], self.octets[1]])
    }

    /// Header and question of a reply.
    fn reply(&self, rcode: u8) -> Vec<u8> {
        let mut reply = self.octets[..12 + NAME.len() + 5].to_vec();
        reply[2] = 0x81;
        reply[3] = 0x80 | rcode;
        reply[6..12].fill(0);
        reply
    }

    /// A reply with the address 198.51.100.`last`.
    fn answer(&self, last: u8) -> Vec<u8> {
        let mut reply = self.reply(0);
        reply[7] = 1;
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 1, 0x2c, 0, 4, 198, 51, 100, last]);
        reply
    }

    /// The name as it was asked.
    fn name(&self) -> &[u8] {
        &self.octets[12..12 + NAME.len()]
    }

    fn has_opt(&self) -> bool {
        self.octets[11] == 1
    }
}

/// Copies with the letter at `at` in the other case.
fn other_case(mut octets: Vec<u8>) -> Vec<u8> {
    octets[13] ^= 0x20;
    octets
}
