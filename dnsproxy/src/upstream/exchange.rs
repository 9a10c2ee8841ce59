//! One question and its answer over one socket of its own: a fresh port each time, connected, so that only the asked server is heard.

use std::{io, net::SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, UdpSocket},
};

use super::{
    message::{Accepted, Asked},
    server::AskError,
};
use crate::{config::Identity, stats::Counters};

/// Room for a datagram. One that fills it is taken for cut off, and asked again over TCP.
const DATAGRAM: usize = 4096;

/// Packets that answer no question, after which a try is given up: a forger gets no more guesses than this at id and case.
const MAX_STRAYS: usize = 64;

/// Asks over UDP. Late, doubled, forged and broken packets are passed over; the caller bounds the time.
pub(super) async fn udp(server: SocketAddr, asked: &Asked, identity: Option<Identity>, counters: &Counters) -> Result<Accepted, AskError> {
    let socket = open(server, Type::DGRAM, Protocol::UDP, identity).map_err(AskError::Socket)?;
    // connect() binds to a random port of the ephemeral range, drawn by the kernel, and lets in this server's packets only.
    socket.connect(&server.into()).map_err(AskError::Socket)?;
    // Sent before the event loop knows the socket: its buffer is empty, so this never blocks, and the question leaves a round of the
    // loop earlier.
    socket.send(asked.bytes()).map_err(AskError::Socket)?;
    let socket = UdpSocket::from_std(socket.into()).map_err(AskError::Socket)?;

    let heard = hear(&socket, asked, server, counters).await;
    // Closing costs as much as opening the addresses does, and the reply need not wait for it: after the next look at the sockets.
    tokio::spawn(async move {
        tokio::task::yield_now().await;
        drop(socket);
    });
    heard
}

/// The first datagram that answers the question.
async fn hear(socket: &UdpSocket, asked: &Asked, server: SocketAddr, counters: &Counters) -> Result<Accepted, AskError> {
    let mut buffer = vec![0; DATAGRAM];
    for _ in 0..MAX_STRAYS {
        let length = socket.recv(&mut buffer).await.map_err(AskError::Socket)?;
        match buffer.get(..length).and_then(|bytes| asked.accept(bytes, server)) {
            Some(accepted) if length < DATAGRAM => return Ok(accepted),
            Some(_) => return Ok(Accepted::Truncated),
            None => counters.upstream_strays.one(),
        }
    }
    Err(AskError::Strays)
}

/// Asks over TCP (RFC 1035 §4.2.2, RFC 7766), one connection a question.
pub(super) async fn tcp(server: SocketAddr, asked: &Asked, identity: Option<Identity>, counters: &Counters) -> Result<Accepted, AskError> {
    let socket = open(server, Type::STREAM, Protocol::TCP, identity).map_err(AskError::Socket)?;
    let mut stream = TcpSocket::from_std_stream(socket.into()).connect(server).await.map_err(AskError::Socket)?;
    let length = u16::try_from(asked.bytes().len()).map_err(|_| AskError::Question)?;
    // In one write: some servers take a length that comes alone for a broken client.
    let framed = [&length.to_be_bytes(), asked.bytes()].concat();
    stream.write_all(&framed).await.map_err(AskError::Socket)?;

    let length = stream.read_u16().await.map_err(AskError::Socket)?;
    let mut bytes = vec![0; usize::from(length)];
    stream.read_exact(&mut bytes).await.map_err(AskError::Socket)?;
    match asked.accept(&bytes, server) {
        // Nothing is too long for a stream: such an answer is broken.
        Some(Accepted::Truncated) | None => {
            counters.upstream_strays.one();
            Err(AskError::Strays)
        }
        Some(accepted) => Ok(accepted),
    }
}

/// A socket that bears the proxy's identity before it sends its first packet.
fn open(server: SocketAddr, kind: Type, protocol: Protocol, identity: Option<Identity>) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(server), kind.nonblocking(), Some(protocol))?;
    if let Some(Identity { mark, priority }) = identity {
        socket.set_mark(mark)?;
        socket.set_priority(priority)?;
    }
    Ok(socket)
}
