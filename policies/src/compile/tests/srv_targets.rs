//! Targets of SRV records: granted along with the name, under every deny and every limit.
use super::{allow, compile, compile_in, file, grant, ip, today};
use crate::{Name, Policy, Surroundings};

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

/// The keys of the openings that the target gets from the name.
fn opened(policy: &Policy, from: &str, target: &str) -> Option<Vec<String>> {
    let grant = grant(policy, from).for_target(&name(target), policy)?;
    assert_eq!((grant.name(), grant.generation()), (&name(target), policy.generation()));
    Some(grant.openings().iter().map(|&index| policy.opening(index).unwrap().key.clone()).collect())
}

const SIP: &str = "hosts = [\"_sip._tcp.example.net\"]\nports = [\"5060\"]\nsrv-targets = true";

#[test]
fn a_target_opens_under_those_rules_that_say_so() {
    let other = allow("other", "hosts = [\"*.example.net\"]\nports = [\"443\"]");
    let policy = compile(&[file("p", &format!("{}{other}", allow("sip", SIP)))]);
    assert!(grant(&policy, "_sip._tcp.example.net").srv_targets() && !grant(&policy, "x.example.net").srv_targets());
    assert_eq!(opened(&policy, "_sip._tcp.example.net", "host.provider.example"), Some(vec!["p.sip".to_owned()]));
    assert_eq!(opened(&policy, "x.example.net", "host.provider.example"), None);
    let target = grant(&policy, "_sip._tcp.example.net").for_target(&name("host.provider.example"), &policy).unwrap();
    assert!(!target.srv_targets() && target.budget().is_none(), "a target has no targets");
}

#[test]
fn a_denied_target_is_not_granted_and_a_denied_port_is_not_opened() {
    let two = allow("web", &SIP.replace("5060", "443"));
    let text = format!(
        "{}{two}[[deny]]\nhosts = [\"evil.example\", \"*.evil.example\"]\n[[deny]]\nhosts = [\"half.example\"]\nports = [\"443\"]\n",
        allow("sip", SIP)
    );
    let policy = compile(&[file("p", &text)]);
    for denied in ["evil.example", "a.b.evil.example"] {
        assert_eq!(opened(&policy, "_sip._tcp.example.net", denied), None, "{denied}");
    }
    assert_eq!(opened(&policy, "_sip._tcp.example.net", "half.example"), Some(vec!["p.sip".to_owned()]));
    assert_eq!(opened(&policy, "_sip._tcp.example.net", "ok.example").map(|keys| keys.len()), Some(2));
}

#[test]
fn a_target_must_lie_inside_the_limits_of_every_platform_file() {
    let names =
        file("one", "platform = true\n[[limit]]\nhosts = [\"*.example.net\"]\n[[limit]]\nhosts = [\"x.example\"]\nports = [\"443\"]\n");
    let ports = file("two", "platform = true\n[[limit]]\nports = [\"5060\", \"443\"]\n");
    let policy = compile(&[file("p", &allow("sip", SIP)), names, ports]);
    assert!(opened(&policy, "_sip._tcp.example.net", "host.example.net").is_some());
    assert_eq!(opened(&policy, "_sip._tcp.example.net", "host.provider.example"), None);
    assert_eq!(opened(&policy, "_sip._tcp.example.net", "x.example"), None, "inside on another port only");
}

#[test]
fn the_grant_of_another_generation_grants_no_target() {
    let policy = compile(&[file("p", &allow("sip", SIP))]);
    let newer = compile(&[file("p", &format!("{}[[deny]]\nhosts = [\"evil.example\"]\n", allow("sip", SIP)))]);
    let old = grant(&policy, "_sip._tcp.example.net");
    assert!(old.for_target(&name("ok.example"), &policy).is_some() && old.for_target(&name("ok.example"), &newer).is_none());
}

#[test]
fn the_right_to_private_addresses_is_that_of_the_target() {
    let text = allow("sip", "hosts = [\"_sip._tcp.example.net\", \"*.svc.cluster.local\"]\nports = [\"5060\"]\nsrv-targets = true");
    let policy = compile_in(&[file("p", &text)], &Surroundings::stand_in(today())).unwrap();
    let permits = |from: &str, target: &str| {
        let target = grant(&policy, from).for_target(&name(target), &policy).unwrap();
        target.permits_address(ip("10.1.2.3")).is_ok()
    };
    assert!(permits("_sip._tcp.example.net", "a.b.svc.cluster.local"));
    assert!(permits("_sip._tcp.a.svc.cluster.local", "a.b.svc.cluster.local"));
    assert!(!permits("_sip._tcp.a.svc.cluster.local", "host.provider.example"));
}
