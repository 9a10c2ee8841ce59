//! The chain that every packet of the pod passes: the order here is the policy's order.

use super::{
    Deny, Ruleset, dns, guards,
    guards::CAME_IN,
    line::{ESTABLISHED, Ip, L4, NEW, RELATED, line},
    plan::{DNS_TCP, DNS_UDP, Extras, LIVE_RULES, Plan, TCP_PORTS, UDP_PORTS, V4_DENIED, V6_DENIED},
    ranges,
};
use crate::{
    PortRange,
    sys::{Hook, HookKind, Ident, Policy, SetFlags, SetKey},
};

/// The ct mark of the proxy's own flows to its upstreams.
const PROXY: u32 = 0xfffe_0000;

/// Ranges that are denied on some ports.
const V4_DENIED_PORTS: &str = "v4_denied_ports";
const V6_DENIED_PORTS: &str = "v6_denied_ports";

const fn address(family: Ip) -> SetKey {
    match family {
        Ip::V4 => SetKey::Ipv4,
        Ip::V6 => SetKey::Ipv6,
    }
}

const fn denied(family: Ip) -> &'static str {
    match family {
        Ip::V4 => V4_DENIED,
        Ip::V6 => V6_DENIED,
    }
}

const fn denied_ports(family: Ip) -> &'static str {
    match family {
        Ip::V4 => V4_DENIED_PORTS,
        Ip::V6 => V6_DENIED_PORTS,
    }
}

fn denied_number(family: Ip, number: usize) -> String {
    format!("{}_{number}", denied(family))
}

pub(crate) fn denied_sets(plan: &mut Plan, denies: &[Deny]) {
    for family in Ip::BOTH {
        let whole = denies.iter().filter(|deny| deny.ports.is_none()).flat_map(|deny| &deny.ranges);
        plan.fixed(denied(family), address(family), SetFlags::INTERVAL, ranges::elements(whole, family));
        let partial: Vec<&Deny> = denies.iter().filter(|deny| deny.ports.is_some()).collect();
        let some = ranges::elements(partial.iter().flat_map(|deny| &deny.ranges), family);
        if some.is_empty() {
            continue;
        }
        plan.fixed(denied_ports(family), address(family), SetFlags::INTERVAL, some);
        for (number, deny) in partial.iter().enumerate() {
            let elements = ranges::elements(&deny.ranges, family);
            plan.fixed(&denied_number(family, number), address(family), SetFlags::INTERVAL, elements);
        }
    }
}

pub(crate) fn chain(plan: &mut Plan, ruleset: &Ruleset, extras: Extras) {
    let proxy = &ruleset.proxy;
    let port = PortRange::single(proxy.port);
    plan.base("egress", HookKind::Filter, Hook::OUTPUT, 0, Policy::Drop);
    plan.rule(line("egress").oif_lo().accept());
    for (protocol, timeout) in [(L4::Udp, DNS_UDP), (L4::Tcp, DNS_TCP)] {
        // Each protocol has its own timeout object: the kernel does not look whether an object fits the flow.
        let turned = line("egress").ct_status_dnat().destination_local().dport(protocol, port);
        let turned = if extras.ct_timeout { turned.ct_timeout(timeout) } else { turned };
        plan.rule(turned.comment("questions turned to the proxy: oif is still the old device here").accept());
    }
    plan.rule(line("egress").reply().ct_mark(CAME_IN).comment("replies to what came in from outside").accept());
    plan.rule(line("egress").original().ct_mark(PROXY).comment("the proxy's flows, also after close()").accept());
    if !proxy.upstreams.is_empty() {
        plan.rule(dns::from_the_proxy(line("egress").ct_state(NEW), proxy).jump("proxy"));
    }
    for family in Ip::BOTH {
        plan.rule(line("egress").daddr_in(family, &Ident::new(denied(family))).goto("tell"));
    }
    deny_ports(plan, &ruleset.denies);
    plan.rule(line("egress").original().ct_state(ESTABLISHED).ct_mark_vmap(LIVE_RULES));
    plan.rule(line("egress").dport_vmap(L4::Tcp, TCP_PORTS));
    plan.rule(line("egress").dport_vmap(L4::Udp, UDP_PORTS));
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
            plan.rule(dns::to_upstream(line("proxy"), *upstream, protocol).set_ct_mark(PROXY).accept());
        }
    }
    guards::kernel_own(plan);
}

/// Ranges denied on some ports only: the chain is left again where no port fits.
fn deny_ports(plan: &mut Plan, denies: &[Deny]) {
    let mut any = false;
    for family in Ip::BOTH {
        let partial: Vec<&Deny> = denies.iter().filter(|deny| deny.ports.is_some()).collect();
        if ranges::elements(partial.iter().flat_map(|deny| &deny.ranges), family).is_empty() {
            continue;
        }
        any = true;
        plan.rule(line("egress").daddr_in(family, &Ident::new(denied_ports(family))).jump("denied_ports"));
        for (number, ports) in partial.iter().filter_map(|deny| deny.ports.as_ref()).enumerate() {
            let here = || line("denied_ports").daddr_in(family, &Ident::new(&denied_number(family, number)));
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
