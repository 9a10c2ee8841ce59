//! How much went over a flow, told by connection tracking when it forgets it: packets and bytes both ways, with the rule in the ct mark.

use std::{
    io,
    net::IpAddr,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, NetlinkAddr, recvfrom, sendto},
};

use crate::{
    RuleId,
    heard::{self, ListenError},
    ruleset::{AUDITED, AUDITED_ONCE, CAME_IN},
    sys::next_message,
};

mod attributes;

/// Most bytes that wait to be read: an event is some 200 bytes, and takes about four times that of the socket's account.
const BUFFER: usize = 4 * 1024 * 1024;
const READ: usize = 16 * 1024;
/// Messages read in one call.
const MOST_READS: usize = 256;

// `NFNL_SUBSYS_CTNETLINK`, linux/netfilter/nfnetlink_conntrack.h, and NFNLGRP_CONNTRACK_DESTROY as a bit.
const SUBSYSTEM: u16 = 1 << 8;
const NEW: u16 = 0;
const GET: u16 = 1;
const DELETE: u16 = 2;
const GROUP_DESTROY: u32 = 1 << 2;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const F_REQUEST_DUMP: u16 = 1 | 0x300;

/// What went one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Volume {
    /// Packets.
    pub packets: u64,
    /// Their bytes, IP headers included.
    pub bytes: u64,
}

/// Whose a flow is, by its ct mark. The proxy's own, the redirected questions and what stays on loopback are nobody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FlowOwner {
    /// This rule permits it.
    Rule(RuleId),
    /// Nothing permits it; it passed in audit.
    Audit,
    /// It came in.
    Inbound,
}

impl FlowOwner {
    const fn of(mark: u32) -> Option<Self> {
        match mark & 0xffff_0000 {
            AUDITED | AUDITED_ONCE => Some(Self::Audit),
            CAME_IN => Some(Self::Inbound),
            _ => match RuleId::from_ct_mark(mark) {
                Some(id) => Some(Self::Rule(id)),
                None => None,
            },
        }
    }
}

/// An entry of the connection table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// Whose it is.
    pub owner: FlowOwner,
    /// Who began it.
    pub source: IpAddr,
    /// With whom.
    pub destination: IpAddr,
    /// The number of the protocol.
    pub protocol: u8,
    /// The port of who began it; of ICMP the identifier.
    pub source_port: Option<u16>,
    /// The other's port; none of ICMP.
    pub destination_port: Option<u16>,
    /// What who began it sent.
    pub sent: Volume,
    /// What came back.
    pub received: Volume,
    /// The state of TCP (`enum tcp_conntrack`); 0 where it is not told.
    pub tcp_state: u8,
    /// Whether there were enough packets both ways that the kernel keeps it for long.
    pub assured: bool,
}

impl Connection {
    /// The same connection as who answers sees it.
    #[must_use]
    pub const fn reversed(self) -> Self {
        let Self { source, destination, source_port, destination_port, sent, received, .. } = self;
        Self {
            source: destination,
            destination: source,
            source_port: destination_port,
            destination_port: source_port,
            sent: received,
            received: sent,
            ..self
        }
    }

    /// How long the kernel keeps an entry in this state after its last packet, by its defaults and the ruleset's: what an ended one had no
    /// traffic for, at least. The kernel collects ended entries up to a minute late.
    #[must_use]
    pub const fn idle_time(&self) -> Duration {
        let seconds = match (self.protocol, self.tcp_state) {
            // net/netfilter/nf_conntrack_proto_tcp.c: tcp_timeouts; time-wait is the ruleset's.
            (6, 1 | 9 | 4) => 120,
            (6, 2 | 5) => 60,
            (6, 3) => 432_000,
            (6, 6 | 7) => 30,
            (6, 8) => 10,
            (17, _) if self.assured => 120,
            (17 | 1 | 58, _) => 30,
            _ => 0,
        };
        Duration::from_secs(seconds)
    }
}

/// Hears which connections end, in the network namespace of the thread that made it.
#[derive(Debug)]
pub struct EndedConnections {
    socket: OwnedFd,
    buffer: Vec<u8>,
    overruns: u64,
}

impl EndedConnections {
    /// Begins to listen: the kernel makes such events as soon as somebody does.
    ///
    /// # Errors
    /// [`ListenError`].
    pub fn listen() -> Result<Self, ListenError> {
        Ok(Self { socket: heard::open(BUFFER, GROUP_DESTROY)?, buffer: vec![0; READ], overruns: 0 })
    }

    /// Hands over the ended connections that are somebody's, without waiting. `true`: there may be more, call again.
    ///
    /// # Errors
    /// The system's, when the socket cannot be read at all.
    pub fn receive(&mut self, mut each: impl FnMut(Connection)) -> io::Result<bool> {
        for _ in 0..MOST_READS {
            match recvfrom::<NetlinkAddr>(self.socket.as_raw_fd(), &mut self.buffer) {
                // Only the kernel is believed.
                Ok((len, from)) if from.is_none_or(|from| from.pid() == 0) => {
                    let mut rest = self.buffer.get(..len).unwrap_or_default();
                    while let Some(message) = next_message(&mut rest) {
                        if message.kind() == SUBSYSTEM | DELETE
                            && let Some(connection) = attributes::connection(message.bytes.get(20..).unwrap_or_default())
                        {
                            each(connection);
                        }
                    }
                }
                Ok(_) | Err(Errno::EINTR) => {}
                // Events have no numbers: how many were lost is not known, but that some were.
                Err(Errno::ENOBUFS) => self.overruns += 1,
                Err(Errno::EAGAIN) => return Ok(false),
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(true)
    }

    /// How often the queue was full: each time one event or more was lost.
    #[must_use]
    pub const fn overruns(&self) -> u64 {
        self.overruns
    }
}

impl AsFd for EndedConnections {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Hands over the connections of this network namespace that are somebody's, as the kernel lists them: there may be a quarter of a million.
///
/// # Errors
/// [`ListenError`]; those before it were handed over.
pub fn each_connection(mut each: impl FnMut(Connection)) -> Result<(), ListenError> {
    let socket = heard::open(BUFFER, 0)?;
    let mut request = vec![0; 20];
    request.splice(0..4, 20_u32.to_ne_bytes());
    request.splice(4..6, (SUBSYSTEM | GET).to_ne_bytes());
    request.splice(6..8, F_REQUEST_DUMP.to_ne_bytes());
    let fd = socket.as_raw_fd();
    sendto(fd, &request, &NetlinkAddr::new(0, 0), MsgFlags::empty()).map_err(|errno| ListenError::Socket(errno.into()))?;
    let mut buffer = vec![0; 4 * READ];
    loop {
        // The kernel writes the next part of a dump before the reading of one part returns.
        let (len, _) = recvfrom::<NetlinkAddr>(fd, &mut buffer).map_err(|errno| ListenError::Socket(errno.into()))?;
        let mut rest = buffer.get(..len).unwrap_or_default();
        while let Some(message) = next_message(&mut rest) {
            match message.kind() {
                NLMSG_DONE => return Ok(()),
                NLMSG_ERROR => return Err(ListenError::NoConntrack(io::Error::from_raw_os_error(message.errno()))),
                kind if kind == SUBSYSTEM | NEW => {
                    if let Some(connection) = attributes::connection(message.bytes.get(20..).unwrap_or_default()) {
                        each(connection);
                    }
                }
                _ => {}
            }
        }
    }
}
