//! Explanations: the decision, where it comes from, what comes closest, and lines that do permit.
use super::*;
use crate::{Date, NameError, Pod, PolicyFile, Source, Surroundings, parse};

fn file(name: &str, text: &str) -> PolicyFile {
    let parsed = parse(&Source::new(format!("{name}.toml"), format!("version = 1\n{text}")));
    parsed.file.unwrap_or_else(|| panic!("{}", parsed.problems))
}

fn policy(files: &[PolicyFile]) -> Policy {
    Policy::compile(files, &Pod::default(), &Surroundings::stand_in(Date::new(2026, 6, 1).unwrap())).unwrap()
}

fn ask(policy: &Policy, target: &str) -> Explanation {
    explain(policy, &target.parse().unwrap())
}

const APP: &str = "[[allow]]\nname = \"ssh\"\nhosts = [\"github.com\"]\nports = [\"22\"]\n\
    [[allow]]\nname = \"pager\"\nhosts = [\"*.pagerduty.com\", \"status.example.net\"]\nports = [\"443\"]\n\
    [[allow]]\nname = \"net\"\ncidrs = [\"10.40.0.0/16\"]\nports = [\"9091\"]\n\
    [[allow]]\nname = \"old\"\nhosts = [\"old.example.net\", \"github.com\"]\nports = [\"21\"]\nexpires = 2026-05-01\n\
    [[deny]]\nhosts = [\"bad.pagerduty.com\"]\n[[deny]]\ncidrs = [\"10.40.9.0/24\"]\n";

#[test]
fn a_permitted_target_names_its_rule() {
    let told = ask(&policy(&[file("app", APP)]), "github.com:22");
    assert_eq!(told.verdict, Decision::Permitted);
    assert_eq!(
        (told.policy.as_deref(), told.rule.as_deref(), told.file.as_deref(), told.line),
        (Some("app"), Some("ssh"), Some("app.toml"), Some(2))
    );
    assert_eq!(told.to_string(), "permitted: github.com:22/tcp\n  github.com is permitted on 22\n  policy app, rule ssh, app.toml:2");
    let told = ask(&policy(&[file("app", APP)]), "10.40.1.1:9091");
    assert_eq!((told.verdict, told.rule.as_deref()), (Decision::Permitted, Some("net")));
    assert_eq!(ask(&policy(&[]), "127.0.0.1:80").verdict, Decision::Permitted);
}

#[test]
fn the_budget_of_a_wildcard_is_told() {
    let policy = policy(&[file("app", APP)]);
    let told = ask(&policy, "events.pagerduty.com:443");
    assert_eq!(
        told.to_string().lines().last(),
        Some("  budget: 600 names and 32768 octets of names a minute, labels of up to 63 octets (policy app, rule pager)")
    );
    let terms = told.budget.map(|budget| (budget.policy, budget.rule, budget.terms));
    assert_eq!(terms, Some(("app".to_owned(), "pager".to_owned(), crate::BudgetTerms::default())));
    assert_eq!(ask(&policy, "github.com:22").budget, None);
}

#[test]
fn the_nearest_miss_is_found() {
    let policy = policy(&[file("app", APP)]);
    for (target, kind, host) in [
        ("github.com:443", NearestKind::OtherPort, "github.com"),
        ("pagerduty.com:443", NearestKind::OnlyBelow, "*.pagerduty.com"),
        ("api.github.com:22", NearestKind::OnlyAbove, "github.com"),
        ("other.example.net:443", NearestKind::Sibling, "status.example.net"),
        ("statsu.example.net:443", NearestKind::Spelling, "status.example.net"),
        ("githbu.com:22", NearestKind::Spelling, "github.com"),
        ("events.pagerdutty.com:443", NearestKind::Spelling, "*.pagerduty.com"),
        ("10.40.1.1:80", NearestKind::OtherPort, "10.40.1.1"),
    ] {
        let told = ask(&policy, target);
        assert_eq!(told.verdict, Decision::Refused, "{told}");
        let nearest = told.nearest.unwrap_or_else(|| panic!("{target}"));
        assert_eq!((nearest.kind, nearest.host.as_str()), (kind, host), "{target}");
        assert!(nearest.line > 0 && !nearest.ports.is_empty());
    }
    // Two registered domains have nothing to do with each other.
    assert_eq!(ask(&policy, "evilgithub.com:22").nearest, None);
    assert_eq!(ask(&policy, "example.org:22").nearest, None);
}

