//! The raw guard: frames that no chain of family inet saw do not leave.

use super::{
    Posture,
    line::{Line, line},
};
use crate::sys::{Chain, Hook, HookKind, Ident, Object, Policy, Rule};

/// The chain that every device's chain goes to.
pub(crate) const FRAMES: &str = "frames";
/// Frames that were dropped.
pub(crate) const RAW: &str = "raw";

/// What the devices share.
pub(crate) fn shared(posture: Posture) -> (Object, Chain, [Rule; 4]) {
    let chain = Chain { name: Ident::new(FRAMES), hook: None };
    let held = |line: Line| match posture {
        Posture::Enforce => line.drop(),
        Posture::Audit => line.accept(),
    };
    let rules = [
        line(FRAMES).has_a_route().comment("has a route: came through the IP stack, so the inet chains saw it").accept(),
        held(line(FRAMES).made_by_a_socket().counter(RAW).comment("AF_PACKET; ARP too, which may carry anything")),
        line(FRAMES).arp().limit(100, 5).accept(),
        held(line(FRAMES).counter(RAW).comment("AF_PACKET")),
    ];
    (Object::Counter(Ident::new(RAW)), chain, rules)
}

/// The chain of one device.
pub(crate) fn device(chain: &Ident, device: &str) -> (Chain, Rule) {
    let hook =
        Hook { kind: HookKind::Filter, number: Hook::EGRESS, priority: -500, policy: Policy::Drop, device: Some(Ident::new(device)) };
    (Chain { name: chain.clone(), hook: Some(hook) }, line(chain.as_str()).goto(FRAMES))
}

/// A name for a device's chain that is not taken: the device's own where nft can read it.
pub(crate) fn chain_name(device: &str, taken: impl Fn(&Ident) -> bool) -> Ident {
    let legal = device.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && device.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
        && device != FRAMES;
    let first = if legal { device.to_owned() } else { format!("x_{:032x}", super::names::digest(device.as_bytes())) };
    let candidates = std::iter::once(first.clone()).chain((2_u32..).map(|number| format!("{first}_{number}")));
    candidates.map(|name| Ident::new(&name)).find(|name| !taken(name)).unwrap_or_else(|| Ident::new(&first))
}
