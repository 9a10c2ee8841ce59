//! Hosts as files write them: one name, or `*.` and a name.
use std::{net::IpAddr, ops::Range};

use super::{fields::Text, report::Report, shared};
use crate::{
    host::HostPattern,
    name::{Name, NameError},
    problem::quoted,
};

/// What the hosts are listed for: only what is granted is worth a warning about its breadth.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    Allow,
    Hold,
}

/// The hosts of an array; what is none is told and left out.
pub(super) fn hosts(report: &mut Report, texts: &[Text<'_>], purpose: For) -> Vec<HostPattern> {
    let mut seen = std::collections::HashSet::with_capacity(texts.len());
    let mut hosts = Vec::with_capacity(texts.len());
    for text in texts {
        let Some(host) = host(report, text) else { continue };
        if purpose == For::Allow {
            warn_of_breadth(report, &host, &text.span);
        }
        if seen.insert(host.clone()) {
            hosts.push(host);
        } else {
            report.warning(text.span.clone(), format!("{} stands here twice", host.both_forms()), "already in this list", None);
        }
    }
    hosts
}

fn host(report: &mut Report, text: &Text<'_>) -> Option<HostPattern> {
    let shown = quoted(text.text);
    let mut refuse = |message: String, label: &str, hint: String| {
        report.error(text.span.clone(), message, label, Some(hint));
        None
    };
    if is_address(text.text) {
        return refuse(format!("{shown} is an address, not a name"), "an address", "addresses and ranges belong in `cidrs`".to_owned());
    }
    if let Some((_, rest)) = text.text.split_once("://") {
        let host = rest.split(['/', ':', '?', '#']).next().unwrap_or("");
        return refuse(
            format!("{shown} is a URL, not a name"),
            "a URL",
            format!("write the host alone: {}; the port belongs in `ports`", quoted(host)),
        );
    }
    if text.text.contains('/') {
        return refuse(
            format!("{shown} is no name"),
            "a slash",
            "paths cannot be told apart by name or address; ranges belong in `cidrs`".to_owned(),
        );
    }
    if let Some((host, port)) = text.text.rsplit_once(':') {
        return refuse(
            format!("{shown} is no name"),
            "a colon",
            format!("write the host alone, {}, and put {} in `ports`", quoted(host), quoted(port)),
        );
    }
    let (below, written) = match text.text.strip_prefix("*.") {
        Some(zone) => (true, zone),
        None => (false, text.text),
    };
    let name = match Name::parse(written) {
        Ok(name) => name,
        Err(NameError::Star) => {
            return refuse(format!("{shown} has a star where none can be"), "only a leading `*.` is a wildcard", star_hint(text.text));
        }
        Err(error) => return refuse(format!("{shown} is no name: {error}"), "not a name", error_hint(&error)),
    };
    if name.is_root() {
        return refuse(
            format!("{shown} is the root"),
            "not a host",
            "there is no way to write \"any name\"; list what the app needs".to_owned(),
        );
    }
    // The last label of a host name is never all digits (RFC 1123 section 2.1): resolvers would take it for an address.
    let last = name.labels().last().unwrap_or(b"");
    if last.iter().all(u8::is_ascii_digit) || last.starts_with(b"0x") {
        return refuse(
            format!("{shown} would be read as an address"),
            "ends in a number",
            "addresses and ranges belong in `cidrs`".to_owned(),
        );
    }
    if below && name.as_wire().len() + 2 > 254 {
        return refuse(format!("no name fits below {shown}"), "too long", "a name has at most 255 octets".to_owned());
    }
    Some(if below { HostPattern::Below(name) } else { HostPattern::Exact(name) })
}

fn is_address(text: &str) -> bool {
    let bare = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(text, |(inside, _)| inside);
    let without_port = text.rsplit_once(':').map_or(text, |(front, _)| front);
    let without_prefix = text.rsplit_once('/').map_or(text, |(front, _)| front);
    [bare, without_port, without_prefix].iter().any(|text| text.parse::<IpAddr>().is_ok())
}

fn star_hint(text: &str) -> String {
    let tail = text.rsplit('*').next().unwrap_or("").trim_start_matches('.');
    match Name::parse(tail) {
        Ok(zone) if !zone.is_root() => {
            format!("write \"*.{zone}\" for every name below {zone}, at any depth; {zone} itself is a host of its own")
        }
        _ => "there is no way to write \"any name\"; list what the app needs".to_owned(),
    }
}

fn error_hint(error: &NameError) -> String {
    match error {
        NameError::Character { .. } => "a name is made of letters, digits, `-`, `_` and dots; it may be internationalised",
        NameError::Idna => "check the spelling; A-labels (xn--…) must decode",
        NameError::EmptyLabel => "one dot between two labels; a single dot may end the name",
        NameError::LabelTooLong { .. } | NameError::NameTooLong => "a label has at most 63 octets, a name 255",
        NameError::Empty | NameError::Star | NameError::CutOff | NameError::Capital => "write a name such as \"events.pagerduty.com\"",
    }
    .to_owned()
}

fn warn_of_breadth(report: &mut Report, host: &HostPattern, span: &Range<usize>) {
    let zone = match host {
        HostPattern::Below(zone) => zone,
        HostPattern::Exact(name) => {
            if name.depth() == 1 {
                let hint = Some(format!(
                    "resolvers ask for {name} with a search domain behind it: write the whole name, such as {name}.shop.svc.cluster.local"
                ));
                report.warning(span.clone(), format!("{} has a single label", quoted(&name.to_string())), "not a whole name", hint);
            }
            return;
        }
    };
    if let Some(breadth) = shared::breadth(zone) {
        report.warning(span.clone(), format!("{} {}", host.both_forms(), breadth.what()), breadth.label(), Some(breadth.hint().to_owned()));
    }
}
