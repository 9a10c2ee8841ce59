//! The chain that every packet of the pod passes: the order here is the policy's order.

use super::{
    Deny, Posture, Proxy, Ruleset, dns, guards,
    guards::CAME_IN,
    line::{ESTABLISHED, Ip, L4, NEW, RELATED, line},
    plan::{DNS_TCP, DNS_UDP, Extras, LIVE_RULES, Maps, Plan, SPOOFED},
};
use crate::{
    PortRange, Ports,
    sys::{Hook, HookKind, Policy},
};

/// The ct mark of the proxy's own flows to its upstreams.
pub(crate) const PROXY: u32 = 0xfffe_0000;

const fn denied(family: Ip) -> &'static str {
    match family {
        Ip::V4 => "v4_denied",
        Ip::V6 => "v6_denied",
    }
}

pub(crate) fn chain(plan: &mut Plan, ruleset: &Ruleset, extras: Extras, maps: &Maps) {
    let proxy = &ruleset.proxy;
    let port = PortRange::single(proxy.port);
    plan.base("egress", HookKind::Filter, Hook::OUTPUT, 0, Policy::Drop);
    plan.rule(dns::from_the_proxy(line("egress").oif_lo(), proxy).forget_identity().comment("an upstream in the pod").end());
    plan.rule(line("egress").oif_lo().accept());
    for (protocol, timeout) in [(L4::Udp, DNS_UDP), (L4::Tcp, DNS_TCP)] {
        // Each protocol has its own timeout object: the kernel does not look whether an object fits the flow.
        let turned = line("egress").ct_status_dnat().destination_local().dport(protocol, port);
        let turned = if extras.ct_timeout { turned.ct_timeout(timeout) } else { turned };
        plan.rule(turned.comment("questions turned to the proxy: oif is still the old device here").accept());
    }
    let routed = "the destination may be a station on the way";
    plan.rule(line("egress").made_by_a_socket().has_options().comment(routed).goto("tell"));
    plan.rule(line("egress").made_by_a_socket().has_routing_header().comment(routed).goto("tell"));
    plan.rule(line("egress").reply().ct_mark(CAME_IN).comment("replies to what came in from outside").accept());
    plan.rule(line("egress").original().ct_mark(PROXY).goto("proxy_flow"));
    if !proxy.upstreams.is_empty() {
        plan.rule(dns::from_the_proxy(line("egress").ct_state(NEW), proxy).jump("proxy"));
    }
    for family in Ip::BOTH {
        let whole = ruleset.denies.iter().filter(|deny| deny.ports.is_none()).flat_map(|deny| &deny.ranges);
        if let Some(set) = plan.ranges(denied(family), family, whole) {
            plan.rule(line("egress").daddr_in(family, &set).goto("tell"));
        }
    }
    deny_ports(plan, &ruleset.denies);
    plan.rule(line("egress").original().ct_state(ESTABLISHED).ct_mark_vmap(LIVE_RULES));
    plan.rule(line("egress").dport_vmap(L4::Tcp, &maps.tcp));
    plan.rule(line("egress").dport_vmap(L4::Udp, &maps.udp));
    for family in Ip::BOTH {
        plan.rule(line("egress").echo_request(family).goto("echo"));
    }
    for protocol in [L4::Icmp, L4::Icmpv6] {
        plan.rule(line("egress").l4(protocol).ct_state(RELATED).goto("errors"));
    }
    for protocol in [L4::Icmpv6, L4::Igmp] {
        plan.rule(line("egress").l4(protocol).goto("kernel_own"));
    }
    plan.rule(line("egress").goto("tell"));

    if !proxy.upstreams.is_empty() {
        plan.regular("proxy");
    }
    for upstream in &proxy.upstreams {
        for protocol in [L4::Udp, L4::Tcp] {
            plan.rule(dns::to_upstream(line("proxy"), *upstream, protocol).set_ct_mark(PROXY).forget_identity().accept());
        }
    }
    proxy_flow(plan, proxy, ruleset.posture);
    guards::kernel_own(plan);
}

/// A flow to an upstream outlives the socket that began it: whoever binds the same port next would send on it. So a socket must be the
/// proxy's at every packet; what has no socket any more is the kernel's end of a closed connection.
///
/// Also in audit: a packet that `tell` lets pass gets another mark there, and the proxy's identity would leave uncleared on that flow.
fn proxy_flow(plan: &mut Plan, proxy: &Proxy, posture: Posture) {
    plan.regular("proxy_flow");
    plan.rule(dns::from_the_proxy(line("proxy_flow"), proxy).forget_identity().accept());
    let taken = line("proxy_flow").made_by_a_socket().comment("another took the proxy's port");
    plan.rule(match posture {
        Posture::Enforce => taken.goto("tell"),
        Posture::Audit => taken.counter(SPOOFED).goto("refuse"),
    });
    plan.rule(line("proxy_flow").comment("after close()").accept());
}

/// Ranges denied on some ports only: the chain is left again where no port fits.
fn deny_ports(plan: &mut Plan, denies: &[Deny]) {
    let partial: Vec<(&Deny, &Ports)> = denies.iter().filter_map(|deny| Some((deny, deny.ports.as_ref()?))).collect();
    let mut any = false;
    for family in Ip::BOTH {
        let Some(all) = plan.ranges(denied(family), family, partial.iter().flat_map(|(deny, _)| &deny.ranges)) else { continue };
        any = true;
        plan.rule(line("egress").daddr_in(family, &all).jump("denied_ports"));
        for (deny, ports) in &partial {
            let Some(set) = plan.ranges(denied(family), family, &deny.ranges) else { continue };
            let here = || line("denied_ports").daddr_in(family, &set);
            for (protocol, ranges) in [(L4::Tcp, ports.tcp()), (L4::Udp, ports.udp())] {
                for range in ranges {
                    plan.rule(here().dport(protocol, *range).goto("tell"));
                }
            }
            if ports.icmp() {
                plan.rule(here().echo_request(family).goto("tell"));
            }
        }
    }
    if any {
        plan.regular("denied_ports");
    }
}
