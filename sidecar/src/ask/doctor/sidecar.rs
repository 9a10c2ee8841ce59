//! What the running sidecar says of itself, and how that fits what the kernel has.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::finding::{Finding, View};
use crate::bounded;
use crate::control::client::{self, AskError};
use crate::exit::chain;
use crate::fence::listing::ListedLease;
use crate::status::Status;

/// The largest file of /proc that is read.
const MOST_BYTES: u64 = 1 << 20;
/// The bit of CAP_NET_ADMIN (linux/capability.h).
const NET_ADMIN: u64 = 1 << 12;
/// How long the metrics port may take.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Deserialize)]
struct Leases {
    leases: Vec<ListedLease>,
}

/// What the sidecar says of itself.
pub fn of_status(status: &Status) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.push(match &status.not_ready_because {
        Some(why) => View::Sidecar.problem("sidecar", format!("not ready: {why}"), "nothing leaves until it is", "#not-ready"),
        None => View::Sidecar.fine("sidecar", "ready"),
    });
    let selecting = status.policies.iter().filter(|file| file.selects_this_pod).count();
    if selecting == 0 {
        let says = format!("none of {} policy files selects this pod: nothing leaves", status.policies.len());
        findings.push(View::Sidecar.warning(
            "policy",
            says,
            "see [select] of the files, and --namespace and --labels of the sidecar",
            "#no-policy",
        ));
    } else if status.mode == "audit" {
        findings.push(View::Sidecar.warning(
            "policy",
            "audit: nothing is held",
            "take mode = \"audit\" out of the files when they are learnt",
            "#audit",
        ));
    } else {
        findings.push(View::Sidecar.fine("policy", format!("{selecting} files select this pod, {} rules in force", status.rules)));
    }
    if let Some(error) = &status.last_error {
        let first = error.what.lines().next().unwrap_or_default();
        findings.push(View::Sidecar.warning("sidecar", format!("last error: {first}"), "its log on stderr has all of it", "#last-error"));
    }
    if status.table_restored > 0 {
        let says = format!("the table had vanished {} times and was put back", status.table_restored);
        findings.push(View::Sidecar.warning(
            "ruleset",
            says,
            "somebody in the pod has NET_ADMIN and runs nft flush ruleset",
            "#table-vanished",
        ));
    }
    if !status.raw_guard {
        let hint = "Linux 5.16 with CONFIG_NETFILTER_EGRESS stops them; drop NET_RAW from the app's containers";
        findings.push(View::Sidecar.warning("ruleset", "raw frames are not held", hint, "#raw-guard"));
    }
    for upstream in &status.upstreams {
        findings.push(match upstream.answers {
            true => View::Sidecar.fine("resolver", format!("{} answers", upstream.address)),
            false => View::Sidecar.problem(
                "resolver",
                format!("{} does not answer", upstream.address),
                "is it reachable from this pod?",
                "#resolver-silent",
            ),
        });
    }
    findings
}

/// What the policy warns of, the version, and the metrics port.
pub fn of_conditions(status: &Status) -> Vec<Finding> {
    let own = env!("CARGO_PKG_VERSION");
    let Some(conditions) = &status.conditions else {
        let says = format!("version {} does not tell what it runs under; this command is {own}", status.version);
        return vec![View::Sidecar.warning("version", says, "ask with the portreeve of the sidecar's own image", "#version")];
    };
    let mut findings = vec![match status.version == own {
        true => View::Sidecar.fine("version", own),
        false => {
            let says = format!("the sidecar is {}, this command {own}", status.version);
            View::Sidecar.warning("version", says, "ask with the portreeve of the sidecar's own image", "#version")
        }
    }];
    let hint = "`portreeve policy check` draws it under its line";
    findings.extend(conditions.warnings.iter().map(|warning| View::Sidecar.warning("policy", warning.clone(), hint, "#policy-warnings")));
    findings.extend(conditions.metrics.as_deref().and_then(|address| address.parse().ok()).map(metrics));
    findings
}

/// Whether the metrics port answers to who asks from inside the pod.
pub fn metrics(mut address: SocketAddr) -> Finding {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    let asked = || {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /livez HTTP/1.1\r\nHost: portreeve\r\nConnection: close\r\n\r\n")?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&head).into_owned())
    };
    let hint = "scrapes and probes that use it fail: the sidecar's log says why the port is gone";
    match asked() {
        Ok(head) if head.ends_with(" 200") => View::Sidecar.fine("metrics", format!("{address} answers")),
        Ok(head) => View::Sidecar.problem("metrics", format!("{address} says {head}"), hint, "#metrics-port"),
        Err(error) => View::Sidecar.problem("metrics", format!("{address} does not answer: {error}"), hint, "#metrics-port"),
    }
}

/// The worker's rights, as the kernel has them.
pub fn capabilities(pid: u32) -> Finding {
    let read = bounded::read(Path::new(&format!("/proc/{pid}/status")), MOST_BYTES);
    let text = read.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let text = if is_another(pid) { String::new() } else { text };
    let mask = text.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
    match mask {
        None => View::Kernel.warning("rights", "the worker cannot be seen from here", "ask inside the sidecar's own container", "#rights"),
        Some(NET_ADMIN) => View::Kernel.fine("rights", "the worker has NET_ADMIN and nothing else"),
        Some(mask) if mask & NET_ADMIN == 0 => View::Kernel.problem(
            "rights",
            "the worker has no NET_ADMIN",
            "the container needs NET_ADMIN, SETUID, SETGID, SETPCAP",
            "#rights",
        ),
        Some(mask) => View::Kernel.warning(
            "rights",
            format!("the worker has more than NET_ADMIN ({mask:#x})"),
            "was it started with SETPCAP?",
            "#rights",
        ),
    }
}

/// Whether the pid is that of another program here: the sidecar may have a PID namespace of its own.
fn is_another(pid: u32) -> bool {
    let of = |path: String| std::fs::metadata(path).map(|exe| (exe.dev(), exe.ino()));
    match (of(format!("/proc/{pid}/exe")), of("/proc/self/exe".to_owned())) {
        (Ok(its), Ok(own)) => its != own,
        // A thread of the kernel's has none. What only may not be looked at is left to the rights themselves.
        (Err(error), _) => error.kind() == std::io::ErrorKind::NotFound,
        (Ok(_), Err(_)) => false,
    }
}

/// Whether kernel and sidecar are of one mind.
pub fn leases(control: &Path) -> Finding {
    match client::ask::<Leases>(control, "leases") {
        Err(error @ AskError::Unknown) => View::Both.warning("ruleset", chain(&error), "leases were not looked at", "#version"),
        Err(error) => View::Both.problem("ruleset", chain(&error), "the kernel's sets could not be read", "#table-vanished"),
        Ok(Leases { leases }) => {
            // What is about to end may be gone on one side.
            let lives = |lease: &&ListedLease| lease.names.iter().any(|named| named.seconds.is_none_or(|seconds| seconds > 1));
            let torn = leases.iter().filter(lives).filter(|lease| lease.kernel_seconds.is_none() || !lease.sidecar).count();
            match torn {
                0 => View::Both.fine("ruleset", format!("{} leases, by the kernel and by the sidecar", leases.len())),
                torn => View::Both.problem(
                    "ruleset",
                    format!("{torn} leases are known to one side alone"),
                    "`portreeve leases` shows which",
                    "#drift",
                ),
            }
        }
    }
}
