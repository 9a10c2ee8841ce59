//! `portreeve doctor`: what keeps the sidecar from its work, or apps from theirs; each finding with a hint and where to read on.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::ask::table::tame;
use crate::bounded;
use crate::cli::DoctorArgs;
use crate::control::answers::Explained;
use crate::control::client;
use crate::exit::{Exit, Failure, chain};
use crate::fence::listing::ListedLease;
use crate::output;
use crate::status::Status;
use crate::surroundings::ResolvConf;

/// Names of the hosts file that are looked at.
const MOST_HOSTS: usize = 20;
/// The largest file that is read.
const MOST_BYTES: u64 = 1 << 20;
/// 2025-01-01: no clock that is right says less.
const EARLIEST: u64 = 1_735_689_600;
/// The bit of CAP_NET_ADMIN (linux/capability.h).
const NET_ADMIN: u64 = 1 << 12;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Weight {
    Ok,
    Warning,
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    weight: Weight,
    /// What was looked at, and in whose view.
    about: &'static str,
    says: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'static str>,
    /// Where README.md of the sidecar says more.
    anchor: &'static str,
}

#[derive(Deserialize)]
struct Leases {
    leases: Vec<ListedLease>,
}

/// Runs it; exit 1 if something is a problem.
pub fn run(args: &DoctorArgs) -> Result<Exit, Failure> {
    let control = &args.running.control;
    let status: Option<Status> = match client::ask(control, "status") {
        Ok(status) => Some(status),
        Err(error) => {
            let finding = problem("sidecar", chain(&error), "start it, or name its control socket: --control", "#not-ready");
            return told(args, vec![finding]);
        }
    };
    let mut findings = vec![clock()];
    if let Some(status) = &status {
        of_status(status, &mut findings);
        findings.push(capabilities(status.pid));
    }
    findings.push(leases(control));
    findings.extend(resolvers(&args.resolv_conf, status.as_ref()));
    findings.extend(hosts(&args.hosts, control));
    findings.push(accounting());
    told(args, findings)
}

fn told(args: &DoctorArgs, findings: Vec<Finding>) -> Result<Exit, Failure> {
    if args.running.json {
        output::json(&findings)?;
    } else {
        let lines = findings.iter().flat_map(|finding| {
            let weight = match finding.weight {
                Weight::Ok => "ok     ",
                Weight::Warning => "warning",
                Weight::Problem => "PROBLEM",
            };
            let hint = finding.hint.map(|hint| format!("         hint: {hint} (sidecar/README.md{})", finding.anchor));
            std::iter::once(format!("{weight}  {}: {}", finding.about, tame(&finding.says))).chain(hint)
        });
        output::line(&lines.collect::<Vec<_>>().join("\n"))?;
    }
    let worst = findings.iter().map(|finding| finding.weight).max();
    Ok(if worst == Some(Weight::Problem) { Exit::Refused } else { Exit::Success })
}

fn fine(about: &'static str, says: impl Into<String>) -> Finding {
    Finding { weight: Weight::Ok, about, says: says.into(), hint: None, anchor: "#doctor" }
}

fn warning(about: &'static str, says: impl Into<String>, hint: &'static str, anchor: &'static str) -> Finding {
    Finding { weight: Weight::Warning, about, says: says.into(), hint: Some(hint), anchor }
}

fn problem(about: &'static str, says: impl Into<String>, hint: &'static str, anchor: &'static str) -> Finding {
    Finding { weight: Weight::Problem, ..warning(about, says, hint, anchor) }
}

fn clock() -> Finding {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    match now < EARLIEST {
        true => {
            problem("clock", "the clock stands before 2025", "rules end by date and the log tells times: set the node's clock", "#clock")
        }
        false => fine("clock", crate::record::Timestamp::now().to_string()),
    }
}

/// What the sidecar says of itself.
fn of_status(status: &Status, findings: &mut Vec<Finding>) {
    findings.push(match &status.not_ready_because {
        Some(why) => problem("sidecar", format!("not ready: {why}"), "nothing leaves until it is", "#not-ready"),
        None => fine("sidecar", "ready"),
    });
    let selecting = status.policies.iter().filter(|file| file.selects_this_pod).count();
    if selecting == 0 {
        let says = format!("none of {} policy files selects this pod: nothing leaves", status.policies.len());
        findings.push(warning("policy", says, "see [select] of the files, and --namespace and --labels of the sidecar", "#no-policy"));
    } else if status.mode == "audit" {
        findings.push(warning("policy", "audit: nothing is held", "take mode = \"audit\" out of the files when they are learnt", "#audit"));
    } else {
        findings.push(fine("policy", format!("{selecting} files select this pod, {} rules in force", status.rules)));
    }
    if let Some(error) = &status.last_error {
        let first = error.what.lines().next().unwrap_or_default();
        findings.push(warning("sidecar", format!("last error: {first}"), "its log on stderr has all of it", "#last-error"));
    }
    if status.table_restored > 0 {
        let says = format!("the table had vanished {} times and was put back", status.table_restored);
        findings.push(warning("ruleset", says, "somebody in the pod has NET_ADMIN and runs nft flush ruleset", "#table-vanished"));
    }
    if !status.raw_guard {
        let hint = "Linux 5.16 with CONFIG_NETFILTER_EGRESS stops them; drop NET_RAW from the app's containers";
        findings.push(warning("ruleset", "raw frames are not held", hint, "#raw-guard"));
    }
    for upstream in &status.upstreams {
        findings.push(match upstream.answers {
            true => fine("resolver", format!("{} answers", upstream.address)),
            false => {
                problem("resolver", format!("{} does not answer", upstream.address), "is it reachable from this pod?", "#resolver-silent")
            }
        });
    }
}

