//! The packets that the ruleset refused, as they come: a bounded queue of the kernel's that is read without waiting.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, sendto, setsockopt, socket, sockopt,
    },
};

use crate::{Log, sys::next_message};

mod packet;

pub use packet::DeniedPacket;
use packet::Told;

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
const NLMSG_ERROR: u16 = 2;
const F_REQUEST_ACK: u16 = 5;

/// Why denied packets cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The netlink socket could not be made or used.
    #[error("cannot use a netlink socket")]
    Socket(#[source] io::Error),
    /// The kernel has no NFLOG.
    #[error("the kernel has no NFLOG (hint: CONFIG_NETFILTER_NETLINK_LOG; on the node: modprobe nfnetlink_log)")]
    NoNflog(#[source] io::Error),
    /// Another process reads the group, or this one lacks the capability.
    #[error(
        "not permitted to read NFLOG group {group} (hint: one process can read a group, with CAP_NET_ADMIN; is a second one running in this pod?)"
    )]
    NotPermitted {
        /// The group.
        group: u16,
        /// The kernel's word.
        #[source]
        source: io::Error,
    },
}

/// Reads the NFLOG group that a ruleset's [`Log`] tells denied packets to, in the network namespace of the thread that made it. One reader a
/// group; it ends when the value is dropped.
#[derive(Debug)]
pub struct DeniedPackets {
    socket: OwnedFd,
    buffer: Vec<u8>,
    group: u16,
    next: Option<u32>,
    lost: u64,
}

impl DeniedPackets {
    /// Begins to listen. The ruleset need not stand yet.
    ///
    /// # Errors
    /// [`ListenError`].
    pub fn listen(log: Log) -> Result<Self, ListenError> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let made = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkNetFilter);
        let socket = made.map_err(|errno| ListenError::Socket(errno.into()))?;
        let mut packets = Self { socket, buffer: vec![0; READ], group: log.group, next: None, lost: 0 };
        match packets.configure(log) {
            Ok(()) => Ok(packets),
            Err(errno @ (Errno::EPERM | Errno::EACCES | Errno::EBUSY)) => {
                Err(ListenError::NotPermitted { group: log.group, source: errno.into() })
            }
            Err(errno @ (Errno::EINVAL | Errno::EOPNOTSUPP)) => Err(ListenError::NoNflog(errno.into())),
            Err(errno) => Err(ListenError::Socket(errno.into())),
        }
    }

    fn configure(&mut self, log: Log) -> Result<(), Errno> {
        if setsockopt(&self.socket, sockopt::RcvBufForce, &BUFFER).is_err() {
            setsockopt(&self.socket, sockopt::RcvBuf, &BUFFER)?;
        }
        let fd = self.socket.as_raw_fd();
        bind(fd, &NetlinkAddr::new(0, 0))?;
        sendto(fd, &config(log), &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        // Netlink answers before the call returns. A packet may come first.
        for _ in 0..MOST_READS {
            let (len, _) = recvfrom::<NetlinkAddr>(fd, &mut self.buffer)?;
            let mut rest = self.buffer.get(..len).unwrap_or_default();
            while let Some(message) = next_message(&mut rest) {
                if message.kind() == NLMSG_ERROR {
                    return match message.errno() {
                        0 => Ok(()),
                        errno => Err(Errno::from_raw(errno)),
                    };
                }
            }
        }
        Err(Errno::ETIMEDOUT)
    }

    /// Hands over what has come, without waiting. `true`: there may be more, call again; a bound on one call's work was reached. What is
    /// not an IP packet is left out. What was lost because it was not read in time is counted ([`DeniedPackets::lost`]) and no error.
    ///
    /// # Errors
    /// The system's, when the socket cannot be read at all.
    pub fn receive(&mut self, mut each: impl FnMut(DeniedPacket)) -> io::Result<bool> {
        for _ in 0..MOST_READS {
            match recvfrom::<NetlinkAddr>(self.socket.as_raw_fd(), &mut self.buffer) {
                // Only the kernel is believed: who may send to this socket at all could write what he likes.
                Ok((len, from)) if from.is_none_or(|from| from.pid() == 0) => {
                    let (next, lost) = take(self.buffer.get(..len).unwrap_or_default(), self.group, self.next, &mut each);
                    self.next = next;
                    self.lost = self.lost.saturating_add(lost);
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
}

impl AsFd for DeniedPackets {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Reads one datagram: the sequence number that comes next, and how many are missing.
fn take(mut rest: &[u8], group: u16, mut next: Option<u32>, each: &mut impl FnMut(DeniedPacket)) -> (Option<u32>, u64) {
    let mut lost = 0;
    while let Some(message) = next_message(&mut rest) {
        // Behind the header of 16 bytes: family, version, group.
        let of_group = message.bytes.get(18..20) == Some(&group.to_be_bytes());
        if message.kind() != SUBSYSTEM | PACKET || !of_group {
            continue;
        }
        let told = Told::read(message.bytes.get(20..).unwrap_or_default());
        if let Some(seq) = told.seq {
            lost += u64::from(next.map_or(0, |next| seq.wrapping_sub(next)));
            next = Some(seq.wrapping_add(1));
        }
        if let Some(packet) = told.packet() {
            each(packet);
        }
    }
    (next, lost)
}

/// Binds the group and says how it is told.
fn config(log: Log) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend((SUBSYSTEM | CONFIG).to_ne_bytes());
    bytes.extend(F_REQUEST_ACK.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([0, 0]);
    bytes.extend(log.group.to_be_bytes());
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
