//! Ready means answered: a question of our own goes to every address the resolver listens on, before anybody is told "ready".

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::sync::watch;

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_millis(500);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// The name that is asked for; the log leaves it out.
pub const NAME: &str = "portreeve.invalid";

/// The same in octets.
pub const WIRE_NAME: &[u8] = b"\x09portreeve\x07invalid";

/// A question for the A record of [`NAME`], a name that nobody can have (RFC 6761 §6.4), so that no policy permits it
/// and no upstream is asked.
const QUESTION: &[u8] = b"\x50\x52\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x09portreeve\x07invalid\x00\x00\x01\x00\x01";

/// Asks until every address has answered, then says so.
pub async fn run(addresses: Vec<SocketAddr>, ready: watch::Sender<Result<(), String>>, started: Instant) {
    for address in addresses {
        while let Err(error) = ask(address).await {
            ready.send_modify(|told| *told = Err(format!("the resolver does not answer on {address}: {error}")));
            tokio::time::sleep(PAUSE).await;
        }
    }
    ready.send_modify(|told| *told = Ok(()));
    tracing::info!(milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX), "the resolver answers");
}

async fn ask(address: SocketAddr) -> std::io::Result<()> {
    let any: SocketAddr = if address.is_ipv4() { ([127, 0, 0, 1], 0).into() } else { (std::net::Ipv6Addr::LOCALHOST, 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    socket.send(QUESTION).await?;
    let mut answer = [0; 512];
    let length = tokio::time::timeout(PATIENCE, socket.recv(&mut answer)).await??;
    // The same id, and the bit that says "response" (RFC 1035 §4.1.1).
    match answer.get(..length) {
        Some([0x50, 0x52, flags, ..]) if flags & 0x80 != 0 => Ok(()),
        _ => Err(std::io::Error::other("the answer is not ours")),
    }
}
