//! Address ranges as files write them.
use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Range,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{fields::Text, report::Report};
use crate::{
    ports::{Ports, Protocol},
    problem::quoted,
};

/// The ranges of an array; what is none is told and left out.
pub(super) fn ranges(report: &mut Report, texts: &[Text<'_>]) -> Vec<(IpNet, Range<usize>)> {
    let mut seen = HashSet::with_capacity(texts.len());
    let mut ranges = Vec::with_capacity(texts.len());
    for text in texts {
        let Some(range) = range(report, text) else { continue };
        if seen.insert(range) {
            ranges.push((range, text.span.clone()));
        } else {
            report.warning(text.span.clone(), format!("{range} stands here twice"), "already in this list", None);
        }
    }
    ranges
}

fn range(report: &mut Report, text: &Text<'_>) -> Option<IpNet> {
    if let Ok(address) = text.text.parse::<IpAddr>() {
        return Some(address.into());
    }
    let Ok(range) = text.text.parse::<IpNet>() else {
        let looks_like_a_name = text.text.chars().any(char::is_alphabetic) && !text.text.contains(':');
        let hint =
            if looks_like_a_name { "names belong in `hosts`" } else { "as in \"10.40.0.0/16\", \"2001:db8::/32\" or \"198.51.100.7\"" };
        report.error(text.span.clone(), format!("{} is no address range", quoted(text.text)), "cannot be read", Some(hint.to_owned()));
        return None;
    };
    if range.trunc() != range {
        let hint = Some(format!("the range is {}; the address alone is {}", range.trunc(), range.addr()));
        report.error(text.span.clone(), format!("{range} has bits set behind its prefix"), "an address, or a range?", hint);
        return None;
    }
    Some(range)
}

/// Says where an allow opens every address there is.
pub(super) fn warn_of_everything(report: &mut Report, ranges: &[(IpNet, Range<usize>)]) {
    for (range, span) in ranges.iter().filter(|(range, _)| range.prefix_len() == 0) {
        let hint = Some("names are what holds an app; a range holds only its ports".to_owned());
        report.warning(span.clone(), format!("{range} opens every address to this rule's ports"), "all of the Internet", hint);
    }
}

/// Says where a deny would take loopback from the pod: its resolver listens there.
///
/// A wider range that names its ports is let through as long as DNS is not among them ("nobody sends mail": `0.0.0.0/0` on 25), since
/// loopback is accepted before any range is looked at.
pub(super) fn refuse_loopback(report: &mut Report, ranges: &[(IpNet, Range<usize>)], ports: Option<&Ports>) {
    let loopback: [IpNet; 2] = [Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8).into(), Ipv6Net::from(Ipv6Addr::LOCALHOST).into()];
    for (range, span) in ranges {
        let Some(hit) = loopback.iter().find(|loopback| loopback.contains(range) || range.contains(*loopback)) else { continue };
        let wider_without_dns = range != hit && range.contains(hit) && ports.is_some_and(|ports| !takes_dns(ports));
        if !wider_without_dns {
            let hint = if range.prefix_len() == 0 {
                "what no rule allows is refused already; a deny is for what another file allows"
            } else {
                "loopback stays inside the pod and is never held"
            };
            report.error(
                span.clone(),
                format!("this deny covers loopback ({hit}), where the resolver listens"),
                "covers loopback",
                Some(hint.to_owned()),
            );
        }
    }
}

/// Whether a deny of these ports would take DNS.
pub(crate) fn takes_dns(ports: &Ports) -> bool {
    ports.contains(Protocol::Udp, 53) || ports.contains(Protocol::Tcp, 53)
}
