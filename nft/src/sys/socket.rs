//! The netlink socket: what is sent is answered before the call returns, so nothing here ever waits.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd},
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, fcntl},
    sys::socket::{MsgFlags, recv, setsockopt, sockopt},
};

use super::{Batch, Refused};

/// One read: dumps come in pieces of at most 32 KiB.
const READ: usize = 64 * 1024;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const F_DUMP_INTR: u16 = 0x10;

/// The acknowledgement did not come: what the kernel holds is unknown.
#[derive(Debug)]
pub(crate) struct Lost(pub(crate) io::Error);

/// How a batch can fail.
#[derive(Debug)]
pub(crate) enum SendError {
    Refused(Refused),
    Lost(Lost),
}

/// One message that came.
pub(crate) struct Message<'a> {
    kind: u16,
    flags: u16,
    seq: u32,
    /// The whole message, header included, aligned for it.
    pub(crate) bytes: &'a [u8],
}

impl Message<'_> {
    pub(crate) const fn kind(&self) -> u16 {
        self.kind
    }

    /// The error number of NLMSG_ERROR, and of NLMSG_DONE where a dump failed at its end.
    pub(crate) fn errno(&self) -> i32 {
        match self.bytes.get(16..20).and_then(|bytes| bytes.try_into().ok()) {
            Some(bytes) => i32::from_ne_bytes(bytes).wrapping_neg(),
            None => 0,
        }
    }
}

/// A socket of the network namespace that it was made in.
pub(crate) struct Netlink {
    socket: mnl::Socket,
    buffer: Vec<u64>,
    seq: u32,
}

// SAFETY: libmnl keeps a descriptor and an address in the socket, nothing that belongs to a thread; only one thread has it at a time.
unsafe impl Send for Netlink {}

impl std::fmt::Debug for Netlink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Netlink").field("fd", &self.socket.as_raw_fd()).finish_non_exhaustive()
    }
}

