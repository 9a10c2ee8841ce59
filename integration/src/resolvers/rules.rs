//! The ruleset that all contestants stand behind: the one that Portreeve installs, read back from the kernel with `nft`.
//!
//! Portreeve's own questions are known by a random mark and priority, which no other resolver sets. In the others' copy the same
//! comparisons ask for mark 0 and priority 0, which every packet has: as many steps, and they let the contestant's uid ask. Nor are the
//! tables owned: they would go with the `nft` that loads them.

use std::net::SocketAddr;

use super::names;
use crate::{Setup, World};

/// Starts the product in a pod of its own and reads its ruleset, changed for others as said above.
///
/// # Panics
/// When the ruleset has no exemption as it is known here.
pub(super) fn for_others(world: &World, upstream: SocketAddr, policy: &str) -> String {
    let pod = world.pod("rules");
    let portreeve = Setup::new(&pod).policy("bench.toml", policy).upstream(upstream).start();
    let listed = pod.command("nft").args(["--stateless", "list", "ruleset"]).output().expect_ok("nft list ruleset");
    drop(portreeve);
    for_everybody(&listed).unwrap_or_else(|| panic!("where is the exemption of {}'s questions? {}\n{listed}", crate::product::UID, names::ZONE))
}

fn for_everybody(listed: &str) -> Option<String> {
    let (_, rest) = listed.split_once("\tchain dns {")?;
    let (_, rest) = rest.split_once("meta mark ")?;
    let (mark, rest) = rest.split_once(" meta priority ")?;
    let (priority, _) = rest.split_once(' ')?;
    let exemption = format!("meta mark {mark} meta priority {priority}");
    let zone = "meta l4proto udp ct original zone set";
    // A reply to an app has mark 0 as well: only what goes upstream may get the zone, as with Portreeve.
    let known = listed.contains(zone) && listed.matches(&exemption).count() >= 4;
    let free: String = listed.lines().filter(|line| !line.trim().starts_with("flags owner")).map(|line| format!("{line}\n")).collect();
    known.then(|| free.replace(zone, "udp dport 53 ct original zone set").replace(&exemption, "meta mark 0x00000000 meta priority 0:0"))
}
