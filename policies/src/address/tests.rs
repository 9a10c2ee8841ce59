//! Special addresses: which are, in every disguise, and which right opens which.
use super::*;

fn kind(text: &str) -> Option<AddressKind> {
    kind_of(text.parse().unwrap())
}

fn permitted(rights: &AddressRights, in_cluster: bool, text: &str) -> bool {
    let address = text.parse().unwrap();
    kind_of(address).is_none_or(|kind| rights.permit(address, kind, in_cluster))
}

fn rights(private: &Private) -> AddressRights {
    AddressRights::of(private, &[])
}

fn listed(ranges: &[&str]) -> AddressRights {
    rights(&Private::Ranges(ranges.iter().map(|range| range.parse().unwrap()).collect()))
}

#[test]
fn every_special_range_is_known_at_both_ends_and_in_disguise() {
    use AddressKind::*;
    let ranges = [
        ("0.0.0.0", "0.255.255.255", Unspecified),
        ("10.0.0.0", "10.255.255.255", Private),
        ("100.64.0.0", "100.127.255.255", CarrierGrade),
        ("127.0.0.0", "127.255.255.255", Loopback),
        ("169.254.0.0", "169.254.255.255", LinkLocal),
        ("172.16.0.0", "172.31.255.255", Private),
        ("192.168.0.0", "192.168.255.255", Private),
        ("224.0.0.0", "239.255.255.255", Multicast),
        ("240.0.0.0", "255.255.255.255", Broadcast),
        ("169.254.169.254", "169.254.169.254", Metadata),
        ("169.254.170.2", "169.254.170.2", Metadata),
        ("169.254.170.23", "169.254.170.23", Metadata),
        ("100.100.100.200", "100.100.100.200", Metadata),
        ("168.63.129.16", "168.63.129.16", Metadata),
    ];
    for (first, last, wanted) in ranges {
        for text in [first, last] {
            let v4: Ipv4Addr = text.parse().unwrap();
            assert_eq!(kind(text), Some(wanted), "{text}");
            let [a, b, c, d] = v4.octets();
            let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
            let disguises = [
                format!("::ffff:{text}"),
                format!("::ffff:0:{text}"),
                format!("64:ff9b::{text}"),
                format!("64:ff9b:1::{text}"),
                format!("2002:{high:x}:{low:x}::1"),
                format!("2002:{high:x}:{low:x}:ffff::"),
            ];
            for disguise in disguises {
                assert_eq!(kind(&disguise), Some(wanted), "{disguise}");
            }
            if !v4.is_unspecified() {
                assert_eq!(kind(&format!("::{text}")), Some(wanted), "::{text}");
            }
        }
    }
    for (text, wanted) in [
        ("::", Unspecified),
        ("::1", Loopback),
        ("fe80::", LinkLocal),
        ("febf:ffff::1", LinkLocal),
        ("fec0::1", SiteLocal),
        ("feff::1", SiteLocal),
        ("fc00::", UniqueLocal),
        ("fdff:ffff::1", UniqueLocal),
        ("ff00::", Multicast),
        ("ff02::1", Multicast),
        ("fd00:ec2::254", Metadata),
        ("fd00:ec2::23", Metadata),
        ("fd20:ce::254", Metadata),
        ("64:ff9b:1::198.51.100.1", Private),
    ] {
        assert_eq!(kind(text), Some(wanted), "{text}");
    }
}

#[test]
fn ordinary_addresses_are_ordinary() {
    for text in [
        "1.0.0.0",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.167.255.255",
        "192.169.0.0",
        "223.255.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "192.0.2.1",
        "198.18.0.1",
        "2001:db8::1",
        "2606:4700::1111",
        "64:ff9b::198.51.100.1",
        "2002:c633:6401::1",
        "::ffff:198.51.100.1",
        "fbff::1",
        "fe00::1",
    ] {
        assert_eq!(kind(text), None, "{text}");
    }
}

#[test]
fn private_true_opens_private_ranges_and_nothing_else() {
    let yes = rights(&Private::Yes);
    for text in [
        "10.1.2.3",
        "172.20.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "fc00::1",
        "fd12::1",
        "::ffff:10.1.2.3",
        "64:ff9b::10.1.2.3",
        "198.51.100.1",
    ] {
        assert!(permitted(&yes, false, text), "{text}");
        assert!(permitted(&rights(&Private::No), true, text), "{text} in the cluster");
    }
    for text in [
        "127.0.0.1",
        "::1",
        "169.254.1.1",
        "fe80::1",
        "169.254.169.254",
        "fd00:ec2::254",
        "100.100.100.200",
        "168.63.129.16",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
        "fec0::1",
        "::ffff:127.0.0.1",
        "64:ff9b::169.254.169.254",
        "2002:a9fe:a9fe::1",
        "::127.0.0.1",
    ] {
        assert!(!permitted(&yes, true, text), "{text}");
    }
}

#[test]
fn without_a_right_nothing_special_is_open() {
    let no = rights(&Private::No);
    assert!(permitted(&no, false, "198.51.100.1"));
    for text in ["10.1.2.3", "fd12::1", "169.254.1.1", "127.0.0.1"] {
        assert!(!permitted(&no, false, text), "{text}");
    }
}

#[test]
fn listed_ranges_open_what_they_list() {
    let some = listed(&["10.2.0.0/16", "fe80::/10"]);
    assert!(permitted(&some, false, "10.2.255.1") && permitted(&some, false, "fe80::1") && permitted(&some, false, "64:ff9b::10.2.0.1"));
    assert!(!permitted(&some, false, "10.3.0.1") && !permitted(&some, false, "192.168.0.1"));
}

#[test]
fn metadata_is_open_only_where_the_very_address_is_listed() {
    let wide = listed(&["169.254.0.0/16", "fd00::/8", "0.0.0.0/0", "168.63.129.0/24"]);
    for text in ["169.254.169.254", "fd00:ec2::254", "168.63.129.16", "64:ff9b::169.254.169.254"] {
        assert!(!permitted(&wide, true, text), "{text}");
    }
    assert!(permitted(&wide, false, "169.254.1.1"));
    assert!(permitted(&listed(&["169.254.169.254/32"]), false, "169.254.169.254"));
    assert!(permitted(&listed(&["fd00:ec2::254/128"]), false, "fd00:ec2::254"));
}

#[test]
fn rights_cover_only_what_they_hold_themselves() {
    assert!(rights(&Private::Yes).covers(&rights(&Private::No)));
    assert!(!rights(&Private::No).covers(&rights(&Private::Yes)));
    assert!(!listed(&["10.2.0.0/16"]).covers(&listed(&["10.3.0.0/16"])));
    assert!(listed(&["10.2.0.0/16", "10.3.0.0/16"]).covers(&listed(&["10.3.0.0/16"])));
}
