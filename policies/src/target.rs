//! A place to go to, as people write it: `HOST[:PORT[/PROTO]]`.
use std::{fmt, net::IpAddr, str::FromStr};

use serde::{Serialize, Serializer};
use thiserror::Error;

use crate::{
    name::{Name, NameError},
    ports::Protocol,
};

/// The host of a target.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TargetHost {
    /// A name to be asked for.
    Name(Name),
    /// An address to be dialled without asking.
    Address(IpAddr),
}

/// A host, and a port of a protocol if one was given.
///
/// `github.com`, `github.com:22`, `github.com:53/udp`, `198.51.100.7:22`, `[2001:db8::1]:443`, `198.51.100.7/icmp`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Where to.
    pub host: TargetHost,
    /// The port and its protocol; 0 for ICMP. `None` asks about the host alone.
    pub port: Option<(Protocol, u16)>,
}

/// Why a text is no target.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TargetError {
    /// The host is neither a name nor an address.
    #[error("the host is neither a name nor an address")]
    Host(#[source] NameError),
    /// The brackets hold no IPv6 address.
    #[error("what stands in brackets is no IPv6 address")]
    Brackets,
    /// The port is none of 1 to 65535.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// The protocol is none that is known.
    #[error("the protocol is none of tcp, udp and icmp")]
    Protocol,
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        // An address without a port may hold colons of its own.
        if let Ok(address) = text.parse() {
            return Ok(Self { host: TargetHost::Address(address), port: None });
        }
        let (rest, protocol) = match text.rsplit_once('/') {
            Some((rest, "tcp")) => (rest, Some(Protocol::Tcp)),
            Some((rest, "udp")) => (rest, Some(Protocol::Udp)),
            Some((rest, "icmp")) => (rest, Some(Protocol::Icmp)),
            Some(_) => return Err(TargetError::Protocol),
            None => (text, None),
        };
        let (host, port) = split_port(rest)?;
        let port = match (port, protocol) {
            (None, None) => None,
            (None, Some(Protocol::Icmp)) => Some((Protocol::Icmp, 0)),
            (None, Some(_)) | (Some(_), Some(Protocol::Icmp)) => return Err(TargetError::Port),
            (Some(port), protocol) => {
                let port = port.parse().ok().filter(|&port: &u16| port > 0).ok_or(TargetError::Port)?;
                Some((protocol.unwrap_or(Protocol::Tcp), port))
            }
        };
        Ok(Self { host, port })
    }
}

fn split_port(text: &str) -> Result<(TargetHost, Option<&str>), TargetError> {
    if let Some(inside) = text.strip_prefix('[') {
        let (address, rest) = inside.split_once(']').ok_or(TargetError::Brackets)?;
        let address = TargetHost::Address(IpAddr::V6(address.parse().map_err(|_| TargetError::Brackets)?));
        return match rest.strip_prefix(':') {
            Some(port) => Ok((address, Some(port))),
            None if rest.is_empty() => Ok((address, None)),
            None => Err(TargetError::Port),
        };
    }
    if let Ok(address) = text.parse() {
        return Ok((TargetHost::Address(address), None));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let host = match host.parse() {
        Ok(address) => TargetHost::Address(address),
        Err(_) => TargetHost::Name(Name::parse(host).map_err(TargetError::Host)?),
    };
    Ok((host, port))
}

impl fmt::Display for TargetHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.host, self.port) {
            (host, None) => host.fmt(f),
            (host, Some((Protocol::Icmp, _))) => write!(f, "{host}/icmp"),
            (TargetHost::Address(IpAddr::V6(address)), Some((protocol, port))) => write!(f, "[{address}]:{port}/{protocol}"),
            (host, Some((protocol, port))) => write!(f, "{host}:{port}/{protocol}"),
        }
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests;
