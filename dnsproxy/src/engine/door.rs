//! One UDP socket that apps ask on: a system call takes and gives up to [`BATCH`] datagrams.
//!
//! Fast path. A datagram a call costs a resolver a quarter of all its time under load; the buffers are made once and used again.

use std::{
    array,
    io::{self, IoSlice, IoSliceMut},
    net::SocketAddr,
    os::fd::AsRawFd,
};

use mio::{Interest, Registry, Token, net::UdpSocket};
use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg},
};

use super::outbox::{Outbox, Waiting};
use crate::query::MAX_QUERY;

/// Datagrams of one system call.
const BATCH: usize = 32;

/// Room for a datagram: one octet more than the longest question, so that a longer one is seen to be longer.
const SLOT: usize = MAX_QUERY + 1;

/// A socket, and its buffers.
pub(crate) struct Door {
    socket: UdpSocket,
    received: MultiHeaders<SockaddrStorage>,
    sending: MultiHeaders<SockaddrStorage>,
    buffers: Box<[[u8; SLOT]; BATCH]>,
    /// How long each datagram was, and who sent it.
    arrivals: Vec<(usize, SocketAddr)>,
    /// Whether more may wait than was taken.
    pub(crate) more: bool,
}

impl Door {
    /// Takes over a bound, non-blocking socket, and waits for its datagrams: only for those. Waiting for room to send as well would wake
    /// the thread for each datagram that a client has taken.
    pub(crate) fn open(socket: std::net::UdpSocket, registry: &Registry, token: Token) -> io::Result<Self> {
        let mut socket = UdpSocket::from_std(socket);
        registry.register(&mut socket, token, Interest::READABLE)?;
        let (received, sending) = (MultiHeaders::preallocate(BATCH, None), MultiHeaders::preallocate(BATCH, None));
        Ok(Self { socket, received, sending, buffers: room(), arrivals: Vec::with_capacity(BATCH), more: false })
    }

    /// Stops waiting for datagrams.
    pub(crate) fn close(&mut self, registry: &Registry) {
        // It is closed with the thread at the latest.
        let _ = registry.deregister(&mut self.socket);
        self.more = false;
    }

    /// Takes one batch, and hands each datagram over.
    pub(crate) fn receive(&mut self, mut each: impl FnMut(&[u8], SocketAddr)) {
        let taken = self.take();
        // Readiness is told once for all that has come: only a batch that is not full says that no more is there.
        self.more = matches!(taken, Ok(BATCH) | Err(Errno::EINTR));
        if let Err(error) = taken
            && !matches!(error, Errno::EAGAIN | Errno::EINTR)
        {
            // Not tried again before the next datagram comes: an error that stays must not take the processor.
            tracing::debug!(%error, "receiving a datagram failed");
        }
        for ((length, client), buffer) in self.arrivals.iter().zip(self.buffers.iter()) {
            each(buffer.get(..*length).unwrap_or_default(), *client);
        }
    }

    fn take(&mut self) -> Result<usize, Errno> {
        self.arrivals.clear();
        let mut slices = self.buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
        let fd = self.socket.as_raw_fd();
        let results = recvmmsg(fd, &mut self.received, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None)?;
        let mut count = 0;
        for message in results {
            count += 1;
            let client = message.address.as_ref().and_then(address).unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)));
            self.arrivals.push((message.bytes, client));
        }
        Ok(count)
    }

    /// Sends all replies of an outbox; how many the kernel did not take.
    pub(crate) fn send(&mut self, outbox: &Outbox) -> usize {
        let mut lost = 0;
        let mut rest = outbox.replies();
        while let Some(first) = rest.first() {
            let sent = match rest.len() {
                1 => self.socket.send_to(&first.message, first.client).map(|_| 1),
                _ => self.send_many(rest).map_err(io::Error::from),
            };
            // What failed is the first of those that are left: the others go on without it.
            let (passed, failed) = match sent {
                Ok(sent @ 1..) => (sent, 0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (0, 0),
                Ok(0) | Err(_) => (1, 1),
            };
            lost += failed;
            rest = rest.get(passed..).unwrap_or_default();
        }
        lost
    }

    fn send_many(&mut self, replies: &[Waiting]) -> Result<usize, Errno> {
        let slices: [_; BATCH] = array::from_fn(|at| [IoSlice::new(replies.get(at).map_or(&[], |reply| &reply.message))]);
        let to: [_; BATCH] = array::from_fn(|at| replies.get(at).map(|reply| SockaddrStorage::from(reply.client)));
        let sent = sendmmsg(self.socket.as_raw_fd(), &mut self.sending, slices.iter().take(replies.len()), to, [], MsgFlags::MSG_DONTWAIT)?;
        Ok(sent.count())
    }
}

/// Room for one batch, made on the heap.
fn room() -> Box<[[u8; SLOT]; BATCH]> {
    let slots = vec![[0; SLOT]; BATCH].into_boxed_slice();
    // The length is BATCH; on the stack it would only be made if that were not so.
    slots.try_into().unwrap_or_else(|_| Box::new([[0; SLOT]; BATCH]))
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage.as_sockaddr_in().map(|v4| SocketAddr::from((v4.ip(), v4.port())));
    v4.or_else(|| storage.as_sockaddr_in6().map(|v6| SocketAddr::from((v6.ip(), v6.port()))))
}
