//! One connected UDP socket to one server: what is to be sent over it, and which answers it waits for.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    io::{self, IoSlice, IoSliceMut},
    net::SocketAddr,
    os::fd::AsRawFd,
    time::Instant,
};

use mio::{Interest, Registry, Token, net::UdpSocket};
use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg},
};
use socket2::{Domain, Protocol, Type};

use super::random::Random;
use crate::config::Identity;

/// Messages of one system call.
pub(super) const BATCH: usize = 32;

/// Room for a datagram; what is longer is asked again over TCP. More than three times of what a server is told to send at most.
pub(super) const DATAGRAM: usize = 4096;

/// Draws for an id that is free. Even with half of all ids taken, so many fail once in a million.
const DRAWS: usize = 20;

/// Instead of a try: the question was settled without this answer, which may still come and then harms nobody.
const SETTLED: u32 = u32::MAX;

/// A socket, and what waits on it.
#[derive(Debug)]
pub(super) struct Socket {
    udp: UdpSocket,
    /// Never used again, unlike the place.
    pub(super) serial: u64,
    pub(super) server: u8,
    /// Ids under which was asked, with the place of the try, or `SETTLED`.
    ids: HashMap<u16, u32, BuildHasherDefault<IdHasher>>,
    /// Answers that are waited for.
    pub(super) waiting: usize,
    /// Messages to send, one behind the other, and where each ends.
    outbox: Vec<u8>,
    ends: Vec<usize>,
    /// Questions that it may still take.
    pub(super) left: usize,
    /// Until when it takes questions.
    pub(super) until: Instant,
    /// It takes no more, and is closed when nothing waits on it.
    pub(super) retired: bool,
    /// Packets that answered nothing.
    pub(super) strays: usize,
    /// Time-outs since the last answer.
    pub(super) silent: usize,
}

/// Buffers and headers for many messages at a time, shared by all sockets.
#[derive(Debug)]
pub(super) struct Post {
    out: MultiHeaders<()>,
    // Not of (): after the first message the kernel writes the length of an address into the header, and next time an address.
    into: MultiHeaders<SockaddrStorage>,
    buffer: Box<[u8]>,
    received: [(usize, bool); BATCH],
}

/// What an id stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Booked {
    /// The place of a try that waits.
    Try(u32),
    /// A question that was settled without.
    Settled,
    /// Nothing that was asked here.
    Unknown,
}

