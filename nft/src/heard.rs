//! Sockets on which the kernel tells by itself: bounded, never waited for, and only the kernel is believed.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
};

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, sendto, setsockopt, socket, sockopt,
    },
};

use crate::sys::next_message;

const NLMSG_ERROR: u16 = 2;
/// Datagrams that may come before an acknowledgement.
const MOST_BEFORE: usize = 64;

/// Why the kernel's telling cannot be heard.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The netlink socket could not be made or used.
    #[error("cannot use a netlink socket")]
    Socket(#[source] io::Error),
    /// The kernel has no NFLOG.
    #[error("the kernel has no NFLOG (hint: CONFIG_NETFILTER_NETLINK_LOG; on the node: modprobe nfnetlink_log)")]
    NoNflog(#[source] io::Error),
    /// The kernel has no events of connection tracking.
    #[error("the kernel does not tell of connections (hint: CONFIG_NF_CT_NETLINK; on the node: modprobe nf_conntrack_netlink)")]
    NoConntrack(#[source] io::Error),
    /// Another process reads the group, or this one lacks the capability.
    #[error(
        "not permitted to read NFLOG group {group} (hint: one process can read a group, with CAP_NET_ADMIN; is a second one running in this pod?)"
    )]
    NotPermitted {
        /// The group.
        group: u16,
        /// The kernel's word.
        #[source]
        source: io::Error,
    },
}

/// A socket for netfilter's messages that does not wait. `buffer`: most bytes that wait to be read; `groups`: of nfnetlink, as bits.
pub(crate) fn open(buffer: usize, groups: u32) -> Result<OwnedFd, ListenError> {
    let made = || -> Result<OwnedFd, Errno> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkNetFilter)?;
        if setsockopt(&socket, sockopt::RcvBufForce, &buffer).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &buffer)?;
        }
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        Ok(socket)
    };
    made().map_err(|errno| ListenError::Socket(errno.into()))
}

/// Sends a message that asks for an acknowledgement, and reads it: netlink answers before the call returns.
pub(crate) fn acknowledged(socket: &OwnedFd, message: &[u8], buffer: &mut [u8]) -> Result<(), Errno> {
    let fd = socket.as_raw_fd();
    sendto(fd, message, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    // What is told may come first.
    for _ in 0..MOST_BEFORE {
        let (len, _) = recvfrom::<NetlinkAddr>(fd, buffer)?;
        let mut rest = buffer.get(..len).unwrap_or_default();
        while let Some(message) = next_message(&mut rest) {
            if message.kind() == NLMSG_ERROR {
                return match message.errno() {
                    0 => Ok(()),
                    errno => Err(Errno::from_raw(errno)),
                };
            }
        }
    }
    Err(Errno::ETIMEDOUT)
}
