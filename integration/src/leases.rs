//! The leases of a pod as the kernel has them: read with `nft`, not by the product's own code.

use std::net::IpAddr;
use std::time::Duration;

use crate::Pod;

/// One element of a lease set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The set's name: the opening's key and the family.
    pub set: String,
    /// The address that is open.
    pub address: IpAddr,
    /// How long it still is, to the kernel's tick.
    pub left: Duration,
    /// The names, as the comment shows them.
    pub comment: String,
}

/// Every lease of the pod's table `inet portreeve`; notes of use are none.
///
/// # Panics
/// When `nft` cannot list the table, or lists what is not understood.
#[must_use]
pub fn leases(pod: &Pod) -> Vec<Lease> {
    let listed = pod.command("nft").args(["list", "table", "inet", "portreeve"]).output().expect_ok("nft list table inet portreeve");
    read(&listed)
}

/// The leases of one address.
///
/// # Panics
/// As [`leases`].
#[must_use]
pub fn of(pod: &Pod, address: &str) -> Vec<Lease> {
    let address: IpAddr = address.parse().expect("an address");
    leases(pod).into_iter().filter(|lease| lease.address == address).collect()
}

fn read(listed: &str) -> Vec<Lease> {
    let (mut found, mut set) = (Vec::new(), "");
    let mut inside = false;
    for line in listed.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("set ").and_then(|rest| rest.strip_suffix(" {")) {
            set = name;
        }
        let elements = line.strip_prefix("elements = { ").unwrap_or(line);
        inside |= elements.len() < line.len();
        if !inside {
            continue;
        }
        // Names have neither commas nor braces.
        let (elements, ends) = elements.split_once('}').map_or((elements, false), |(elements, _)| (elements, true));
        if !set.ends_with("_used") {
            found.extend(elements.split(',').filter_map(|element| lease(set, element.trim())));
        }
        inside = !ends;
    }
    found
}

/// `198.51.100.7 timeout 1m30s expires 1m29s996ms comment "api.example.com"`; an element without time is no lease.
fn lease(set: &str, element: &str) -> Option<Lease> {
    let (address, rest) = element.split_once(' ')?;
    let (_, rest) = rest.split_once("expires ")?;
    let (left, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let comment = rest.strip_prefix("comment \"").and_then(|rest| rest.strip_suffix('"')).unwrap_or_default().to_owned();
    let address = address.parse().unwrap_or_else(|cause| panic!("{element}: {cause}"));
    Some(Lease { set: set.to_owned(), address, left: span(left), comment })
}

/// `1d2h3m4s5ms` as nft writes it.
fn span(text: &str) -> Duration {
    let (mut total, mut rest) = (0, text);
    while let Some(at) = rest.find(|c: char| !c.is_ascii_digit()) {
        let number: u64 = rest[..at].parse().unwrap_or_else(|_| panic!("{text} is no span of time"));
        let unit_end = rest[at..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |more| at + more);
        let unit = match &rest[at..unit_end] {
            "d" => 86_400_000,
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            other => panic!("{text}: what is {other}?"),
        };
        total += number * unit;
        rest = &rest[unit_end..];
    }
    Duration::from_millis(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nft_lists_is_read() {
        let listed = "table inet portreeve {\n\tset web.api_v4 {\n\t\ttype ipv4_addr\n\t\telements = { 198.51.100.7 timeout 2m expires 1m29s996ms comment \"a.example b.example\",\n\t\t\t     198.51.100.8 timeout 1h expires 59m }\n\t}\n\tset web.api_v4_used {\n\t\telements = { 198.51.100.7 expires 3s }\n\t}\n\tset x {\n\t\telements = { 443 }\n\t}\n}\n";
        let found = read(listed);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].left, found[0].comment.as_str()), (Duration::from_millis(89_996), "a.example b.example"));
        assert_eq!((found[1].set.as_str(), found[1].left), ("web.api_v4", Duration::from_secs(3540)));
        assert_eq!(span("1d1h1ms"), Duration::from_millis(90_000_001));
    }
}
