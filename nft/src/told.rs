//! The packets that the ruleset tells, as they come: a bounded queue of the kernel's that is read without waiting.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use nix::{
    errno::Errno,
    sys::socket::{NetlinkAddr, recvfrom},
};

use crate::{
    Log, RuleId,
    heard::{self, ListenError},
    ruleset::CAME_IN_PREFIX,
    sys::next_message,
};

mod packet;

pub use packet::Packet;
use packet::Told as Attributes;

/// Most bytes that wait to be read. What comes when it is full is lost and counted. It is a bound, not memory that is taken; without
/// CAP_NET_ADMIN of the first user namespace it is at most `net.core.rmem_max`.
const BUFFER: usize = 1024 * 1024;
/// The kernel's largest message is a page.
const READ: usize = 16 * 1024;
/// Messages read in one call, each with up to [`AT_ONCE`] packets.
const MOST_READS: usize = 64;
/// Packets that go into one message, and the time after which fewer do: 10 ms, the shortest that the kernel can be told.
const AT_ONCE: u32 = 32;
const AFTER: u32 = 1;

// `NFNL_SUBSYS_ULOG`, and linux/netfilter/nfnetlink_log.h.
const SUBSYSTEM: u16 = 4 << 8;
const PACKET: u16 = 0;
const CONFIG: u16 = 1;
const CFG_CMD: u16 = 1;
const CFG_MODE: u16 = 2;
const CFG_TIMEOUT: u16 = 4;
const CFG_QTHRESH: u16 = 5;
const CFG_FLAGS: u16 = 6;
const CMD_BIND: u8 = 1;
const COPY_PACKET: u8 = 2;
const F_SEQ: u16 = 1;
const F_REQUEST_ACK: u16 = 5;

/// Why a packet is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// Nothing opens it: it was refused, or passed in audit.
    Refused,
    /// The first of a flow that this rule permits.
    Permitted(RuleId),
    /// The first of a flow that came in by a device other than loopback.
    Inbound,
}

/// A packet, and why it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ToldPacket {
    /// The packet.
    pub packet: Packet,
    /// Why.
    pub what: Told,
}

/// Reads one of the NFLOG groups that a ruleset's [`Log`] tells packets to, in the network namespace of the thread that made it. One reader a
/// group; it ends when the value is dropped.
#[derive(Debug)]
pub struct ToldPackets {
    socket: OwnedFd,
    buffer: Vec<u8>,
    group: u16,
    next: Option<u32>,
    received: u64,
    lost: u64,
}

impl ToldPackets {
    /// Begins to listen to refused packets. The ruleset need not stand yet.
    ///
    /// # Errors
    /// [`ListenError`].
    pub fn refused(log: Log) -> Result<Self, ListenError> {
        Self::listen(log, log.refused)
    }

    /// Begins to listen to the first packets of flows that are permitted, or came in.
    ///
    /// # Errors
    /// [`ListenError`].
    pub fn began(log: Log) -> Result<Self, ListenError> {
        Self::listen(log, log.began)
    }

    fn listen(log: Log, group: u16) -> Result<Self, ListenError> {
        let socket = heard::open(BUFFER, 0)?;
        let mut packets = Self { socket, buffer: vec![0; READ], group, next: None, received: 0, lost: 0 };
        match heard::acknowledged(&packets.socket, &config(log, group), &mut packets.buffer) {
            Ok(()) => Ok(packets),
            Err(errno @ (Errno::EPERM | Errno::EACCES | Errno::EBUSY)) => Err(ListenError::NotPermitted { group, source: errno.into() }),
            Err(errno @ (Errno::EINVAL | Errno::EOPNOTSUPP)) => Err(ListenError::NoNflog(errno.into())),
            Err(errno) => Err(ListenError::Socket(errno.into())),
        }
    }

    /// Hands over what has come, without waiting. `true`: there may be more, call again; a bound on one call's work was reached. What is
    /// not an IP packet is left out. What was lost because it was not read in time is counted ([`ToldPackets::lost`]) and no error.
    ///
    /// # Errors
    /// The system's, when the socket cannot be read at all.
    pub fn receive(&mut self, mut each: impl FnMut(ToldPacket)) -> io::Result<bool> {
        for _ in 0..MOST_READS {
            match recvfrom::<NetlinkAddr>(self.socket.as_raw_fd(), &mut self.buffer) {
                // Only the kernel is believed: who may send to this socket at all could write what he likes.
                Ok((len, from)) if from.is_none_or(|from| from.pid() == 0) => {
                    self.take(len, &mut each);
                }
                // The sequence numbers say how much.
                Ok(_) | Err(Errno::EINTR | Errno::ENOBUFS) => {}
                Err(Errno::EAGAIN) => return Ok(false),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(true)
    }

    /// Packets that were told and not read in time, so far; known when the next one is read.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// Packets that were read so far, such as no IP packet was made of included: with those lost, what the ruleset's limit let through.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Reads one datagram of the buffer.
    fn take(&mut self, len: usize, each: &mut impl FnMut(ToldPacket)) {
        let mut rest = self.buffer.get(..len).unwrap_or_default();
        while let Some(message) = next_message(&mut rest) {
            // Behind the header of 16 bytes: family, version, group.
            let of_group = message.bytes.get(18..20) == Some(&self.group.to_be_bytes());
            if message.kind() != SUBSYSTEM | PACKET || !of_group {
                continue;
            }
            let told = Attributes::read(message.bytes.get(20..).unwrap_or_default());
            if let Some(seq) = told.seq {
                self.lost += u64::from(self.next.map_or(0, |next| seq.wrapping_sub(next)));
                self.next = Some(seq.wrapping_add(1));
            }
            self.received += 1;
            if let Some(packet) = told.packet() {
                each(ToldPacket { packet, what: why(told.prefix) });
            }
        }
    }
}

/// Why a packet is told, as the log's prefix says.
fn why(prefix: &[u8]) -> Told {
    if prefix == CAME_IN_PREFIX.as_bytes() {
        return Told::Inbound;
    }
    let id = std::str::from_utf8(prefix).ok().and_then(|prefix| prefix.strip_prefix("r:"));
    let id = id.and_then(|digits| u16::from_str_radix(digits, 16).ok()).and_then(RuleId::new);
    id.map_or(Told::Refused, Told::Permitted)
}

impl AsFd for ToldPackets {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Binds the group and says how it is told.
fn config(log: Log, group: u16) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend((SUBSYSTEM | CONFIG).to_ne_bytes());
    bytes.extend(F_REQUEST_ACK.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([0, 0]);
    bytes.extend(group.to_be_bytes());
    let mut put = |kind: u16, value: &[u8]| {
        bytes.extend((value.len() as u16 + 4).to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    };
    let [a, b, c, d] = log.snaplen.to_be_bytes();
    put(CFG_CMD, &[CMD_BIND]);
    put(CFG_MODE, &[a, b, c, d, COPY_PACKET, 0]);
    put(CFG_TIMEOUT, &AFTER.to_be_bytes());
    put(CFG_QTHRESH, &AT_ONCE.to_be_bytes());
    put(CFG_FLAGS, &F_SEQ.to_be_bytes());
    let len = bytes.len() as u32;
    if let Some(field) = bytes.first_chunk_mut::<4>() {
        *field = len.to_ne_bytes();
    }
    bytes
}
