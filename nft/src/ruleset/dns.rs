//! Questions, whatever resolver they are for, go to the proxy.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};

use super::{
    Proxy,
    line::{L4, Line, line},
    plan::Plan,
};
use crate::{
    PortRange,
    sys::{Hook, HookKind, Policy},
};

const DNS: u16 = 53;

/// `meta skuid UID meta mark MARK meta priority PRIORITY`: one alone can be guessed or taken on, all of them together not in a lifetime.
pub(crate) fn from_the_proxy(line: Line, proxy: &Proxy) -> Line {
    line.skuid(proxy.uid).mark(proxy.mark).priority(proxy.priority)
}

/// `ip daddr UPSTREAM udp dport PORT`
pub(crate) fn to_upstream(line: Line, upstream: SocketAddr, protocol: L4) -> Line {
    line.daddr(IpNet::from(upstream.ip())).dport(protocol, PortRange::single(upstream.port()))
}

pub(crate) fn chain(plan: &mut Plan, proxy: &Proxy) {
    plan.base("dns", HookKind::Nat, Hook::OUTPUT, -100, Policy::Accept);
    let loopback = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
    plan.rule(line("dns").daddr(loopback).comment("a local stub's own questions come here again").accept());
    plan.rule(line("dns").daddr(IpNet::from(std::net::IpAddr::from(Ipv6Addr::LOCALHOST))).accept());
    for upstream in proxy.upstreams.iter().filter(|upstream| upstream.port() == DNS) {
        for protocol in [L4::Udp, L4::Tcp] {
            plan.rule(to_upstream(from_the_proxy(line("dns"), proxy), *upstream, protocol).accept());
        }
    }
    for protocol in [L4::Udp, L4::Tcp] {
        plan.rule(line("dns").dport(protocol, PortRange::single(DNS)).redirect(proxy.port));
    }
}
