//! What a pod's kernel holds, asked of `nft` and not of the product: tables, leases with their time, batches as they come.

use std::net::IpAddr;
use std::time::Duration;

use crate::{Pod, Running};

/// One element of one lease set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The set without its family: the opening's key.
    pub key: String,
    /// The address that is open.
    pub address: IpAddr,
    /// The names in its comment.
    pub names: Vec<String>,
    /// How long it was given at its start, in whole seconds.
    pub given: Duration,
    /// How long it still stands, in whole seconds (`nft` rounds down).
    pub left: Duration,
}

/// Whether the pod has a table `inet portreeve`.
#[must_use]
pub fn stands(pod: &Pod) -> bool {
    pod.command("nft").args(["list", "tables"]).output().stdout.contains("table inet portreeve")
}

/// Every lease of the pod, by key and address.
///
/// # Panics
/// When `nft` cannot list the table, or lists what is no JSON.
#[must_use]
pub fn leases(pod: &Pod) -> Vec<Lease> {
    let text = pod.command("nft").args(["-j", "list", "table", "inet", "portreeve"]).output().expect_ok("nft list table");
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON of nft");
    let mut found = Vec::new();
    for set in json["nftables"].as_array().expect("a list").iter().filter_map(|object| object.get("set")) {
        let name = set["name"].as_str().unwrap_or_default();
        let Some(key) = name.strip_suffix("_v4").or_else(|| name.strip_suffix("_v6")) else { continue };
        for element in set["elem"].as_array().into_iter().flatten().filter_map(|element| element.get("elem")) {
            let seconds = |what: &str| Duration::from_secs(element[what].as_u64().unwrap_or(0));
            let address = element["val"].as_str().unwrap_or_default().parse().expect("an address");
            let names = element["comment"].as_str().unwrap_or_default().split_whitespace().map(str::to_owned).collect();
            found.push(Lease { key: key.to_owned(), address, names, given: seconds("timeout"), left: seconds("expires") });
        }
    }
    found.sort_by(|one, other| (&one.key, one.address).cmp(&(&other.key, other.address)));
    found
}

/// The lease of `address` under the opening `key`.
#[must_use]
pub fn lease(pod: &Pod, key: &str, address: &str) -> Option<Lease> {
    let address: IpAddr = address.parse().ok()?;
    leases(pod).into_iter().find(|lease| lease.key == key && lease.address == address)
}

/// `nft monitor` in the pod: every batch that changes the ruleset from now on.
#[derive(Debug)]
pub struct Batches(Running);

impl Batches {
    /// Starts it, and waits until it sees.
    ///
    /// # Panics
    /// When it sees nothing within 5 s.
    #[must_use]
    pub fn watch(pod: &Pod) -> Self {
        // With each message's type: of a set that it lost sight of it would not say a word otherwise.
        let batches = Self(pod.command("nft").args(["--debug=netlink", "monitor"]).spawn());
        // A table of its own, added until it is seen, then deleted: these batches are left out below.
        let probe = |verb: &str| pod.command("nft").args([verb, "table", "ip", "probe"]).output();
        let seen = crate::wait_until(Duration::from_secs(5), || {
            let (_added, _deleted) = (probe("add"), probe("delete"));
            batches.0.stdout().contains("probe").then_some(())
        });
        assert!(seen.is_some(), "nft monitor is blind: {}", batches.0.stderr());
        batches
    }

    /// The batches so far, each as the lines that `nft` prints for it.
    #[must_use]
    pub fn seen(&self) -> Vec<String> {
        let text = self.0.stdout();
        let mut batches: Vec<String> = vec![String::new()];
        for line in text.lines() {
            if line.starts_with("# new generation") {
                batches.push(String::new());
            } else if let Some(batch) = batches.last_mut() {
                *batch = format!("{batch}{line}\n");
            }
        }
        // The last one has no end yet.
        batches.pop();
        batches.retain(|batch| !batch.contains("table ip probe"));
        batches
    }
}
