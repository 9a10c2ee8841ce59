//! Servers to connect to, on any address of a namespace; they remember who came.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;

use crate::Namespace;

/// How many visits and bytes a visit are kept.
const KEPT: usize = 200_000;
const KEPT_BYTES: usize = 256;

/// Somebody who connected, or one datagram.
#[derive(Clone, Debug)]
pub struct Visit {
    /// When.
    pub at: SystemTime,
    /// From where.
    pub from: SocketAddr,
    /// The first 256 bytes that came (a TCP visit: so far).
    pub heard: Vec<u8>,
}

type Visits = Arc<Mutex<Vec<Visit>>>;

/// A TCP server: sends its banner, then echoes what it reads.
#[derive(Debug)]
pub struct TcpTarget(Target);

/// A UDP server: echoes each datagram to its sender.
#[derive(Debug)]
pub struct UdpTarget(Target);

#[derive(Debug)]
struct Target {
    address: SocketAddr,
    visits: Visits,
    task: JoinHandle<()>,
    _namespace: Arc<Namespace>,
}

impl Drop for Target {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Target {
    fn start<S: Send + 'static, F: Future<Output = ()> + Send + 'static>(
        namespace: &Arc<Namespace>,
        bind: impl Future<Output = (S, SocketAddr)> + Send + 'static,
        serve: impl FnOnce(S, Visits) -> F,
    ) -> Self {
        let visits = Visits::default();
        let (socket, address) = namespace.wait_for(bind);
        let task = namespace.runtime().spawn(serve(socket, Arc::clone(&visits)));
        Self { address, visits, task, _namespace: Arc::clone(namespace) }
    }

    fn wait(&self, count: usize, limit: Duration) -> bool {
        crate::wait_until(limit, || (self.visits.lock().unwrap().len() >= count).then_some(())).is_some()
    }
}

macro_rules! visits {
    ($($target:ty),*) => { $(impl $target {
        /// Where it listens (port 0 has become a real one).
        #[must_use]
        pub fn address(&self) -> SocketAddr {
            self.0.address
        }

        /// Who came, oldest first.
        #[must_use]
        pub fn visits(&self) -> Vec<Visit> {
            self.0.visits.lock().unwrap().clone()
        }

        /// How many came.
        #[must_use]
        pub fn count(&self) -> usize {
            self.0.visits.lock().unwrap().len()
        }

        /// Waits until at least `count` came; false when they did not within `limit`.
        #[must_use]
        pub fn wait(&self, count: usize, limit: Duration) -> bool {
            self.0.wait(count, limit)
        }

        /// Forgets who came.
        pub fn forget(&self) {
            self.0.visits.lock().unwrap().clear();
        }
    })* };
}
visits!(TcpTarget, UdpTarget);

impl TcpTarget {
    /// Listens in `namespace` on `address`; each connection is greeted with `banner` (empty for none), then echoed to.
    ///
    /// # Panics
    /// When the address cannot be had.
    #[must_use]
    pub fn start(namespace: &Arc<Namespace>, address: impl Into<SocketAddr>, banner: &str) -> Self {
        let (address, banner) = (address.into(), banner.to_owned());
        let bind = async move {
            let listener = TcpListener::bind(address).await.unwrap_or_else(|cause| panic!("tcp target on {address}: {cause}"));
            let real = listener.local_addr().expect("own address");
            (listener, real)
        };
        Self(Target::start(namespace, bind, move |listener, visits| accept(listener, banner, visits)))
    }

    /// The same with an address as text: `"198.51.100.7:443"`, `"[2001:db8:ffff::7]:443"`.
    ///
    /// # Panics
    /// When it is no socket address, or cannot be had.
    #[must_use]
    pub fn on(namespace: &Arc<Namespace>, address: &str, banner: &str) -> Self {
        Self::start(namespace, address.parse::<SocketAddr>().expect("address:port"), banner)
    }
}

impl UdpTarget {
    /// Listens in `namespace` on `address`.
    ///
    /// # Panics
    /// When it is no socket address, or cannot be had.
    #[must_use]
    pub fn on(namespace: &Arc<Namespace>, address: &str) -> Self {
        let address: SocketAddr = address.parse().expect("address:port");
        let bind = async move {
            let socket = UdpSocket::bind(address).await.unwrap_or_else(|cause| panic!("udp target on {address}: {cause}"));
            let real = socket.local_addr().expect("own address");
            (socket, real)
        };
        Self(Target::start(namespace, bind, echo_datagrams))
    }
}

fn note(visits: &Visits, from: SocketAddr, heard: &[u8]) -> usize {
    let mut visits = visits.lock().unwrap();
    if visits.len() < KEPT {
        let heard = heard[..heard.len().min(KEPT_BYTES)].to_vec();
        visits.push(Visit { at: SystemTime::now(), from, heard });
    }
    visits.len() - 1
}

async fn accept(listener: TcpListener, banner: String, visits: Visits) {
    while let Ok((stream, from)) = listener.accept().await {
        let place = note(&visits, from, &[]);
        tokio::spawn(talk(stream, banner.clone(), Arc::clone(&visits), place));
    }
}

async fn talk(mut stream: TcpStream, banner: String, visits: Visits, place: usize) {
    let _client_gone = stream.write_all(banner.as_bytes()).await;
    let mut buffer = vec![0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        if let Some(visit) = visits.lock().unwrap().get_mut(place) {
            let room = KEPT_BYTES.saturating_sub(visit.heard.len()).min(count);
            visit.heard.extend_from_slice(&buffer[..room]);
        }
        if stream.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

async fn echo_datagrams(socket: UdpSocket, visits: Visits) {
    let mut buffer = vec![0; 65_535];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        note(&visits, from, &buffer[..length]);
        let _client_gone = socket.send_to(&buffer[..length], from).await;
    }
}
