//! Queries in streams: a bounded number of connections, each with a bounded number of queries at a time and an end when idle.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Mutex, Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    gate::Gate,
    observer::{Observer, Transport},
    proxy::permits,
    query::MAX_QUERY,
    resolve::{Finished, Glance, Resolver},
};

/// A pause after a failed accept: out of file descriptors is not over at once.
const PAUSE: Duration = Duration::from_millis(50);

/// Takes connections until `stop`, then lets those that are open finish what they asked.
pub(crate) async fn serve<G: Gate, O: Observer>(
    listener: TcpListener,
    resolver: Arc<Resolver<G, O>>,
    in_flight: Arc<Semaphore>,
    connections: Arc<Semaphore>,
    mut stop: watch::Receiver<bool>,
) {
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        while tasks.try_join_next().is_some() {}
        let (stream, client) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "accepting a connection failed");
                sleep(PAUSE).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else {
            resolver.counters.connections_over_limit.one();
            continue;
        };
        let connection = Connection { client, resolver: Arc::clone(&resolver), in_flight: Arc::clone(&in_flight), stop: stop.clone() };
        tasks.spawn(async move {
            connection.serve(stream).await;
            drop(permit);
        });
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
}

/// One client's connection.
struct Connection<G, O> {
    client: SocketAddr,
    resolver: Arc<Resolver<G, O>>,
    in_flight: Arc<Semaphore>,
    stop: watch::Receiver<bool>,
}

/// Where replies are written, each whole (RFC 7766 §6.2.1.1 lets them leave in any order).
type Writer = Arc<Mutex<OwnedWriteHalf>>;

impl<G: Gate, O: Observer> Connection<G, O> {
    /// Reads queries until the client has no more, is idle, or breaks a rule; then waits for what is still being answered.
    async fn serve(mut self, stream: TcpStream) {
        // Replies are whole messages: waiting for more to send with them only delays them.
        let _ = stream.set_nodelay(true);
        let (mut reader, writer) = stream.into_split();
        let writer = Arc::new(Mutex::new(writer));
        let pipelined = Arc::new(Semaphore::new(permits(self.resolver.limits.pipelined)));
        let mut tasks = JoinSet::new();
        loop {
            // Taken before the query is read: while all are taken, further queries wait in the socket's buffer, not here.
            let Ok(place) = Arc::clone(&pipelined).acquire_owned().await else { break };
            while tasks.try_join_next().is_some() {}
            let idle = self.resolver.limits.tcp_idle;
            let read = tokio::select! {
                read = timeout(idle, read_message(&mut reader)) => read,
                _ = self.stop.wait_for(|stop| *stop) => break,
            };
            let Ok(Ok(Some(bytes))) = read else { break };
            match self.resolver.glance(&bytes, self.client, Transport::Tcp) {
                Glance::Nothing => break,
                Glance::Ready(finished) => {
                    if write(&writer, &self.resolver, &finished).await.is_err() {
                        break;
                    }
                }
                Glance::Ask(asking) => {
                    let Ok(permit) = Arc::clone(&self.in_flight).try_acquire_owned() else {
                        // A stream has no loss that a client would wait out: the end of the connection is the sign to ask again.
                        self.resolver.counters.dropped_over_limit.one();
                        break;
                    };
                    let (writer, resolver) = (Arc::clone(&writer), Arc::clone(&self.resolver));
                    tasks.spawn(async move {
                        let finished = resolver.settle(*asking).await;
                        // A failed write is seen by the next read.
                        let _ = write(&writer, &resolver, &finished).await;
                        drop((place, permit));
                    });
                }
            }
        }
        while tasks.join_next().await.is_some() {}
    }
}

/// Reads one message; `None` at the end of the stream, an error at a length no query has.
async fn read_message(reader: &mut OwnedReadHalf) -> io::Result<Option<Vec<u8>>> {
    let length = match reader.read_u16().await {
        Ok(length) => usize::from(length),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    if length > MAX_QUERY {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).await?;
    Ok(Some(bytes))
}

/// Writes one reply whole, then tells of it. A client that does not read is given up after the idle time.
async fn write<G: Gate, O: Observer>(writer: &Writer, resolver: &Resolver<G, O>, finished: &Finished) -> io::Result<()> {
    let bytes = finished.reply.bytes();
    let length = u16::try_from(bytes.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    let framed = [&length.to_be_bytes(), bytes].concat();
    let written = timeout(resolver.limits.tcp_idle, async { writer.lock().await.write_all(&framed).await }).await;
    let written = written.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    if written.is_err() {
        resolver.counters.send_errors.one();
    }
    resolver.tell(finished);
    written
}