/// The worker's rights, as the kernel has them.
fn capabilities(pid: u32) -> Finding {
    let read = bounded::read(Path::new(&format!("/proc/{pid}/status")), MOST_BYTES);
    let text = read.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let mask = text.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
    match mask {
        None => warning("rights", "the worker cannot be seen from here", "ask inside the sidecar's own container", "#rights"),
        Some(NET_ADMIN) => fine("rights", "the worker has NET_ADMIN and nothing else"),
        Some(mask) if mask & NET_ADMIN == 0 => {
            problem("rights", "the worker has no NET_ADMIN", "the container needs NET_ADMIN, SETUID, SETGID, SETPCAP", "#rights")
        }
        Some(mask) => {
            warning("rights", format!("the worker has more than NET_ADMIN ({mask:#x})"), "was it started with SETPCAP?", "#rights")
        }
    }
}

/// Whether kernel and sidecar are of one mind.
fn leases(control: &Path) -> Finding {
    match client::ask::<Leases>(control, "leases") {
        Err(error) => problem("ruleset", chain(&error), "the kernel's sets could not be read", "#table-vanished"),
        Ok(Leases { leases }) => {
            // What is about to end may be gone on one side.
            let lives = |lease: &&ListedLease| lease.names.iter().any(|named| named.seconds.is_none_or(|seconds| seconds > 1));
            let torn = leases.iter().filter(lives).filter(|lease| lease.kernel_seconds.is_none() || !lease.sidecar).count();
            match torn {
                0 => fine("ruleset", format!("{} leases, by the kernel and by the sidecar", leases.len())),
                torn => {
                    problem("ruleset", format!("{torn} leases are known to one side alone"), "`portreeve leases` shows which", "#drift")
                }
            }
        }
    }
}

fn resolvers(path: &Path, status: Option<&Status>) -> Vec<Finding> {
    let conf = match ResolvConf::read(path) {
        Ok(conf) => conf,
        Err(error) => return vec![warning("resolv.conf", chain(&error), "apps may look names up otherwise", "#resolv-conf")],
    };
    if conf.nameservers.is_empty() {
        return vec![problem("resolv.conf", "it names no resolver", "apps ask 127.0.0.1 then, which is not redirected", "#resolv-conf")];
    }
    let mut findings = Vec::new();
    if let Some(local) = conf.nameservers.iter().find(|server| server.ip().is_loopback()) {
        let says = format!("{} is in the pod: its questions are caught when it asks further", local.ip());
        findings.push(warning("resolv.conf", says, "a local stub that answers by itself is not held", "#resolv-conf"));
    }
    let asked: BTreeSet<&str> = status.iter().flat_map(|status| &status.upstreams).map(|upstream| upstream.address.as_str()).collect();
    let other = conf.nameservers.iter().filter(|server| !asked.contains(server.to_string().as_str())).count();
    let how = if other > 0 { "; the sidecar asks others (--upstream)" } else { "" };
    findings.push(fine("resolv.conf", format!("{} resolvers, {} search domains{how}", conf.nameservers.len(), conf.search.len())));
    findings
}

/// Names of the hosts file never reach DNS: no lease opens their addresses.
fn hosts(path: &Path, control: &Path) -> Vec<Finding> {
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
    for (address, name) in own {
        let Ok(explained) = client::ask::<Explained>(control, &format!("explain {address}")) else { continue };
        if !explained.permitted {
            let says = format!("{name} is {address} by {}: apps never ask for it, so no lease opens it", path.display());
            findings.push(warning("hosts", says, "open the address with cidrs, or take the line out", "#hosts-file"));
        }
    }
    findings
}

fn accounting() -> Finding {
    match std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_acct").as_deref().map(str::trim) {
        Ok("1") => fine("kernel", "connections are counted"),
        Ok(_) => warning("kernel", "connections are not counted", "ends of flows are told without volumes", "#accounting"),
        Err(_) => warning("kernel", "connection tracking cannot be seen from here", "ask inside the pod", "#accounting"),
    }
}