#[test]
fn the_reason_is_told_with_its_place() {
    let platform = file("platform", "platform = true\n[[limit]]\nports = [\"22\", \"9091\", \"21\"]\n");
    let both = policy(&[file("app", APP), platform]);
    for (target, reason, line) in [
        ("bad.pagerduty.com:443", Reason::Denied, Some(19)),
        ("old.example.net:21", Reason::Expired(Date::new(2026, 5, 1).unwrap()), Some(14)),
        ("github.com:21", Reason::Expired(Date::new(2026, 5, 1).unwrap()), Some(14)),
        ("events.pagerduty.com:443", Reason::OutsideLimit, Some(6)),
        ("10.40.9.1:9091", Reason::Denied, Some(21)),
        ("169.254.169.254:80", Reason::Denied, None),
        ("198.51.100.7:80", Reason::NotPermitted, None),
        ("com:22", Reason::AncestorOfPermitted, None),
        ("github.com.cluster.local:22", Reason::SearchListStep, None),
    ] {
        let told = ask(&both, target);
        assert_eq!((told.verdict, told.reason, told.line), (Decision::Refused, Some(reason), line), "{told}");
    }
    assert_eq!(ask(&policy(&[]), "a.example:1").reason, Some(Reason::NoPolicy));
}

#[test]
fn the_lines_told_do_permit() {
    let app = file("app", APP);
    for target in [
        "example.org:443",
        "example.org:53/udp",
        "example.org/icmp",
        "198.51.100.7:80",
        "[2001:db8::1]:80",
        "pagerduty.com",
        "bücher.example:1",
        "github.com:443",
    ] {
        let lines = ask(&policy(std::slice::from_ref(&app)), target).permit.unwrap_or_else(|| panic!("{target}"));
        let more = file("more", &lines);
        assert_eq!(ask(&policy(&[app.clone(), more]), target).verdict, Decision::Permitted, "{target}: {lines}");
    }
    let whole = ask(&policy(&[]), "example.org:443").permit.unwrap();
    assert!(parse(&Source::new("whole.toml", whole)).problems.is_empty(), "with no file at all, a whole file");
    let limited = policy(&[app.clone(), file("p", "platform = true\n[[limit]]\nports = [\"1\"]\n")]);
    let lines = ask(&limited, "github.com:22").permit.unwrap();
    let wider = file("p", &format!("platform = true\n[[limit]]\nports = [\"1\"]\n{lines}"));
    assert_eq!(ask(&policy(&[app.clone(), wider]), "github.com:22").verdict, Decision::Permitted);
    assert_eq!(ask(&policy(&[app]), "bad.pagerduty.com:443").permit, None, "no line helps against a deny");
}

#[test]
fn internationalised_names_are_shown_in_both_forms() {
    let told = ask(&policy(&[]), "bücher.example:443");
    assert_eq!(told.unicode.as_deref(), Some("bücher.example"));
    assert!(told.to_string().starts_with("refused: xn--bcher-kva.example:443/tcp (bücher.example)"), "{told}");
}

#[test]
fn an_odd_name_gets_no_lines_that_no_file_can_hold() {
    let odd = crate::Name::from_labels([b"a\\b".as_slice(), b"example"]).unwrap();
    let target = Target { host: TargetHost::Name(odd), port: None };
    assert_eq!(explain(&policy(&[]), &target).permit, None);
    assert_eq!("a\\b.example".parse::<crate::Name>(), Err(NameError::Character { character: '\\' }));
}
