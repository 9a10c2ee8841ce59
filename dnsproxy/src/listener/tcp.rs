//! Queries in streams: a bounded number of connections, each with a bounded number of queries at a time and an end when idle.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    config::Limits,
    engine::{errand::Desk, waiting::Line},
    query::MAX_QUERY,
    stats::Counters,
};

/// A pause after a failed accept: out of file descriptors is not over at once.
const PAUSE: Duration = Duration::from_millis(50);

/// What every connection needs.
#[derive(Debug)]
pub(crate) struct Shared<G> {
    pub(crate) desk: Desk<G>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) limits: Limits,
    /// How many connections there may be.
    pub(crate) connections: Arc<Semaphore>,
    pub(crate) stop: watch::Receiver<bool>,
}

impl<G> Clone for Shared<G> {
    fn clone(&self) -> Self {
        let (desk, counters, connections) = (self.desk.clone(), Arc::clone(&self.counters), Arc::clone(&self.connections));
        Self { desk, counters, limits: self.limits, connections, stop: self.stop.clone() }
    }
}

/// Takes connections until the end, then lets those that are open finish what they asked.
pub(crate) async fn serve<G: Send + 'static>(listener: TcpListener, mut shared: Shared<G>) {
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = shared.stop.wait_for(|stop| *stop) => break,
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
        let Ok(permit) = Arc::clone(&shared.connections).try_acquire_owned() else {
            shared.counters.connections_over_limit.one();
            continue;
        };
        let shared = shared.clone();
        tasks.spawn(async move {
            connection(stream, client, shared).await;
            drop(permit);
        });
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
}

/// Reads queries until the client has no more, is idle, or breaks a rule; then waits for what is still being answered.
async fn connection<G: Send + 'static>(stream: TcpStream, client: SocketAddr, mut shared: Shared<G>) {
    // Replies are whole messages: waiting for more to send with them only delays them.
    let _ = stream.set_nodelay(true);
    let (mut reader, writer) = stream.into_split();
    let (replies, outgoing) = mpsc::channel(shared.limits.pipelined.max(1));
    let idle = shared.limits.tcp_idle;
    let mut writing = JoinSet::new();
    writing.spawn(write(writer, outgoing, idle, Arc::clone(&shared.counters)));
    loop {
        // Taken before the query is read: while all are taken, further queries wait in the socket's buffer, not here.
        let permit = tokio::select! {
            permit = replies.clone().reserve_owned() => permit,
            _ = writing.join_next() => break,
        };
        let Ok(permit) = permit else { break };
        let read = tokio::select! {
            read = timeout(idle, read_message(&mut reader)) => read,
            _ = writing.join_next() => break,
            _ = shared.stop.wait_for(|stop| *stop) => {
                drop(permit);
                break;
            }
        };
        let Ok(Ok(Some(bytes))) = read else { break };
        if shared.desk.ask(bytes, Line::new(client, permit)).is_err() {
            // A stream has no loss that a client would wait out: the end of the connection is the sign to ask again.
            shared.counters.dropped_over_limit.one();
            break;
        }
    }
    drop(replies);
    while writing.join_next().await.is_some() {}
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

/// Writes replies as they come, each whole (RFC 7766 §6.2.1.1 lets them leave in any order), until no more can come or one is empty. A
/// client that does not read is given up after the idle time.
async fn write(mut writer: OwnedWriteHalf, mut outgoing: mpsc::Receiver<Vec<u8>>, idle: Duration, counters: Arc<Counters>) {
    while let Some(message) = outgoing.recv().await {
        let length = match u16::try_from(message.len()) {
            Ok(length @ 1..) => length,
            _ => return,
        };
        let framed = [&length.to_be_bytes(), message.as_slice()].concat();
        if !matches!(timeout(idle, writer.write_all(&framed)).await, Ok(Ok(()))) {
            counters.send_errors.one();
            return;
        }
    }
}
