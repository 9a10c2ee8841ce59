//! The ruleset that all contestants stand behind: the one that Portreeve installs, read back from the kernel with `nft`.
//!
//! Portreeve's own questions are known by a random mark and priority, which no other resolver sets. In the others' copy the same
//! comparisons ask for mark 0 and priority 0, which every packet has: as many steps, and they let the contestant's uid ask. Nor are the
//! tables owned: they would go with the `nft` that loads them.

use std::net::SocketAddr;

use super::names;
use crate::{Pod, Setup, World};

/// What somebody would write who has dnsmasq alone: the same redirect and the same sets, none of Portreeve's guards.
pub(super) const SMALL: &str = include_str!("small.nft");

/// Starts the product in a pod of its own and reads its ruleset, changed for others as said above.
///
/// # Panics
/// When the ruleset has no exemption as it is known here.
pub(super) fn for_others(world: &World, upstream: SocketAddr, policy: &str) -> String {
    let pod = world.pod("rules");
    let portreeve = Setup::new(&pod).policy("bench.toml", policy).upstream(upstream).start();
    let listed = pod.command("nft").args(["--stateless", "list", "ruleset"]).output().expect_ok("nft list ruleset");
    drop(portreeve);
    for_everybody(&listed)
        .unwrap_or_else(|| panic!("where is the exemption of {}'s questions? {}\n{listed}", crate::product::UID, names::ZONE))
}

/// How many addresses the kernel holds open in the sets of the policy's rules, whoever put them there.
///
/// # Panics
/// When `nft` cannot list them, or lists what is no JSON.
pub(super) fn open_addresses(pod: &Pod) -> usize {
    let listed = pod.command("nft").args(["-j", "list", "table", "inet", "portreeve"]).output().expect_ok("nft list table");
    let json: serde_json::Value = serde_json::from_str(&listed).expect("JSON of nft");
    let sets = json["nftables"].as_array().into_iter().flatten().filter_map(|object| object.get("set"));
    let ours = sets.filter(|set| set["name"].as_str().is_some_and(|name| name.starts_with("bench.") && name.ends_with("_v4")));
    ours.map(|set| set["elem"].as_array().map_or(0, Vec::len)).sum()
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

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = "table inet portreeve {\n\tflags owner\n\tchain identity {\n\t\tmeta mark 0x1 meta priority 2:3 meta l4proto udp ct original \
                          zone set 1\n\t}\n\tchain dns {\n\t\tmeta skuid 4242 meta mark 0x1 meta priority 2:3 accept\n\t\tmeta mark 0x1 meta priority \
                          2:3 accept\n\t}\n\tchain egress {\n\t\tmeta mark 0x1 meta priority 2:3 jump proxy\n\t}\n}\n";

    #[test]
    fn the_exemption_is_turned_into_one_that_others_have() {
        let text = for_everybody(LISTED).unwrap();
        assert!(!text.contains("owner") && !text.contains("0x1 ") && !text.contains("l4proto"), "{text}");
        assert_eq!(text.matches("meta mark 0x00000000 meta priority 0:0").count(), 4);
        assert_eq!(text.lines().count() + 1, LISTED.lines().count(), "every other line is there");
        assert_eq!(for_everybody(&LISTED.replace("ct original", "ct")), None, "a ruleset that is not known is not guessed at");
    }

    #[test]
    fn the_small_ruleset_knows_the_same_uid_port_and_sets() {
        let (uid, port) = (format!("meta skuid {} udp", crate::product::UID), format!("redirect to :{}\n", super::super::peers::PORT));
        assert!(SMALL.matches(&uid).count() == 2 && SMALL.contains(&port));
        for option in names::nftsets() {
            let set = option.rsplit('#').next().unwrap();
            assert!(SMALL.contains(&format!("set {set} {{")) && SMALL.contains(&format!("@{set} ")), "{set}");
        }
    }
}
