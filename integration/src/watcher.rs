//! What is on a pod's wire, seen from its outer end: not the client's word, the kernel's.
//!
//! # Limitations
//! It sees frames as the outer device does, so what netfilter in the pod let out, whatever made it (AF_PACKET and AF_XDP
//! included). It does not see what stays on the pod's loopback. A burst beyond 32 MiB of buffer is lost, and then every query
//! panics: a watcher that has missed something must not say "nothing".

mod packet;

use std::io::IoSliceMut;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::cmsg_space;
use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeSpec;

pub use packet::{Direction, Packet, TcpFlags};

use crate::{Namespace, Pod};

/// Bytes of packets that wait to be read.
const BUFFER: usize = 32 << 20;

/// Packets that are kept at most.
const KEPT: usize = 2_000_000;

/// Where [`Watcher::catch_up`] sends its marks: a multicast group that no pod is in, so nobody answers.
pub(crate) const MARKS: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(239, 255, 77, 77), 9);

/// A capture of one pod's wire that runs until it is dropped.
#[derive(Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
    reader: Option<JoinHandle<()>>,
    outside: Arc<Namespace>,
    gateway: Ipv4Addr,
    marks: AtomicU32,
}

#[derive(Debug, Default)]
struct Shared {
    packets: Mutex<Vec<Packet>>,
    lost: AtomicU32,
    mark_seen: AtomicU32,
    stop: AtomicBool,
}

impl Watcher {
    /// Starts one; it sees every packet from now on.
    ///
    /// # Panics
    /// When the socket cannot be had.
    #[must_use]
    pub fn start(pod: &Pod) -> Self {
        let outside = Arc::clone(pod.world().outside());
        let wire = pod.wire();
        let (capture, index) = outside.run(move || (open(), if_nametoindex(wire.as_str()).expect("the pod's wire")));
        let shared = Arc::new(Shared::default());
        let for_reader = Arc::clone(&shared);
        let reader = std::thread::spawn(move || read_all(&capture, index as usize, &for_reader));
        Self { shared, reader: Some(reader), outside, gateway: pod.gateway(), marks: AtomicU32::new(0) }
    }

    /// Waits until everything sent before is known: a marked packet is put on the wire and has to be seen. So each of the
    /// queries below also proves that the watcher sees.
    ///
    /// # Panics
    /// When the mark is not seen within 5 s, or when packets were lost.
    pub fn catch_up(&self) {
        // A frame of the pod waits in a per-CPU backlog for less than this.
        std::thread::sleep(Duration::from_millis(20));
        let mark = self.marks.fetch_add(1, Ordering::Relaxed) + 1;
        let gateway = self.gateway;
        self.outside.run(move || send_mark(gateway, mark));
        let seen = || (self.shared.mark_seen.load(Ordering::Acquire) >= mark).then_some(());
        assert!(crate::wait_until(Duration::from_secs(5), seen).is_some(), "the watcher of {gateway} is blind");
        let lost = self.shared.lost.load(Ordering::Acquire);
        assert_eq!(lost, 0, "the watcher of {gateway} has lost {lost} packets: send more slowly");
    }

    /// Every packet that left the pod and fits.
    #[must_use]
    pub fn left_pod(&self, fits: impl Fn(&Packet) -> bool) -> Vec<Packet> {
        self.all(|packet| packet.direction == Direction::FromPod && fits(packet))
    }

    /// Every packet that was sent to the pod and fits.
    #[must_use]
    pub fn entered_pod(&self, fits: impl Fn(&Packet) -> bool) -> Vec<Packet> {
        self.all(|packet| packet.direction == Direction::ToPod && fits(packet))
    }

    /// What left the pod but for the kernel's housekeeping ([`Packet::is_housekeeping`]).
    #[must_use]
    pub fn leaks(&self) -> Vec<Packet> {
        self.left_pod(|packet| !packet.is_housekeeping())
    }

    /// Asserts that nothing but housekeeping left, and prints what did.
    ///
    /// # Panics
    /// When something left.
    pub fn expect_silence(&self, when: &str) {
        let leaks = self.leaks();
        let lines: String = leaks.iter().take(20).map(|packet| format!("    {packet}\n")).collect();
        assert!(leaks.is_empty(), "{when}: {} packets left the pod:\n{lines}", leaks.len());
    }

