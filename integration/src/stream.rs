//! Streams of packets under which policies are reloaded: what was sent, what arrived, and what was refused, counted one by one.

use std::collections::{BTreeMap, HashSet};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::{Namespace, Pod};

/// The first bytes of each numbered datagram.
const MAGIC: &[u8; 8] = b"numbered";

/// Numbered datagrams from a pod to one target, at a bounded rate, until it is stopped.
#[derive(Debug)]
pub struct UdpStream {
    stop: Arc<AtomicBool>,
    sender: JoinHandle<Sent>,
}

/// What a sender did.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    /// Datagrams that the kernel took; numbered 0, 1, … without gaps.
    pub taken: u64,
    /// Calls of send that failed, by kind of error.
    pub refused: BTreeMap<String, u64>,
}

impl UdpStream {
    /// Starts to send `rate` datagrams a second (in steps of a millisecond, so at least 1,000) from `pod` to `target`.
    #[must_use]
    pub fn start(pod: &Pod, target: SocketAddr, rate: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let sender = pod.namespace().thread(move || send_all(target, rate, &stopped));
        Self { stop, sender }
    }

    /// Stops it.
    ///
    /// # Panics
    /// When the sender has panicked.
    #[must_use]
    pub fn stop(self) -> Sent {
        self.stop.store(true, Ordering::Release);
        self.sender.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause))
    }
}

fn send_all(target: SocketAddr, rate: u32, stop: &AtomicBool) -> Sent {
    let any = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).expect("a socket");
    let (mut sent, start) = (Sent::default(), Instant::now());
    let mut attempts = 0_u64;
    while !stop.load(Ordering::Acquire) {
        let due = start.elapsed().as_millis() as u64 * u64::from(rate.max(1_000) / 1_000);
        while attempts < due {
            attempts += 1;
            let datagram = [MAGIC.as_slice(), &sent.taken.to_be_bytes()].concat();
            match socket.send_to(&datagram, target) {
                Ok(_) => sent.taken += 1,
                Err(cause) => *sent.refused.entry(cause.to_string()).or_default() += 1,
            }
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    sent
}

/// Receives numbered datagrams and knows which are missing.
#[derive(Debug)]
pub struct UdpSink {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    received: Arc<AtomicU64>,
    reader: JoinHandle<HashSet<u64>>,
}

/// What became of a stream.
#[derive(Clone, Debug)]
pub struct Arrived {
    /// Datagrams that arrived, each number once.
    pub received: u64,
    /// Numbers below those sent that did not arrive, the first 20.
    pub missing: Vec<u64>,
    /// How many did not arrive.
    pub lost: u64,
}

impl UdpSink {
    /// Listens in `namespace` on `address`.
    ///
    /// # Panics
    /// When the address cannot be had.
    #[must_use]
    pub fn start(namespace: &Arc<Namespace>, address: &str) -> Self {
        let address: SocketAddr = address.parse().expect("address:port");
        let socket = namespace.run(|| UdpSocket::bind(address)).unwrap_or_else(|cause| panic!("sink on {address}: {cause}"));
        let _default_buffer_then = socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20);
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("SO_RCVTIMEO");
        let (stop, received) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counter) = (Arc::clone(&stop), Arc::clone(&received));
        let reader = std::thread::spawn(move || receive_all(&socket, &stopped, &counter));
        Self { address, stop, received, reader }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many have arrived so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Acquire)
    }

    /// Stops listening once everything sent has had 300 ms to arrive, and says what did.
    ///
    /// # Panics
    /// When the reader has panicked.
    #[must_use]
    pub fn stop(self, sent: &Sent) -> Arrived {
        let _late_ones_are_lost = crate::wait_until(Duration::from_millis(300), || (self.received() >= sent.taken).then_some(()));
        self.stop.store(true, Ordering::Release);
        let seen = self.reader.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause));
        let missing: Vec<u64> = (0..sent.taken).filter(|number| !seen.contains(number)).collect();
        Arrived { received: seen.len() as u64, lost: missing.len() as u64, missing: missing.into_iter().take(20).collect() }
    }
}

fn receive_all(socket: &UdpSocket, stop: &AtomicBool, received: &AtomicU64) -> HashSet<u64> {
    let (mut seen, mut buffer) = (HashSet::new(), [0; 64]);
    while !stop.load(Ordering::Acquire) {
        let Ok(length) = socket.recv(&mut buffer) else { continue };
        let Some(number) = buffer[..length].strip_prefix(MAGIC).and_then(|rest| rest.first_chunk::<8>()) else { continue };
        if seen.insert(u64::from_be_bytes(*number)) {
            received.fetch_add(1, Ordering::AcqRel);
        }
    }
    seen
}

/// TCP connects from a pod to one target, one after the other, until it is stopped.
#[derive(Debug)]
pub struct ConnectStream {
    stop: Arc<AtomicBool>,
    worker: JoinHandle<Connected>,
}

/// What became of the connects.
#[derive(Clone, Debug, Default)]
pub struct Connected {
    /// Established, then closed with a reset (so that no port stays in TIME_WAIT).
    pub established: u64,
    /// Failures, by kind of error.
    pub failed: BTreeMap<String, u64>,
    /// The longest that one took.
    pub slowest: Duration,
}

impl ConnectStream {
    /// Starts to connect from `pod` to `target`, with `pause` between two.
    #[must_use]
    pub fn start(pod: &Pod, target: SocketAddr, pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let worker = pod.namespace().thread(move || {
            let mut connected = Connected::default();
            while !stopped.load(Ordering::Acquire) {
                let start = Instant::now();
                match connect_once(target) {
                    Ok(()) => connected.established += 1,
                    Err(kind) => *connected.failed.entry(format!("{kind:?}")).or_default() += 1,
                }
                connected.slowest = connected.slowest.max(start.elapsed());
                std::thread::sleep(pause);
            }
            connected
        });
        Self { stop, worker }
    }

    /// Stops it.
    ///
    /// # Panics
    /// When the worker has panicked.
    #[must_use]
    pub fn stop(self) -> Connected {
        self.stop.store(true, Ordering::Release);
        self.worker.join().unwrap_or_else(|cause| std::panic::resume_unwind(cause))
    }
}

fn connect_once(target: SocketAddr) -> Result<(), ErrorKind> {
    let stream = TcpStream::connect_timeout(&target, Duration::from_secs(2)).map_err(|cause| cause.kind())?;
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).map_err(|cause| cause.kind())
}
