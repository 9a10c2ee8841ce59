//! Targets: every form that is read, and what is wrong with the others.
use super::*;

#[test]
fn every_form_is_read_and_shown() {
    for (text, shown) in [
        ("github.com", "github.com"),
        ("GitHub.com:22", "github.com:22/tcp"),
        ("github.com:53/udp", "github.com:53/udp"),
        ("198.51.100.7", "198.51.100.7"),
        ("198.51.100.7:22/tcp", "198.51.100.7:22/tcp"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]:443", "[2001:db8::1]:443/tcp"),
        ("[2001:db8::1]/icmp", "2001:db8::1/icmp"),
        ("198.51.100.7/icmp", "198.51.100.7/icmp"),
        ("bücher.example:1", "xn--bcher-kva.example:1/tcp"),
    ] {
        assert_eq!(text.parse::<Target>().map(|target| target.to_string()), Ok(shown.to_owned()), "{text}");
    }
}

#[test]
fn what_is_no_target_is_said() {
    for (text, error) in [
        ("github.com:0", TargetError::Port),
        ("github.com:65536", TargetError::Port),
        ("github.com:", TargetError::Port),
        ("github.com:22/icmp", TargetError::Port),
        ("github.com/tcp", TargetError::Port),
        ("github.com:22/sctp", TargetError::Protocol),
        ("[2001:db8::1:443", TargetError::Brackets),
        ("[github.com]:443", TargetError::Brackets),
        ("[2001:db8::1]443", TargetError::Port),
        ("*.github.com:22", TargetError::Host(NameError::Star)),
        (":22", TargetError::Host(NameError::Empty)),
        ("", TargetError::Host(NameError::Empty)),
    ] {
        assert_eq!(text.parse::<Target>(), Err(error), "{text}");
    }
}