impl Netlink {
    /// `buffer`: bytes for what is sent in one piece, and for what waits to be read. With CAP_NET_ADMIN of the first user namespace the
    /// kernel gives it; else as much as `net.core.wmem_max` and `rmem_max` allow.
    pub(crate) fn open(buffer: usize) -> io::Result<Self> {
        let socket = mnl::Socket::new(mnl::Bus::Netfilter)?;
        let netlink = Self { socket, buffer: vec![0; READ / 8], seq: 1 };
        let fd = netlink.fd();
        fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        if setsockopt(&fd, sockopt::SndBufForce, &buffer).is_err() {
            setsockopt(&fd, sockopt::SndBuf, &buffer)?;
        }
        if setsockopt(&fd, sockopt::RcvBufForce, &buffer).is_err() {
            setsockopt(&fd, sockopt::RcvBuf, &buffer)?;
        }
        Ok(netlink)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the socket is open for as long as `self`, which the result borrows.
        unsafe { BorrowedFd::borrow_raw(self.socket.as_raw_fd()) }
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        loop {
            match self.socket.send(bytes) {
                Ok(sent) if sent == bytes.len() => return Ok(()),
                Ok(_) => return Err(io::Error::from(io::ErrorKind::WriteZero)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes whatever has come, without waiting. `false`: nothing (more) is there.
    fn receive(&mut self, mut each: impl FnMut(Message<'_>)) -> io::Result<bool> {
        let fd = self.socket.as_raw_fd();
        let bytes = bytes_of(&mut self.buffer);
        let len = loop {
            match recv(fd, bytes, MsgFlags::MSG_DONTWAIT) {
                Ok(0) | Err(Errno::EAGAIN) => return Ok(false),
                Ok(len) => break len,
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        };
        let mut rest = bytes.get(..len).unwrap_or_default();
        while let Some(message) = next_message(&mut rest) {
            each(message);
        }
        Ok(true)
    }

    /// Sends a batch and reads until its last message is acknowledged.
    pub(crate) fn commit(&mut self, batch: &mut Batch) -> Result<(), SendError> {
        if batch.is_empty() {
            return Ok(());
        }
        let first = self.seq;
        let last = batch.len() as u32;
        self.seq = self.seq.wrapping_add(last + 2);
        let refused = |(table, what), errno| SendError::Refused(Refused { table, what, source: io::Error::from_raw_os_error(errno) });
        let bytes = batch.finish(first).map_err(|what| refused((None, what), libc_einval()))?;
        self.send(bytes).map_err(|error| SendError::Lost(Lost(error)))?;
        let mut failed: Option<(u32, i32)> = None;
        let mut acknowledged = false;
        let mut over = false;
        while !over {
            let more = self.receive(|message| {
                let number = message.seq.wrapping_sub(first);
                if message.kind != NLMSG_ERROR || number > last {
                    return;
                }
                match message.errno() {
                    0 => acknowledged |= number == last,
                    errno => {
                        failed.get_or_insert((number, errno));
                    }
                }
                over |= number == last;
            });
            match more {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    self.drain();
                    return Err(SendError::Lost(Lost(error)));
                }
            }
        }
        match failed {
            Some((number, errno)) => {
                // An error of an earlier message does not stop the kernel: the acknowledgement of the last one follows it.
                self.drain();
                Err(refused(batch.what(number), errno))
            }
            None if acknowledged => Ok(()),
            None => Err(SendError::Lost(Lost(io::Error::from(io::ErrorKind::UnexpectedEof)))),
        }
    }

    /// Throws away what is left, so that the next answer is the next question's.
    fn drain(&mut self) {
        for _ in 0..100_000 {
            match self.receive(|_| ()) {
                Ok(true) | Err(_) => {}
                Ok(false) => return,
            }
        }
    }

    /// Sends one question and hands over the messages of its answer. `Ok(false)`: the table changed in between, ask again.
    pub(super) fn ask(&mut self, build: impl FnOnce(u32) -> Vec<u8>, mut each: impl FnMut(&Message<'_>)) -> io::Result<bool> {
        let seq = self.seq;
        self.seq = self.seq.wrapping_add(1);
        self.send(&build(seq))?;
        let mut steady = true;
        let mut result: Option<io::Result<()>> = None;
        while result.is_none() {
            let more = self.receive(|message| {
                if message.seq != seq {
                    return;
                }
                steady &= message.flags & F_DUMP_INTR == 0;
                match message.kind {
                    NLMSG_ERROR | NLMSG_DONE => {
                        let errno = message.errno();
                        result = Some(if errno == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(errno)) });
                    }
                    _ => each(&message),
                }
            });
            match more {
                Ok(true) => {}
                Ok(false) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
                Err(error) => {
                    self.drain();
                    return Err(error);
                }
            }
        }
        match result {
            Some(Err(error)) if error.raw_os_error() == Some(Errno::EINTR as i32) => Ok(false),
            Some(Err(error)) => Err(error),
            Some(Ok(())) | None => Ok(steady),
        }
    }
}

const fn libc_einval() -> i32 {
    Errno::EINVAL as i32
}

/// The buffer as bytes; it is aligned for a netlink header because it is made of u64.
fn bytes_of(buffer: &mut [u64]) -> &mut [u8] {
    // SAFETY: every bit pattern of a u64 is eight bytes, and u8 has no alignment.
    let (_, bytes, _) = unsafe { buffer.align_to_mut::<u8>() };
    bytes
}

/// Splits off the next whole message.
pub(crate) fn next_message<'a>(rest: &mut &'a [u8]) -> Option<Message<'a>> {
    let field = |at: usize, len: usize| rest.get(at..at + len);
    let len = u32::from_ne_bytes(field(0, 4)?.try_into().ok()?) as usize;
    let kind = u16::from_ne_bytes(field(4, 2)?.try_into().ok()?);
    let flags = u16::from_ne_bytes(field(6, 2)?.try_into().ok()?);
    let seq = u32::from_ne_bytes(field(8, 4)?.try_into().ok()?);
    if len < 16 {
        return None;
    }
    let bytes = rest.get(..len)?;
    *rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
    Some(Message { kind, flags, seq, bytes })
}
