//! What holds whatever the policy says: forged replies, forwarding, the kernel's own packets, and how a refusal is told.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use ipnet::IpNet;

use super::{
    Log, Posture, Proxy,
    egress::PROXY,
    line::{ESTABLISHED, Ip, L4, NEW, line},
    plan::{DENIED, Extras, FLOW_TCP, GUESSED, INBOUND, LIVE_RULES, Plan, SPOOFED},
};
use crate::{
    PortRange,
    sys::{Hook, HookKind, Policy, SetKey},
};

/// The ct mark of flows that came in by a device other than lo.
pub(crate) const CAME_IN: u32 = 0xffff_0000;
/// The ct mark of flows that no rule permits and that passed, in audit. No live rule has it: enforced, they are judged anew.
pub(crate) const AUDITED: u32 = 0xfffd_0000;
/// The ct mark of such flows that were refused since: in audit again, they are told again.
pub(crate) const AUDITED_ONCE: u32 = 0xfffc_0000;
/// How the log tells flows that came in.
pub(crate) const CAME_IN_PREFIX: &str = "in";

const DNS: u16 = 53;

/// The conntrack zone of the proxy's own questions.
const PROXY_ZONE: u16 = 1;

/// Router solicitation, neighbour solicitation and advertisement (RFC 4861): hop limit 255.
const ND_TYPES: [u8; 3] = [133, 135, 136];
/// Multicast listener report and done (RFC 2710), report of version 2 (RFC 3810): hop limit 1.
const MLD_TYPES: [u8; 3] = [131, 132, 143];

/// Group membership reports a second. Any app can join groups, and their names are read on the link: a channel, so a narrow one.
const GROUPS: u32 = 10;

pub(crate) fn chains(plan: &mut Plan, proxy: &Proxy, log: Log, extras: Extras) {
    let loopbacks = [IpNet::from(std::net::IpAddr::from(Ipv4Addr::LOCALHOST)), IpNet::from(std::net::IpAddr::from(Ipv6Addr::LOCALHOST))];

    plan.base("spoof_out", HookKind::Filter, Hook::OUTPUT, -300, Policy::Accept);
    plan.rule(
        // Over loopback it would forge replies; over a wire, a permitted host would answer whoever is named as the source.
        line("spoof_out").made_by_a_socket().source_not_local().counter(SPOOFED).comment("no socket speaks for others").drop(),
    );
    plan.rule(line("spoof_out").skuid(proxy.uid).jump("identity"));
    for address in loopbacks {
        plan.rule(line("spoof_out").oif_lo().daddr(address).dport(L4::Udp, PortRange::single(DNS)).notrack());
        plan.rule(line("spoof_out").oif_lo().saddr(address).udp_sport(DNS).notrack());
    }

    plan.base("spoof_in", HookKind::Filter, Hook::PREROUTING, -300, Policy::Accept);
    for address in loopbacks {
        plan.rule(line("spoof_in").iif_lo().daddr(address).dport(L4::Udp, PortRange::single(DNS)).notrack());
        plan.rule(line("spoof_in").iif_lo().saddr(address).udp_sport(DNS).notrack());
    }

    // The kernel believes it on any device, and sends what is for a permitted address to a neighbour.
    plan.rule(line("spoof_in").iif_lo().redirect_message().counter(SPOOFED).comment("no gateway speaks over loopback").drop());

    plan.base("came_in", HookKind::Filter, Hook::PREROUTING, -150, Policy::Accept);
    // Whoever has NET_RAW reads a question on the wire and can put an answer on lo in the resolver's name, long before the resolver's own:
    // a permitted name would have any address. (The kernel's errors about the flow come by lo too: they are related, not established.)
    let forged = line("came_in").iif_lo().reply().ct_state(ESTABLISHED).ct_mark(PROXY).counter(SPOOFED);
    plan.rule(forged.comment("no resolver answers over loopback").drop());
    // An entry ends before its connection when the app forges a reset that the peer does not take. What the peer sends next is new to
    // conntrack: without this it would make the connection one that came in, which no policy ends.
    plan.rule(line("came_in").iif_not_lo().ct_state(NEW).not_a_first_segment().comment("who began it is not known").accept());
    // Until a reply has gone out each packet of UDP is new to conntrack: the first alone is told.
    plan.rule(line("came_in").iif_not_lo().ct_state(NEW).ct_mark(CAME_IN).accept());
    if extras.ct_timeout {
        plan.rule(line("came_in").iif_not_lo().ct_state(NEW).l4(L4::Tcp).ct_timeout(FLOW_TCP).end());
    }
    plan.rule(line("came_in").iif_not_lo().ct_state(NEW).set_ct_mark(CAME_IN).counter(INBOUND).end());
    let told = line("came_in").iif_not_lo().ct_state(NEW).limit(log.per_second, log.per_second);
    plan.rule(told.log_as(CAME_IN_PREFIX, log.began, log.snaplen).end());
}

