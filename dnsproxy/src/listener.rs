//! The sockets that apps ask on: one UDP and one TCP socket for each address, on the same port.

pub(crate) mod tcp;

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
};

use socket2::{Domain, Protocol, Socket, Type};

use crate::config::BindError;

/// How often a free port is drawn until one is free for both transports and both address families.
const DRAWS: usize = 16;

/// Connections the kernel holds until they are accepted.
const BACKLOG: i32 = 128;

/// Both sockets of one address.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) udp: UdpSocket,
    pub(crate) tcp: TcpListener,
}

/// Binds every address of `listen`, and ::1 beside 127.0.0.1.
pub(crate) fn bind(listen: &[SocketAddr]) -> Result<Vec<Endpoint>, BindError> {
    let mut endpoints = Vec::with_capacity(listen.len() + 1);
    for &address in listen {
        if address.ip().is_unspecified() {
            return Err(BindError::Wildcard { address });
        }
        endpoints.extend(bind_with_twin(address, listen)?);
    }
    Ok(endpoints)
}

/// Binds `address` and its twin; on port 0 draws again while the port drawn is taken for one of the others.
fn bind_with_twin(address: SocketAddr, listen: &[SocketAddr]) -> Result<Vec<Endpoint>, BindError> {
    let mut draws = if address.port() == 0 { DRAWS } else { 1 };
    loop {
        draws -= 1;
        let result = bind_both(address).and_then(|endpoint| {
            let twin = SocketAddr::from((Ipv6Addr::LOCALHOST, endpoint.address.port()));
            if address.ip() != Ipv4Addr::LOCALHOST || listen.contains(&twin) {
                return Ok(vec![endpoint]);
            }
            match bind_both(twin) {
                Ok(twin) => Ok(vec![endpoint, twin]),
                Err(BindError::Socket { source, .. }) if lacks_ipv6(&source) => {
                    tracing::info!(%twin, "the kernel has no IPv6 loopback here: not listening on it");
                    Ok(vec![endpoint])
                }
                Err(error) => Err(error),
            }
        });
        match result {
            Err(BindError::Socket { source, .. }) if draws > 0 && source.kind() == io::ErrorKind::AddrInUse => {}
            result => return result,
        }
    }
}

/// Whether the kernel was built or booted without IPv6, or the namespace has it switched off.
fn lacks_ipv6(error: &io::Error) -> bool {
    const EAFNOSUPPORT: i32 = 97;
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(EAFNOSUPPORT)
}

/// Binds UDP, then TCP on the port it got.
fn bind_both(address: SocketAddr) -> Result<Endpoint, BindError> {
    let failed = |address, transport| move |source| BindError::Socket { address, transport, source };
    let udp: UdpSocket = bind_one(address, Type::DGRAM, Protocol::UDP).map_err(failed(address, "UDP"))?.into();
    let address = udp.local_addr().map_err(failed(address, "UDP"))?;
    let tcp = bind_one(address, Type::STREAM, Protocol::TCP).map_err(failed(address, "TCP"))?;
    tcp.listen(BACKLOG).map_err(failed(address, "TCP"))?;
    Ok(Endpoint { address, udp, tcp: tcp.into() })
}

/// A bound, non-blocking socket that is for its own address family only.
fn bind_one(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if kind == Type::STREAM {
        // A new process must not wait for the old one's connections to leave TIME_WAIT.
        socket.set_reuse_address(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}
