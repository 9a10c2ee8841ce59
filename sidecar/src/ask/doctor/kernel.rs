//! What the kernel says of this network namespace: connections counted, packets told, a version that has what is needed, a clock that is right.

use std::time::{SystemTime, UNIX_EPOCH};

use super::finding::{Finding, View};
use crate::record::Timestamp;
use crate::status::{Conditions, Status};

/// 2025-01-01: no clock that is right says less.
const EARLIEST: u64 = 1_735_689_600;
/// What a clock is slewed by without being set.
const SLEWED_SECONDS: u64 = 5;

/// The clock of the node, which the pod shares.
pub fn clock() -> Finding {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    match now < EARLIEST {
        true => {
            let hint = "rules end by date and the log tells times: set the node's clock";
            View::Kernel.problem("clock", "the clock stands before 2025", hint, "#clock")
        }
        false => View::Kernel.fine("clock", Timestamp::now().to_string()),
    }
}

/// What the kernel says beside the clock.
pub fn look(status: &Status) -> Vec<Finding> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let mut findings = vec![accounting(read("/proc/sys/net/netfilter/nf_conntrack_acct").as_deref())];
    if let Some(conditions) = &status.conditions {
        findings.extend(stepped(conditions));
        findings.push(features(conditions, read("/proc/sys/kernel/osrelease").as_deref()));
        // `/proc/net` would be the namespace of the process's first thread.
        findings.push(told(conditions, nft::Log::default(), read("/proc/thread-self/net/netfilter/nfnetlink_log").as_deref()));
    }
    findings
}

/// Whether ended flows have volumes.
pub fn accounting(setting: Option<&str>) -> Finding {
    match setting.map(str::trim) {
        Some("1") => View::Kernel.fine("kernel", "connections are counted"),
        Some(_) => View::Kernel.warning("kernel", "connections are not counted", "ends of flows are told without volumes", "#accounting"),
        None => View::Kernel.warning("kernel", "connection tracking cannot be seen from here", "ask inside the pod", "#accounting"),
    }
}

/// A clock that was set since the worker started: by the sidecar's two clocks.
pub fn stepped(conditions: &Conditions) -> Option<Finding> {
    let seconds = conditions.clock_stepped_seconds;
    (seconds.unsigned_abs() > SLEWED_SECONDS).then(|| {
        let (by, way) = (seconds.unsigned_abs(), if seconds < 0 { "back" } else { "forward" });
        let hint = "times in the log jump there; leases do not, they go by the monotonic clock";
        View::Sidecar.warning("clock", format!("the clock was set {way} by {by} s since the worker started"), hint, "#clock")
    })
}

/// What the kernel has of what the ruleset can use.
pub fn features(conditions: &Conditions, release: Option<&str>) -> Finding {
    let release = release.map_or("of an unknown version", str::trim);
    if !conditions.table_owned {
        let hint = "Linux 6.9 lets a process own its table; until then keep NET_ADMIN from the app's containers";
        return View::Kernel.warning(
            "kernel",
            format!("Linux {release}: who has NET_ADMIN in the pod can change the table"),
            hint,
            "#ownership",
        );
    }
    if !conditions.conntrack_timeout {
        let hint = "CONFIG_NF_CONNTRACK_TIMEOUT ends them after 2 s; watch nf_conntrack_count";
        return View::Kernel.warning("kernel", format!("Linux {release}: entries of questions stay for 30 s"), hint, "#conntrack-timeout");
    }
    View::Kernel.fine("kernel", format!("Linux {release}: the table is owned, entries of questions end early"))
}

/// Whether somebody reads what the ruleset tells. Who it is the kernel does not say.
pub fn told(conditions: &Conditions, log: nft::Log, listed: Option<&str>) -> Finding {
    let about = "flow log";
    if conditions.flow_log == "off" {
        let hint = "take --flow-log off away; `none` keeps the log from stdout alone";
        return View::Sidecar.warning(about, "off: nobody knows of flows", hint, "#flow-log");
    }
    if !conditions.flows_heard {
        let hint = "its log says why; one process can read a group";
        return View::Sidecar.problem(about, "flows are not heard of", hint, "#flow-log");
    }
    let Some(listed) = listed else {
        return View::Kernel.warning(about, "who reads it cannot be seen from here", "ask inside the pod, as root", "#flow-log");
    };
    let bound: Vec<u16> = listed.lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect();
    match [log.refused, log.began].iter().find(|group| !bound.contains(group)) {
        Some(group) => {
            let says = format!("nobody reads NFLOG group {group}");
            View::Kernel.problem(about, says, "its thread has ended: restart the sidecar, and tell us", "#flow-log")
        }
        None => View::Kernel.fine(about, format!("NFLOG groups {} and {} are read", log.refused, log.began)),
    }
}
