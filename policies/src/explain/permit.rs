//! The TOML lines that would permit a target.
use crate::{
    policy::Policy,
    ports::Protocol,
    target::{Target, TargetHost},
    verdict::Reason,
};

/// The lines; `None` where no line to add would do.
pub(super) fn lines(policy: &Policy, target: &Target, reason: Reason) -> Option<String> {
    let place = match &target.host {
        TargetHost::Name(name) => format!("hosts = [\"{name}\"]"),
        TargetHost::Address(address) => format!("cidrs = [\"{address}\"]"),
    };
    let port = match target.port {
        None => "443".to_owned(),
        Some((Protocol::Icmp, _)) => "icmp".to_owned(),
        Some((Protocol::Tcp, port)) => port.to_string(),
        Some((Protocol::Udp, port)) => format!("{port}/udp"),
    };
    // A name off the wire may hold what no file can name.
    if !place.bytes().all(|byte| byte != b'\\') {
        return None;
    }
    match reason {
        Reason::Denied | Reason::Expired(_) => None,
        Reason::OutsideLimit => Some(format!("# in the platform's file\n[[limit]]\n{place}\nports = [\"{port}\"]\n")),
        _ => {
            let head = if policy.files().is_empty() { "version = 1\n\n" } else { "" };
            Some(format!("{head}[[allow]]\nname = \"{}\"\n{place}\nports = [\"{port}\"]\n", rule_name(target)))
        }
    }
}

/// A name for the rule, made of the host.
fn rule_name(target: &Target) -> String {
    let host = target.host.to_string();
    let tame: String = host.chars().map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' }).take(48).collect();
    let tame = tame.trim_matches('-');
    if tame.is_empty() { "new".to_owned() } else { tame.to_owned() }
}
