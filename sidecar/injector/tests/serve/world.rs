//! A server on loopback with a directory of its own, and its other port.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, SystemTime};

use injector::ca::{self, NewCa};
use injector::certificates::Source;
use injector::serve::{Options, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::client::NAME;
use crate::echo::reviewers;
pub(crate) use crate::mounted::swap;

/// Looks come this often in tests.
pub(crate) const LOOK: Duration = Duration::from_millis(50);

/// A running server.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) https: SocketAddr,
    pub(crate) ops: SocketAddr,
    pub(crate) stop: Option<oneshot::Sender<()>>,
    pub(crate) running: JoinHandle<()>,
}

impl World {
    /// A server with a CA that is in the directory as the Secret would be.
    pub(crate) fn start(change: impl FnOnce(&Path, &mut Options)) -> (World, NewCa) {
        let dir = tempfile::tempdir().unwrap();
        let ca = new_ca();
        write_ca(dir.path(), "tls", &ca);
        let local = (Some(IpAddr::from(Ipv4Addr::LOCALHOST)), 0);
        let mut options = Options {
            https: local,
            ops: local,
            settings: None,
            platform: None,
            source: Source::Ca { dir: dir.path().to_owned(), names: vec![NAME.to_owned()], lifetime: Duration::from_secs(86_400) },
            look: LOOK,
            drain_pause: Duration::ZERO,
            drain_timeout: Duration::from_secs(10),
        };
        change(dir.path(), &mut options);
        let server = Server::build(options, reviewers()).unwrap();
        let (https, ops) = server.addresses().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(server.run(async move {
            let _ = stopped.await;
        }));
        (World { dir, https, ops, stop: Some(stop), running }, ca)
    }

    /// What the other port says to a GET: its status, and the body.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.ops).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// The value of a metric, by its name with labels.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics").await;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }

    /// Waits until a counter is `wanted` or more.
    pub(crate) async fn at_least(&self, name: &str, wanted: f64) {
        for _ in 0..200 {
            if self.metric(name).await >= wanted {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
        panic!("{name} is {} and not {wanted}", self.metric(name).await);
    }

    /// Waits until a metric is `wanted`.
    pub(crate) async fn until(&self, name: &str, wanted: f64) {
        for _ in 0..200 {
            if self.metric(name).await == wanted {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
        panic!("{name} is {} and not {wanted}", self.metric(name).await);
    }
}

/// A CA as the command makes it.
pub(crate) fn new_ca() -> NewCa {
    ca::make(SystemTime::now()).unwrap()
}

/// Puts it where the Secret would.
pub(crate) fn write_ca(dir: &Path, name: &str, ca: &NewCa) {
    swap(dir, &[(&format!("{name}.crt"), Some(&ca.certificate)), (&format!("{name}.key"), Some(&ca.key))]);
}
