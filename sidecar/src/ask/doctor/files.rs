//! What the pod's own files say: whom its apps ask for names, and which names they never ask for.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;

use super::finding::{Finding, View};
use crate::bounded;
use crate::control::answers::Permits;
use crate::control::client;
use crate::exit::chain;
use crate::status::Status;
use crate::surroundings::ResolvConf;

/// Names of the hosts file that are looked at.
const MOST_HOSTS: usize = 20;
/// The largest file that is read.
const MOST_BYTES: u64 = 1 << 20;

/// Whom the pod's apps ask, and whether that is whom the sidecar asks.
pub fn resolvers(path: &Path, status: &Status) -> Vec<Finding> {
    let conf = match ResolvConf::read(path) {
        Ok(conf) => conf,
        Err(error) => return vec![View::File.warning("resolv.conf", chain(&error), "apps may look names up otherwise", "#resolv-conf")],
    };
    if conf.nameservers.is_empty() {
        return vec![View::File.problem(
            "resolv.conf",
            "it names no resolver",
            "apps ask 127.0.0.1 then, which is not redirected",
            "#resolv-conf",
        )];
    }
    let mut findings = Vec::new();
    if let Some(local) = conf.nameservers.iter().find(|server| server.ip().is_loopback()) {
        let says = format!("{} is in the pod: its questions are caught when it asks further", local.ip());
        findings.push(View::File.warning("resolv.conf", says, "a local stub that answers by itself is not held", "#resolv-conf"));
    }
    let asked: BTreeSet<&str> = status.upstreams.iter().map(|upstream| upstream.address.as_str()).collect();
    let other = conf.nameservers.iter().filter(|server| !asked.contains(server.to_string().as_str())).count();
    let how =
        if other > 0 { "; the sidecar asks others (--upstream), or whom it named when the pod started (--kept-resolv-conf)" } else { "" };
    findings
        .push(View::File.fine("resolv.conf", format!("{} resolvers, {} search domains{how}", conf.nameservers.len(), conf.search.len())));
    findings
}

/// Names of the hosts file never reach DNS: no lease opens their addresses.
pub fn hosts(path: &Path, control: &Path) -> Vec<Finding> {
    let Ok(bytes) = bounded::read(path, MOST_BYTES) else { return Vec::new() };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let mut findings = Vec::new();
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let entries = lines.filter_map(|line| {
        let mut words = line.split_whitespace();
        let address: IpAddr = words.next()?.parse().ok()?;
        Some((address, words.map(str::to_owned).collect::<Vec<_>>()))
    });
    let own: Vec<(IpAddr, String)> = entries
        .filter(|(address, _)| !address.is_loopback() && !address.is_multicast() && !address.is_unspecified())
        .flat_map(|(address, names)| names.into_iter().map(move |name| (address, name)))
        .filter(|(_, name)| name.contains('.') && !name.starts_with("ip6-"))
        .take(MOST_HOSTS)
        .collect();
    if own.is_empty() {
        return findings;
    }
    let targets: Vec<String> = own.iter().map(|(address, _)| address.to_string()).collect();
    let permitted = match client::ask::<Permits>(control, &format!("permits {}", targets.join(" "))) {
        Ok(answer) => answer.permitted,
        Err(error) => {
            findings.push(View::File.warning("hosts", chain(&error), "whether its addresses are permitted was not looked at", "#version"));
            return findings;
        }
    };
    for ((address, name), permitted) in own.into_iter().zip(permitted) {
        if !permitted {
            let says = format!("{name} is {address} by {}: apps never ask for it, so no lease opens it", path.display());
            findings.push(View::File.warning("hosts", says, "open the address with cidrs, or take the line out", "#hosts-file"));
        }
    }
    findings
}
