//! Attempts to get out, one after the other as fast as they fail: UDP and TCP, both families, each from a socket of its own.

use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::{Packet, Pod};

/// Where they go: addresses that no policy of a test permits.
pub const FORBIDDEN: [&str; 2] = ["203.0.113.9", "2001:db8:ffff::9"];

/// HTTPS, DNS over TLS, and something else.
const PORTS: [u16; 3] = [443, 853, 9000];

/// A stream of attempts that goes on until it is stopped.
#[derive(Debug)]
pub struct Attempts {
    stop: Arc<AtomicBool>,
    made: Arc<AtomicU64>,
    through: Arc<AtomicU64>,
    worker: Option<JoinHandle<()>>,
}

impl Attempts {
    /// Starts it in the pod.
    #[must_use]
    pub fn start(pod: &Pod) -> Self {
        let (stop, made, through) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let shared = (Arc::clone(&stop), Arc::clone(&made), Arc::clone(&through));
        let worker = pod.namespace().thread(move || {
            let (stop, made, through) = shared;
            let targets: Vec<SocketAddr> =
                FORBIDDEN.iter().flat_map(|ip| PORTS.map(|port| SocketAddr::new(ip.parse().expect("an address"), port))).collect();
            for target in targets.iter().cycle() {
                if stop.load(Ordering::Acquire) {
                    return;
                }
                let passed = u64::from(udp(*target)) + u64::from(tcp(*target));
                through.fetch_add(passed, Ordering::AcqRel);
                made.fetch_add(2, Ordering::AcqRel);
                std::thread::sleep(Duration::from_micros(300));
            }
        });
        Self { stop, made, through, worker: Some(worker) }
    }

    /// How many were made so far.
    #[must_use]
    pub fn made(&self) -> u64 {
        self.made.load(Ordering::Acquire)
    }

    /// How many of them the client thought to have left: a datagram taken, a connection established.
    #[must_use]
    pub fn through(&self) -> u64 {
        self.through.load(Ordering::Acquire)
    }

    /// Waits until so many more were made.
    ///
    /// # Panics
    /// When they are not made within 20 s.
    pub fn wait_for_more(&self, count: u64) {
        let goal = self.made() + count;
        let done = crate::wait_until(Duration::from_secs(20), || (self.made() >= goal).then_some(()));
        assert!(done.is_some(), "{} of {goal} attempts were made", self.made());
    }

    /// Whether a packet is one of theirs.
    #[must_use]
    pub fn is_one(packet: &Packet) -> bool {
        FORBIDDEN.iter().any(|ip| packet.destination.to_string() == *ip)
    }
}

impl Drop for Attempts {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(worker) = self.worker.take() {
            let _reported_already = worker.join();
        }
    }
}

fn udp(target: SocketAddr) -> bool {
    let any = if target.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    UdpSocket::bind(any).and_then(|socket| socket.send_to(b"out", target)).is_ok()
}

fn tcp(target: SocketAddr) -> bool {
    let Ok(stream) = TcpStream::connect_timeout(&target, Duration::from_millis(300)) else { return false };
    // No port stays in TIME_WAIT.
    let _closed_anyhow = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    true
}
