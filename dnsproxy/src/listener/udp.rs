//! Queries in datagrams: read one, answer at once or hand it to a task, and never hold more than the limit.

use std::{sync::Arc, time::Duration};

use tokio::{
    net::UdpSocket,
    sync::{Semaphore, watch},
    task::JoinSet,
    time::sleep,
};

use crate::{
    gate::Gate,
    observer::{Observer, Transport},
    query::MAX_QUERY,
    resolve::{Finished, Glance, Resolver},
};

/// A pause after an error of the socket itself, so that one that stays does not take the processor.
const PAUSE: Duration = Duration::from_millis(10);

/// Answers what comes to `socket` until `stop`, then finishes what is in flight.
pub(crate) async fn serve<G: Gate, O: Observer>(
    socket: Arc<UdpSocket>,
    resolver: Arc<Resolver<G, O>>,
    in_flight: Arc<Semaphore>,
    mut stop: watch::Receiver<bool>,
) {
    let mut tasks = JoinSet::new();
    // One more than the longest query, so that a longer one is seen to be longer.
    let mut buffer = vec![0; MAX_QUERY + 1];
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut buffer) => received,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        while tasks.try_join_next().is_some() {}
        let (bytes, client) = match received {
            Ok((length, client)) => (buffer.get(..length).unwrap_or_default(), client),
            Err(error) => {
                tracing::debug!(%error, "receiving a datagram failed");
                sleep(PAUSE).await;
                continue;
            }
        };
        match resolver.glance(bytes, client, Transport::Udp) {
            Glance::Nothing => {}
            Glance::Ready(finished) => send(&socket, client, &resolver, &finished).await,
            Glance::Ask(asking) => {
                let Ok(permit) = Arc::clone(&in_flight).try_acquire_owned() else {
                    resolver.counters.dropped_over_limit.one();
                    continue;
                };
                let (socket, resolver) = (Arc::clone(&socket), Arc::clone(&resolver));
                tasks.spawn(async move {
                    let finished = resolver.settle(*asking).await;
                    send(&socket, client, &resolver, &finished).await;
                    drop(permit);
                });
            }
        }
    }
    while tasks.join_next().await.is_some() {}
}

/// Sends a reply, then tells of it.
async fn send<G: Gate, O: Observer>(socket: &UdpSocket, client: std::net::SocketAddr, resolver: &Resolver<G, O>, finished: &Finished) {
    if let Err(error) = socket.send_to(finished.reply.bytes(), client).await {
        resolver.counters.send_errors.one();
        tracing::debug!(%error, %client, "a reply could not be sent");
    }
    resolver.tell(finished);
}
