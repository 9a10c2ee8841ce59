//! Sockets are kept and rotated: opening one for each question costs more than the question.
//!
//! An off-path forger must hit the id (16 bits), the port (drawn anew by the kernel for each socket, about 15 bits, and with several
//! sockets it must be that of the right one) and the case of each letter. Against a socket made for one question he loses nothing but
//! time: a port lives for at most [`QUESTIONS`] questions and [`AGE`], both drawn at random. So guesses are bounded instead: after
//! [`STRAYS`] packets that answer nothing the socket is closed and what waits on it is asked over another, so that a port, once found,
//! is worth 64 guesses out of 65,536 times the spellings. The same question is never in flight twice for two clients (the cache sees
//! to it), so there is no birthday to win.
//!
//! A socket that sees time-outs is replaced as well: on the way may be a table of connections that sends this port, and only this one,
//! to a server that is gone.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use mio::{Registry, Token};
use slab::Slab;

use super::{MAX_SERVERS, TOKENS, random::Random, socket::Socket};
use crate::config::Identity;

/// Questions a socket takes at least; at most half as many more.
pub(super) const QUESTIONS: usize = 1600;

/// How long it takes questions at least; at most half as long again.
pub(super) const AGE: Duration = Duration::from_secs(24);

/// Packets that answer nothing, after which a socket is closed.
pub(super) const STRAYS: usize = 64;

/// Time-outs without an answer between them, after which another socket is used.
const SILENT: usize = 2;

/// Answers waited for on one socket before another is opened: its receive buffer has room for about twice as many.
const WAITING: usize = 64;

/// Sockets of one server that take questions.
const ACTIVE: usize = 8;

/// Sockets of one server in all. At this many none is retired for its age.
const ALL: usize = TOKENS / MAX_SERVERS;

/// The sockets of all servers.
#[derive(Debug)]
pub(super) struct Pool {
    registry: Registry,
    first_token: usize,
    identity: Option<Identity>,
    sockets: Slab<Socket>,
    opened: u64,
    /// For each server the places of the sockets that take questions, and how many it has in all.
    of: [(Vec<u32>, usize); MAX_SERVERS],
}

impl Pool {
    /// No socket yet.
    pub(super) fn new(registry: Registry, first_token: usize, identity: Option<Identity>) -> Self {
        Self { registry, first_token, identity, sockets: Slab::new(), opened: 0, of: std::array::from_fn(|_| (Vec::new(), 0)) }
    }

    /// The socket at a place.
    pub(super) fn get(&mut self, place: u32) -> Option<&mut Socket> {
        self.sockets.get_mut(place as usize)
    }

    /// The place that a token stands for.
    pub(super) fn place(&self, token: Token) -> Option<u32> {
        token.0.checked_sub(self.first_token).filter(|place| *place < TOKENS).and_then(|place| u32::try_from(place).ok())
    }

    /// A socket for the next question to a server, drawn at random.
    ///
    /// # Errors
    /// The kernel gave none, or has no way to the server.
    pub(super) fn pick(&mut self, server: u8, address: SocketAddr, random: &mut Random, now: Instant) -> io::Result<u32> {
        let Some((active, all)) = self.of.get(usize::from(server)) else { return Err(io::ErrorKind::InvalidInput.into()) };
        let mut old = None;
        let mut waiting = 0;
        for place in active {
            if let Some(socket) = self.sockets.get(*place as usize) {
                waiting += socket.waiting;
                if socket.left == 0 || now >= socket.until {
                    old = Some(*place);
                }
            }
        }
        let wanted = (1 + waiting / WAITING).min(ACTIVE);
        let missing = active.len() < wanted;
        if let Some(old) = old.filter(|_| *all < ALL) {
            self.retire(old);
        }
        if missing || old.is_some() || self.active(server).is_empty() {
            match self.open(server, address, random, now) {
                Err(error) if self.active(server).is_empty() => return Err(error),
                _ => {}
            }
        }
        let active = self.active(server);
        let drawn = random.below(active.len()).and_then(|index| active.get(index).copied());
        drawn.ok_or_else(|| io::Error::other("no random number is to be had"))
    }

    fn active(&self, server: u8) -> &[u32] {
        self.of.get(usize::from(server)).map(|(active, _)| active.as_slice()).unwrap_or_default()
    }

    fn open(&mut self, server: u8, address: SocketAddr, random: &mut Random, now: Instant) -> io::Result<()> {
        let Some((active, all)) = self.of.get_mut(usize::from(server)).filter(|(_, all)| *all < ALL) else {
            return Err(io::Error::other("the server has as many sockets as it may"));
        };
        let no_random = || io::Error::other("no random number is to be had");
        let left = QUESTIONS + random.below(QUESTIONS / 2).ok_or_else(no_random)?;
        let half = u64::try_from(AGE.as_millis() / 2).unwrap_or_default();
        let more = random.below(usize::try_from(half).unwrap_or_default()).ok_or_else(no_random)?;
        let until = now + AGE + Duration::from_millis(more as u64);
        let mut socket = Socket::open(address, server, self.identity, left, until)?;
        let entry = self.sockets.vacant_entry();
        let place = u32::try_from(entry.key()).map_err(io::Error::other)?;
        socket.register(&self.registry, Token(self.first_token + entry.key()))?;
        self.opened += 1;
        socket.serial = self.opened;
        entry.insert(socket);
        active.push(place);
        *all += 1;
        Ok(())
    }

    /// Lets a socket take no more questions; it is closed when nothing waits on it.
    pub(super) fn retire(&mut self, place: u32) {
        let Some(socket) = self.sockets.get_mut(place as usize) else { return };
        socket.retired = true;
        if let Some((active, _)) = self.of.get_mut(usize::from(socket.server)) {
            active.retain(|one| *one != place);
        }
        self.tidy(place);
    }

    /// Notes a time-out.
    pub(super) fn timed_out(&mut self, place: u32) {
        let Some(socket) = self.sockets.get_mut(place as usize) else { return };
        socket.silent += 1;
        let all = self.of.get(usize::from(socket.server)).map_or(0, |(_, all)| *all);
        if socket.silent >= SILENT && !socket.retired && all < ALL {
            self.retire(place);
        }
    }

    /// Closes a socket that is retired and on which nothing waits.
    pub(super) fn tidy(&mut self, place: u32) {
        if self.sockets.get(place as usize).is_some_and(|socket| socket.retired && socket.waiting == 0) {
            self.close(place);
        }
    }

    /// Closes a socket; what waits on it must be seen to by the caller.
    pub(super) fn close(&mut self, place: u32) {
        let Some(mut socket) = self.sockets.try_remove(place as usize) else { return };
        socket.deregister(&self.registry);
        if let Some((active, all)) = self.of.get_mut(usize::from(socket.server)) {
            active.retain(|one| *one != place);
            *all = all.saturating_sub(1);
        }
    }

    /// The places of all sockets of a server.
    pub(super) fn of_server(&self, server: u8) -> Vec<u32> {
        let of = self.sockets.iter().filter(|(_, socket)| socket.server == server);
        of.filter_map(|(place, _)| u32::try_from(place).ok()).collect()
    }
}
