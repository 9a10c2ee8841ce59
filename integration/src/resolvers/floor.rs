//! The floor: the least that anybody can do for a question, by two programs of one thread that receive and send in batches.
//!
//! [`echo`] turns the question into a reply by its QR bit: what the kernel takes to bring a question and take a reply away.
//! [`relay`] asks the upstream for each question and hands the answer back as it came: the echo and one exchange with the upstream.

use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};

/// Messages a system call.
const BATCH: usize = 32;
/// The largest message without fragments.
const LARGEST: usize = 1472;

/// A message and where it came from or goes to; `None` on a connected socket.
type Message = (Vec<u8>, Option<SockaddrIn>);

/// Answers every question on `listen` with itself, QR set, for as long as the process lives.
///
/// # Panics
/// When the address cannot be had.
pub fn echo(listen: SocketAddrV4) -> ! {
    let socket = UdpSocket::bind(listen).expect("the address to listen on");
    let mut batch = Batch::new();
    loop {
        // Waits for the first message and takes those that are there already.
        batch.receive(&socket, MsgFlags::MSG_WAITFORONE);
        for (bytes, _) in batch.messages() {
            bytes[2] |= 0x80;
        }
        batch.send(&socket);
    }
}

/// Asks `upstream` for every question on `listen` and gives its answer back, for as long as the process lives. It believes whatever
/// comes from the upstream's address: nobody may use it for anything but this measurement.
///
/// # Panics
/// When an address cannot be had.
pub fn relay(listen: SocketAddrV4, upstream: SocketAddrV4) -> ! {
    let clients = UdpSocket::bind(listen).expect("the address to listen on");
    let server = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    server.connect(upstream).expect("a route to the upstream");
    let mut asked: Vec<Option<([u8; 2], Option<SockaddrIn>)>> = vec![None; 1 << 16];
    let (mut batch, mut next) = (Batch::new(), 0_u16);
    loop {
        let mut ready = [PollFd::new(clients.as_fd(), PollFlags::POLLIN), PollFd::new(server.as_fd(), PollFlags::POLLIN)];
        let _interrupted = poll(&mut ready, PollTimeout::NONE);
        let [ask, tell] = ready.map(|fd| fd.any().unwrap_or(false));
        if ask {
            batch.receive(&clients, MsgFlags::MSG_DONTWAIT);
            for (bytes, client) in batch.messages() {
                next = next.wrapping_add(1);
                asked[usize::from(next)] = Some(([bytes[0], bytes[1]], client.take()));
                bytes[..2].copy_from_slice(&next.to_be_bytes());
            }
            batch.send(&server);
        }
        if tell {
            batch.receive(&server, MsgFlags::MSG_DONTWAIT);
            for (bytes, client) in batch.messages() {
                let slot = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
                // What nobody asked for goes nowhere.
                *client = asked[slot].take().and_then(|(id, from)| {
                    bytes[..2].copy_from_slice(&id);
                    from
                });
            }
            batch.send(&clients);
        }
    }
}

/// Room for one batch, kept from one to the next.
struct Batch {
    received: MultiHeaders<SockaddrIn>,
    sent: MultiHeaders<SockaddrIn>,
    messages: Vec<Message>,
    lengths: Vec<usize>,
}

impl Batch {
    fn new() -> Self {
        let headers = || MultiHeaders::preallocate(BATCH, None);
        Self { received: headers(), sent: headers(), messages: vec![(vec![0; LARGEST], None); BATCH], lengths: Vec::with_capacity(BATCH) }
    }

    fn receive(&mut self, socket: &UdpSocket, flags: MsgFlags) {
        self.lengths.clear();
        let (buffers, mut senders): (Vec<_>, Vec<_>) = self.messages.iter_mut().map(|(buffer, sender)| (buffer, sender)).unzip();
        let mut slices: Vec<_> = buffers.into_iter().map(|buffer| [std::io::IoSliceMut::new(buffer)]).collect();
        // An error is an ICMP message's or a signal's: the next call goes on.
        let Ok(came) = recvmmsg(socket.as_raw_fd(), &mut self.received, slices.iter_mut(), flags, None) else { return };
        for (message, sender) in came.zip(&mut senders) {
            self.lengths.push(message.bytes);
            **sender = message.address;
        }
    }

    /// What was received, without what is no DNS message.
    fn messages(&mut self) -> impl Iterator<Item = (&mut [u8], &mut Option<SockaddrIn>)> {
        let full = self.messages.iter_mut().zip(&self.lengths);
        full.filter(|(_, length)| **length >= 12).map(|((buffer, address), length)| (&mut buffer[..*length], address))
    }

    /// Sends what was received, as it was changed, all of it unless the socket fails.
    fn send(&mut self, socket: &UdpSocket) {
        let full = || self.messages.iter().zip(&self.lengths);
        let slices: Vec<_> = full().map(|((buffer, _), length)| [std::io::IoSlice::new(&buffer[..*length])]).collect();
        let addresses: Vec<_> = full().map(|((_, address), _)| *address).collect();
        let mut done = 0;
        while done < slices.len() {
            match sendmmsg(socket.as_raw_fd(), &mut self.sent, &slices[done..], &addresses[done..], [], MsgFlags::empty()) {
                Ok(sent) => done += sent.count(),
                Err(Errno::EINTR) => {}
                // One client's error (its port is closed) is not the next one's.
                Err(_) => done += 1,
            }
        }
    }
}
