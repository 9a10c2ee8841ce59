//! Questions over TCP (RFC 7766), for answers that fit no datagram: tasks of the event loop, few at a time and bounded in time.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::tries::TryId;
use crate::config::Identity;

/// Exchanges at a time.
const EXCHANGES: usize = 32;

/// The way to the event loop, where TCP is spoken.
pub(crate) struct Streams {
    runtime: Handle,
    done: SyncSender<StreamDone>,
    wake: Arc<dyn Fn() + Send + Sync>,
    free: Arc<Semaphore>,
}

/// One exchange is over, for [`Asking::streamed`](super::Asking::streamed).
#[derive(Debug)]
pub(crate) struct StreamDone {
    /// What was asked.
    pub(super) of: TryId,
    /// The message, or why there is none.
    pub(super) result: io::Result<Vec<u8>>,
    /// Given back only when the result has been taken: so the channel has room for every exchange.
    _permit: OwnedSemaphorePermit,
}

/// What one exchange needs.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) of: TryId,
    pub(super) server: SocketAddr,
    pub(super) identity: Option<Identity>,
    /// The question, without the length before it.
    pub(super) message: Vec<u8>,
    /// For connection, question and answer together.
    pub(super) within: Duration,
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").field("free", &self.free.available_permits()).finish_non_exhaustive()
    }
}

impl Streams {
    /// Exchanges run on `runtime`; after each, its result is in the receiver, and `wake` is called.
    pub(crate) fn new(runtime: Handle, wake: Arc<dyn Fn() + Send + Sync>) -> (Self, Receiver<StreamDone>) {
        let (done, results) = sync_channel(EXCHANGES);
        (Self { runtime, done, wake, free: Arc::new(Semaphore::new(EXCHANGES)) }, results)
    }

    /// Begins an exchange; `false` if too many are under way.
    pub(super) fn begin(&self, exchange: Exchange) -> bool {
        let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() else {
            return false;
        };
        let (done, wake) = (self.done.clone(), Arc::clone(&self.wake));
        self.runtime.spawn(async move {
            let of = exchange.of;
            let result = match timeout(exchange.within, run(&exchange)).await {
                Ok(result) => result,
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            };
            // There is room; only a receiver that is gone makes this fail, and then nobody waits.
            if done.try_send(StreamDone { of, result, _permit: permit }).is_ok() {
                wake();
            }
        });
        true
    }
}

/// One connection, one question, one answer.
async fn run(exchange: &Exchange) -> io::Result<Vec<u8>> {
    let socket = Socket::new(Domain::for_address(exchange.server), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if let Some(Identity { mark, priority }) = exchange.identity {
        socket.set_mark(mark)?;
        socket.set_priority(priority)?;
    }
    let mut stream = TcpSocket::from_std_stream(socket.into()).connect(exchange.server).await?;
    let length = u16::try_from(exchange.message.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // In one write: some servers take a length that comes alone for a broken client.
    stream.write_all(&[&length.to_be_bytes(), exchange.message.as_slice()].concat()).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}