    /// Every packet of either direction that fits, oldest first.
    ///
    /// # Panics
    /// As [`Watcher::catch_up`].
    #[must_use]
    pub fn all(&self, fits: impl Fn(&Packet) -> bool) -> Vec<Packet> {
        self.catch_up();
        self.shared.packets.lock().unwrap().iter().filter(|packet| fits(packet)).cloned().collect()
    }

    /// Waits for the first packet of either direction that fits.
    ///
    /// # Panics
    /// When the reader has panicked.
    #[must_use]
    pub fn wait_for(&self, limit: Duration, fits: impl Fn(&Packet) -> bool) -> Option<Packet> {
        crate::wait_until(limit, || self.shared.packets.lock().unwrap().iter().find(|packet| fits(packet)).cloned())
    }

    /// Forgets what was seen up to now.
    ///
    /// # Panics
    /// As [`Watcher::catch_up`].
    pub fn forget(&self) {
        self.catch_up();
        self.shared.packets.lock().unwrap().clear();
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        if let Some(reader) = self.reader.take() {
            let _reported_already = reader.join();
        }
    }
}

/// A socket on every device of the calling thread's namespace (nix has no safe way to name one; the reader picks).
fn open() -> OwnedFd {
    let capture = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll).expect("AF_PACKET");
    setsockopt(&capture, sockopt::RcvBuf, &BUFFER).expect("SO_RCVBUF");
    // Beyond net.core.rmem_max only with NET_ADMIN over the machine, which a user namespace has not.
    let _small_buffer_then = setsockopt(&capture, sockopt::RcvBufForce, &BUFFER);
    setsockopt(&capture, sockopt::RxqOvfl, &1).expect("SO_RXQ_OVFL");
    setsockopt(&capture, sockopt::ReceiveTimestampns, &true).expect("SO_TIMESTAMPNS");
    capture
}

fn read_all(capture: &OwnedFd, wire: usize, shared: &Shared) {
    let mut frame = vec![0; 70_000];
    let mut control = cmsg_space!(TimeSpec, u32);
    while !shared.stop.load(Ordering::Acquire) {
        let mut ready = [PollFd::new(capture.as_fd(), PollFlags::POLLIN)];
        if !matches!(poll(&mut ready, PollTimeout::from(50u8)), Ok(1..)) {
            continue;
        }
        loop {
            let mut parts = [IoSliceMut::new(&mut frame)];
            let Ok(read) = recvmsg::<LinkAddr>(capture.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::MSG_DONTWAIT) else {
                break;
            };
            let mut at = SystemTime::now();
            for message in read.cmsgs().expect("control messages") {
                match message {
                    ControlMessageOwned::ScmTimestampns(time) => at = UNIX_EPOCH + Duration::from(time),
                    ControlMessageOwned::RxqOvfl(lost) => shared.lost.store(lost, Ordering::Release),
                    _ => {}
                }
            }
            let (length, address) = (read.bytes, read.address);
            let Some(address) = address.filter(|address| address.ifindex() == wire) else { continue };
            let packet = Packet::parse(at, Direction::of(address.pkttype()), &frame[..length]);
            if packet.is_to(MARKS.into()) {
                let mark = packet.payload.first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes));
                shared.mark_seen.fetch_max(mark, Ordering::AcqRel);
                continue;
            }
            let mut packets = shared.packets.lock().unwrap();
            assert!(packets.len() < KEPT, "a watcher keeps {KEPT} packets");
            packets.push(packet);
        }
    }
}

fn send_mark(gateway: Ipv4Addr, mark: u32) {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).expect("a socket");
    socket.bind(&SocketAddrV4::new(gateway, 0).into()).expect("the gateway's address");
    socket.set_multicast_if_v4(&gateway).expect("IP_MULTICAST_IF");
    socket.send_to(&mark.to_be_bytes(), &MARKS.into()).expect("a mark on the wire");
}