/// The priority can be read by anyone (sock_diag tells it as the class), so the mark alone is secret: 32 bits, which a container's root tries in
/// hours. So each guess holds the proxy's questions for a second, and then no guess is worth making.
pub(crate) fn identity(plan: &mut Plan, proxy: &Proxy) {
    plan.noted(GUESSED, SetKey::Uid, Duration::from_secs(1));
    plan.regular("identity");
    let guess = line("identity").mark_is_not(0).mark_is_not(proxy.mark).note_skuid(GUESSED);
    plan.rule(guess.counter(SPOOFED).comment("guesses at the proxy's mark").drop());
    plan.rule(line("identity").mark(proxy.mark).skuid_in(GUESSED).counter(SPOOFED).comment("may be the right guess").drop());
    // A connection entry outlives its socket by half a minute: the app's next question from the same port would be taken for one more of
    // the proxy's. (TCP needs no such care: a first segment ends an old entry. And what has no socket any more would not come by here.)
    let asks = line("identity").mark(proxy.mark).priority(proxy.priority).l4(L4::Udp);
    plan.rule(asks.set_original_zone(PROXY_ZONE).comment("the app may use the same port next").end());
}

/// What the kernel sends by itself: neighbour discovery, group membership, errors about flows that are open.
pub(crate) fn kernel_own(plan: &mut Plan) {
    plan.regular("kernel_own");
    plan.rule(line("kernel_own").made_by_a_socket().comment("raw sockets are no kernel").goto("tell"));
    plan.rule(line("kernel_own").icmpv6_type_among(&ND_TYPES).hop_limit(Ip::V6, 255).accept());
    plan.rule(line("kernel_own").icmpv6_type_among(&MLD_TYPES).hop_limit(Ip::V6, 1).limit(GROUPS, 2 * GROUPS).accept());
    plan.rule(line("kernel_own").l4(L4::Igmp).hop_limit(Ip::V4, 1).limit(GROUPS, 2 * GROUPS).accept());
    plan.rule(line("kernel_own").goto("tell"));

    plan.regular("errors");
    plan.rule(line("errors").made_by_a_socket().comment("raw sockets are no kernel").goto("tell"));
    plan.rule(line("errors").ct_mark_vmap(LIVE_RULES));
    plan.rule(line("errors").goto("tell"));
}

pub(crate) fn tell(plan: &mut Plan, log: Log, posture: Posture, extras: Extras) {
    plan.regular("tell");
    if posture == Posture::Audit {
        plan.rule(line("tell").ct_mark(AUDITED).comment("told already").accept());
    }
    plan.rule(line("tell").counter(DENIED).end());
    plan.rule(line("tell").limit(log.per_second, log.per_second).log(log.refused, log.snaplen).end());
    match posture {
        Posture::Enforce => {
            plan.rule(line("tell").ct_mark(AUDITED).set_ct_mark(AUDITED_ONCE).comment("if audited again, it is told again").end());
            plan.rule(line("tell").goto("refuse"));
        }
        Posture::Audit => {
            if extras.ct_timeout {
                plan.rule(line("tell").l4(L4::Tcp).ct_timeout(FLOW_TCP).end());
            }
            plan.rule(line("tell").set_ct_mark(AUDITED).comment("audit: nothing is held").accept());
        }
    }

    plan.regular("refuse");
    plan.rule(line("refuse").l4(L4::Tcp).reject_tcp_reset());
    plan.rule(line("refuse").reject_admin_prohibited());
}

pub(crate) fn forward(plan: &mut Plan, log: Log, posture: Posture) {
    plan.base("forward", HookKind::Filter, Hook::FORWARD, 0, Policy::Drop);
    plan.rule(line("forward").counter(DENIED).comment("pods do not route").end());
    plan.rule(line("forward").limit(log.per_second, log.per_second).log(log.refused, log.snaplen).end());
    if posture == Posture::Audit {
        plan.rule(line("forward").comment("audit: nothing is held").accept());
    }
}

/// No packet comes here: a rule that reads `ct bytes` has the kernel count bytes and packets of every connection in this network namespace,
/// which in a pod no sysctl can be set for (/proc/sys is read-only).
pub(crate) fn accounting(plan: &mut Plan) {
    plan.regular("accounting");
    plan.rule(line("accounting").ct_bytes_none().comment("has connections counted").end());
}
