//! An upstream resolver as people write it: `IP` or `IP:PORT`, IPv6 with a port in brackets; port 53 unless said.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// The address and port of one upstream resolver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upstream(pub SocketAddr);

/// Why a text is no upstream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseUpstreamError {
    /// Neither an address nor an address with a port.
    #[error(
        "not IP or IP:PORT (examples: 10.96.0.10, 10.96.0.10:5353, [2001:db8::53]:53); a name cannot be used, it would have to be resolved first"
    )]
    NoAddress,
    /// The port is 0, or the address is one that nobody answers on.
    #[error("{0} is no address that a resolver can have")]
    Impossible(SocketAddr),
}

impl FromStr for Upstream {
    type Err = ParseUpstreamError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        let address = match bare.parse::<IpAddr>() {
            Ok(ip) => SocketAddr::new(ip, 53),
            Err(_) => text.parse::<SocketAddr>().map_err(|_| ParseUpstreamError::NoAddress)?,
        };
        let ip = address.ip();
        if address.port() == 0 || ip.is_unspecified() || ip.is_multicast() {
            return Err(ParseUpstreamError::Impossible(address));
        }
        Ok(Upstream(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_it() {
        for (text, wanted) in [
            ("10.96.0.10", "10.96.0.10:53"),
            ("10.96.0.10:5353", "10.96.0.10:5353"),
            ("2001:db8::53", "[2001:db8::53]:53"),
            ("[2001:db8::53]", "[2001:db8::53]:53"),
            ("[2001:db8::53]:5353", "[2001:db8::53]:5353"),
        ] {
            assert_eq!(text.parse::<Upstream>().unwrap().0.to_string(), wanted);
        }
    }

    #[test]
    fn what_is_no_upstream() {
        for text in ["", "dns.example.com", "10.96.0.10:", "10.96.0.10:0", "0.0.0.0", "[::]:53", "224.0.0.251", "1.2.3"] {
            assert!(text.parse::<Upstream>().is_err(), "{text}");
        }
    }
}