/// Ids are random and drawn here: spreading their bits is enough.
#[derive(Debug, Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u16(u16::from(*byte));
        }
    }

    fn write_u16(&mut self, id: u16) {
        self.0 = (self.0 ^ u64::from(id)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Socket {
    /// Opens one to `address`: it bears the identity before its first packet, and `connect` binds it to a port that the kernel draws.
    pub(super) fn open(address: SocketAddr, server: u8, identity: Option<Identity>, left: usize, until: Instant) -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        if let Some(Identity { mark, priority }) = identity {
            socket.set_mark(mark)?;
            socket.set_priority(priority)?;
        }
        socket.connect(&address.into())?;
        Ok(Self {
            udp: UdpSocket::from_std(socket.into()),
            serial: 0,
            server,
            ids: HashMap::default(),
            waiting: 0,
            outbox: Vec::new(),
            ends: Vec::new(),
            left,
            until,
            retired: false,
            strays: 0,
            silent: 0,
        })
    }

    /// Has its readiness told under `token`.
    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut self.udp, token, Interest::READABLE)
    }

    /// Takes it out of the event loop, before it is closed.
    pub(super) fn deregister(&mut self, registry: &Registry) {
        // A closed socket leaves by itself: nothing is lost if this fails.
        let _ = registry.deregister(&mut self.udp);
    }

    /// Draws an id that is not in use here.
    pub(super) fn free_id(&self, random: &mut Random) -> Option<u16> {
        for _ in 0..DRAWS {
            let id = random.number()?;
            if !self.ids.contains_key(&id) {
                return Some(id);
            }
        }
        None
    }

    /// Waits for an answer with this id. What `write` appends is sent; true if nothing else was to be sent before.
    pub(super) fn book(&mut self, id: u16, of: u32, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.ids.insert(id, of);
        self.waiting += 1;
        self.left = self.left.saturating_sub(1);
        write(&mut self.outbox);
        self.ends.push(self.outbox.len());
        self.ends.len() == 1
    }

    /// What an id stands for.
    pub(super) fn booked(&self, id: u16) -> Booked {
        match self.ids.get(&id) {
            None => Booked::Unknown,
            Some(&SETTLED) => Booked::Settled,
            Some(of) => Booked::Try(*of),
        }
    }

    /// No longer waits for the answer with this id, which has come.
    pub(super) fn answered(&mut self, id: u16) {
        if self.ids.remove(&id).is_some_and(|of| of != SETTLED) {
            self.waiting = self.waiting.saturating_sub(1);
            self.silent = 0;
        }
    }

    /// No longer waits for the answer with this id, which may still come.
    pub(super) fn settled(&mut self, id: u16) {
        if let Some(of) = self.ids.get_mut(&id).filter(|of| **of != SETTLED) {
            *of = SETTLED;
            self.waiting = self.waiting.saturating_sub(1);
        }
    }

    /// The tries that wait.
    pub(super) fn tries(&self) -> Vec<u32> {
        self.ids.values().copied().filter(|of| *of != SETTLED).collect()
    }

    /// Sends what is to be sent. What the kernel has no room for is lost like any other packet.
    ///
    /// # Errors
    /// What the network said of an earlier packet, or our own ruleset of these.
    pub(super) fn send(&mut self, post: &mut Post) -> nix::Result<()> {
        let sent = self.send_all(post);
        self.outbox.clear();
        self.ends.clear();
        sent
    }

    fn send_all(&self, post: &mut Post) -> nix::Result<()> {
        let fd = self.udp.as_raw_fd();
        let mut done = 0;
        while let Some(rest) = self.ends.get(done..).filter(|rest| !rest.is_empty()) {
            let mut begin = done.checked_sub(1).and_then(|last| self.ends.get(last)).copied().unwrap_or_default();
            let mut message = |end: usize| self.outbox.get(std::mem::replace(&mut begin, end)..end).unwrap_or_default();
            let count = rest.len().min(BATCH);
            let sent = if let [end] = *rest {
                nix::sys::socket::send(fd, message(end), MsgFlags::empty()).map(|_| 1)
            } else {
                let mut ends = rest.iter();
                let slices: [_; BATCH] = std::array::from_fn(|_| [IoSlice::new(ends.next().map_or(&[][..], |end| message(*end)))]);
                let slices = slices.get(..count).unwrap_or_default();
                sendmmsg(fd, &mut post.out, slices, [None; BATCH], [], MsgFlags::empty()).map(Iterator::count)
            };
            match sent {
                Ok(0) | Err(Errno::EAGAIN | Errno::ENOBUFS) => return Ok(()),
                Ok(sent) => done += sent,
                Err(Errno::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Receives at most a batch. Fewer than asked for means that no more are there.
    pub(super) fn receive(&self, post: &mut Post) -> nix::Result<Received> {
        // Most often just the awaited ones come; one more shows that there are no others.
        let room = (self.waiting + 1).min(BATCH);
        let mut chunks = post.buffer.chunks_mut(DATAGRAM);
        let mut slices: [_; BATCH] = std::array::from_fn(|_| [IoSliceMut::new(chunks.next().unwrap_or_default())]);
        let slices = slices.get_mut(..room).unwrap_or_default();
        let results = recvmmsg(self.udp.as_raw_fd(), &mut post.into, slices, MsgFlags::empty(), None)?;
        let mut count = 0;
        for (result, received) in results.zip(&mut post.received) {
            *received = (result.bytes, !result.flags.contains(MsgFlags::MSG_TRUNC));
            count += 1;
        }
        Ok(Received { count, drained: count < room })
    }
}

/// How much was received.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received {
    pub(super) count: usize,
    pub(super) drained: bool,
}

impl Post {
    /// Room for a batch each way.
    pub(super) fn new() -> Self {
        Self {
            out: MultiHeaders::preallocate(BATCH, None),
            into: MultiHeaders::preallocate(BATCH, None),
            buffer: vec![0; BATCH * DATAGRAM].into(),
            received: [(0, false); BATCH],
        }
    }

    /// One of the messages received last, and whether it is whole.
    pub(super) fn message(&mut self, index: usize) -> Option<(&mut [u8], bool)> {
        let (length, whole) = *self.received.get(index)?;
        Some((self.buffer.get_mut(index * DATAGRAM..)?.get_mut(..length.min(DATAGRAM))?, whole))
    }
}
