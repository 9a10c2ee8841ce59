//! What files come to together, for one pod in one place.
use std::net::{IpAddr, SocketAddr};

use crate::{
    AddressRefusal, Date, Expected, Grant, Mode, Name, Opening, Pod, Policy, PolicyFile, Problems, Protocol, Reason, Refusal, Source,
    Surroundings, Verdict, parse, presets,
};

mod budgets;
mod presets;
mod search;
mod srv_targets;

fn today() -> Date {
    Date::new(2026, 6, 1).unwrap()
}

fn file(name: &str, text: &str) -> PolicyFile {
    let parsed = parse(&Source::new(format!("{name}.toml"), format!("version = 1\n{text}")));
    parsed.file.unwrap_or_else(|| panic!("{}", parsed.problems))
}

fn compile_in(files: &[PolicyFile], place: &Surroundings) -> Result<Policy, Problems> {
    Policy::compile(files, &Pod::default(), place)
}

fn compile(files: &[PolicyFile]) -> Policy {
    compile_in(files, &Surroundings::stand_in(today())).unwrap_or_else(|problems| panic!("{problems}"))
}

fn grant(policy: &Policy, name: &str) -> Grant {
    match policy.judge(&Name::parse(name).unwrap()) {
        Verdict::Granted(grant) => grant,
        Verdict::Refused(refusal) => panic!("{refusal}"),
    }
}

fn refusal(policy: &Policy, name: &str) -> Refusal {
    match policy.judge(&Name::parse(name).unwrap()) {
        Verdict::Granted(grant) => panic!("{grant:?}"),
        Verdict::Refused(refusal) => refusal,
    }
}

fn ports(policy: &Policy, name: &str) -> Vec<String> {
    grant(policy, name).openings().iter().map(|&index| policy.opening(index).unwrap().ports.to_string()).collect()
}

fn keys(policy: &Policy) -> Vec<&str> {
    policy.openings().iter().map(|opening| opening.key.as_str()).collect()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn allow(name: &str, rest: &str) -> String {
    format!("[[allow]]\nname = \"{name}\"\n{rest}\n")
}

const GITHUB: &str = "[[allow]]\nname = \"github\"\nhosts = [\"github.com\", \"*.github.com\"]\nports = [\"22\", \"443\"]\n";

#[test]
fn without_a_file_nothing_is_permitted() {
    let other = file("other", &format!("[select]\nnamespaces = [\"shop\"]\n{GITHUB}"));
    for policy in [compile(&[]), compile(&[other]), Policy::nothing()] {
        assert_eq!(refusal(&policy, "github.com").reason(), Reason::NoPolicy);
        assert!(!refusal(&policy, "com").is_no_data());
        assert!(policy.openings().is_empty() && policy.mode() == Mode::Enforce);
    }
}

#[test]
fn a_name_that_ends_in_the_same_letters_is_another_name() {
    let policy = compile(&[file("a", GITHUB)]);
    for name in ["evilgithub.com", "github.com.evil.net", "github.co", "xgithub.com"] {
        assert_eq!(refusal(&policy, name).reason(), Reason::NotPermitted, "{name}");
    }
    for name in ["github.com", "GITHUB.com.", "api.github.com", "a.b.c.github.com"] {
        assert_eq!(ports(&policy, name), ["22, 443"], "{name}");
    }
}

#[test]
fn a_wildcard_does_not_take_the_name_itself_in() {
    let policy = compile(&[file("a", &allow("w", "hosts = [\"*.a.example\"]\nports = [\"443\"]"))]);
    assert_eq!(refusal(&policy, "a.example").reason(), Reason::AncestorOfPermitted);
    assert!(refusal(&policy, "a.example").is_no_data() && refusal(&policy, "example").is_no_data() && refusal(&policy, ".").is_no_data());
    assert!(!refusal(&policy, "b.example").is_no_data());
    assert_eq!(ports(&policy, "x.y.a.example"), ["443"]);
}

#[test]
fn a_denied_name_above_a_permitted_one_still_exists() {
    let policy = compile(&[file(
        "a",
        &format!("{}[[deny]]\nhosts = [\"b.a.example\"]\n", allow("w", "hosts = [\"*.a.example\"]\nports = [\"443\"]")),
    )]);
    let refused = refusal(&policy, "b.a.example");
    assert_eq!((refused.reason(), refused.is_no_data()), (Reason::Denied, true));
    assert_eq!(refused.place().unwrap().line(), 6);
    assert_eq!(ports(&policy, "x.b.a.example"), ["443"]);
}

#[test]
fn a_deny_beats_every_allow_of_any_file() {
    let deny = file("d", "[[deny]]\nname = \"no-api\"\nhosts = [\"api.github.com\", \"*.evil.github.com\"]\n");
    for files in [[file("a", GITHUB), deny.clone()], [deny, file("a", GITHUB)]] {
        let policy = compile(&files);
        let refused = refusal(&policy, "api.github.com");
        assert_eq!(refused.reason(), Reason::Denied);
        let place = refused.place().unwrap();
        assert_eq!((place.policy(), place.rule(), place.file(), place.line()), ("d", "no-api", "d.toml", 2));
        assert_eq!(refusal(&policy, "x.evil.github.com").reason(), Reason::Denied);
        assert_eq!(ports(&policy, "evil.github.com"), ["22, 443"]);
    }
}

#[test]
fn a_denied_name_is_told_as_denied_also_where_nothing_permits_it() {
    let policy = compile(&[file("d", "[[deny]]\nhosts = [\"*.evil.example\"]\n[[deny]]\nhosts = [\"mail.example\"]\nports = [\"25\"]\n")]);
    assert_eq!(refusal(&policy, "x.evil.example").reason(), Reason::Denied);
    assert_eq!(refusal(&policy, "mail.example").reason(), Reason::NotPermitted, "its other ports are merely not permitted");
}

#[test]
fn a_deny_of_ports_leaves_the_others_and_makes_an_opening_of_its_own() {
    let policy = compile(&[file("a", &format!("{GITHUB}[[deny]]\nhosts = [\"api.github.com\"]\nports = [\"22\"]\n"))]);
    assert_eq!(ports(&policy, "github.com"), ["22, 443"]);
    assert_eq!(ports(&policy, "api.github.com"), ["443"]);
    assert_eq!(keys(&policy), ["a.github", "a.github.2"]);
    let by_key = |key: &str| policy.openings().iter().find(|opening| opening.key == key).unwrap().ports.to_string();
    assert_eq!((by_key("a.github").as_str(), by_key("a.github.2").as_str()), ("22, 443", "443"));
    // All ports gone: the name is denied.
    let policy = compile(&[file("a", &format!("{GITHUB}[[deny]]\nhosts = [\"api.github.com\"]\nports = [\"*/tcp\"]\n"))]);
    assert_eq!(refusal(&policy, "api.github.com").reason(), Reason::Denied);
}

#[test]
fn limits_of_one_file_are_united_and_of_several_intersected() {
    let one = file("p1", "platform = true\n[[limit]]\nports = [\"443\"]\n[[limit]]\nhosts = [\"github.com\"]\nports = [\"22\", \"443\"]\n");
    let policy = compile(&[file("a", GITHUB), one.clone()]);
    assert_eq!(ports(&policy, "github.com"), ["22, 443"]);
    assert_eq!(ports(&policy, "api.github.com"), ["443"]);
    let two = file("p2", "platform = true\n[[limit]]\nhosts = [\"github.com\"]\nports = [\"22\"]\n");
    let policy = compile(&[file("a", GITHUB), one, two]);
    assert_eq!(ports(&policy, "github.com"), ["22"]);
    let refused = refusal(&policy, "api.github.com");
    assert_eq!((refused.reason(), refused.place().unwrap().rule()), (Reason::OutsideLimit, "github"));
}

#[test]
fn limits_hold_ranges_and_presets_too() {
    let app = format!(
        "use = [\"kubernetes-api\", \"aws-pod-identity\"]\n{}",
        allow("net", "cidrs = [\"10.40.0.0/16\", \"203.0.113.0/24\"]\nports = [\"80\", \"443\"]")
    );
    let platform = "platform = true\n[[limit]]\ncidrs = [\"10.40.1.0/24\"]\n[[limit]]\ncidrs = [\"10.40.0.0/15\"]\nports = [\"443\"]\n[[limit]]\nuse = [\"kubernetes-api\"]\n";
    let policy = compile(&[file("a", &app), file("p", platform)]);
    let ranges = |key: &str| {
        policy
            .openings()
            .iter()
            .find(|opening| opening.key == key)
            .map(|opening| (opening.ports.to_string(), opening.cidrs.iter().map(ToString::to_string).collect::<Vec<_>>()))
    };
    assert_eq!(ranges("a.net"), Some(("80, 443".to_owned(), vec!["10.40.1.0/24".to_owned()])));
    assert_eq!(ranges("a.net.2"), Some(("443".to_owned(), vec!["10.40.0.0/16".to_owned()])));
    assert_eq!(ranges("a.use.kubernetes-api").unwrap().1, ["10.96.0.1/32"]);
    assert_eq!(ranges("a.use.aws-pod-identity"), None);
}

#[test]
fn an_expired_rule_permits_nothing_and_says_so() {
    let text = |day: &str| allow("old", &format!("hosts = [\"a.example\"]\nports = [\"443\"]\nexpires = {day}\nowner = \"team-a\""));
    let policy = compile(&[file("a", &text("2026-05-31"))]);
    let refused = refusal(&policy, "a.example");
    assert_eq!(refused.reason(), Reason::Expired(Date::new(2026, 5, 31).unwrap()));
    assert_eq!(refused.place().unwrap().rule(), "old");
    assert!(policy.openings().is_empty() && policy.warnings().to_string().contains("expired on 2026-05-31"));
    assert_eq!(policy.next_date_change(), None);
    // The last day still counts; the day after is the change.
    let policy = compile(&[file("a", &text("2026-06-01"))]);
    assert_eq!(ports(&policy, "a.example"), ["443"]);
    assert_eq!(policy.next_date_change(), Date::new(2026, 6, 2));
    for (day, warned) in [("2026-06-01", true), ("2026-06-15", true), ("2026-06-16", false)] {
        assert_eq!(file("a", &text(day)).warnings_on(today()).is_empty(), !warned, "{day}");
    }
}

#[test]
fn the_generation_follows_what_decides() {
    let text = allow("old", "hosts = [\"a.example\"]\nports = [\"443\"]\nexpires = 2026-06-01");
    let on = |text: &str, day: u8| {
        compile_in(&[file("a", text)], &Surroundings::stand_in(Date::new(2026, 6, day).unwrap())).unwrap().generation()
    };
    assert_eq!(on(&text, 1), on(&text, 1));
    assert_ne!(on(&text, 1), on(&text, 2), "the rule expires");
    assert_eq!(on(&text, 2), on(&text, 3), "nothing changes any more");
    assert_ne!(on(&text, 1), on(&text.replace("443", "444"), 1));
    let policy = compile(&[file("a", &text)]);
    assert_eq!(grant(&policy, "a.example").generation(), policy.generation());
    assert_eq!(refusal(&policy, "b.example").generation(), policy.generation());
}

#[test]
fn the_pod_is_held_unless_every_file_says_audit() {
    let audit = file("a", "mode = \"audit\"\n");
    let enforce = file("b", "mode = \"enforce\"\n");
    assert_eq!(compile(std::slice::from_ref(&audit)).mode(), Mode::Audit);
    assert_eq!(compile(&[audit, enforce]).mode(), Mode::Enforce);
}

#[test]
fn files_select_by_namespace_and_every_label() {
    let file = file("a", "[select]\nnamespaces = [\"shop\", \"stage\"]\nlabels = { app = \"a\", tier = \"b\" }\n");
    let pod = |namespace: &str, labels: &[(&str, &str)]| Pod {
        namespace: namespace.to_owned(),
        name: String::new(),
        labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
    };
    let all = [("app", "a"), ("tier", "b"), ("more", "c")];
    assert!(file.select().selects(&pod("shop", &all)) && file.select().selects(&pod("stage", &all)));
    assert!(!file.select().selects(&pod("other", &all)) && !file.select().selects(&pod("shop", &all[..1])));
    assert!(file.select().selects(&file.selected_pod()));
}

#[test]
fn a_deny_may_not_cover_the_resolver() {
    let deny = |rest: &str| file("a", &format!("[[deny]]\ncidrs = [\"10.96.0.0/16\"]\n{rest}"));
    let problems = compile_in(&[deny("")], &Surroundings::stand_in(today())).unwrap_err();
    assert!(problems.to_string().contains("this deny covers 10.96.0.10"), "{problems}");
    assert!(compile_in(&[deny("ports = [\"53/udp\"]")], &Surroundings::stand_in(today())).is_err());
    assert!(compile_in(&[deny("ports = [\"443\"]")], &Surroundings::stand_in(today())).is_ok());
    assert!(compile_in(&[deny("")], &Surroundings::on(today())).is_ok());
}

#[test]
fn two_files_may_not_have_one_name() {
    let problems = compile_in(&[file("a", GITHUB), file("b", &format!("name = \"a\"\n{GITHUB}"))], &Surroundings::on(today())).unwrap_err();
    assert!(problems.to_string().contains("two policies for this pod are named `a`"), "{problems}");
}

#[test]
fn metadata_is_held_unless_a_rule_lists_the_address() {
    let held =
        |policy: &Policy, address: &str| policy.denies().iter().any(|deny| deny.ranges.iter().any(|range| range.contains(&ip(address))));
    let wide = compile(&[file("a", &allow("net", "cidrs = [\"169.254.0.0/16\"]\nports = [\"80\"]"))]);
    for address in ["169.254.169.254", "64:ff9b::a9fe:a9fe", "fd00:ec2::254", "100.100.100.200", "168.63.129.16"] {
        assert!(held(&wide, address), "{address}");
    }
    let exact = compile(&[file("a", &allow("imds", "cidrs = [\"169.254.169.254\"]\nports = [\"80\"]"))]);
    assert!(!held(&exact, "169.254.169.254") && held(&exact, "fd00:ec2::254"));
    // A resolver there keeps DNS and nothing else.
    let azure = Surroundings { resolvers: vec![ip("168.63.129.16")], ..Surroundings::on(today()) };
    let policy = compile_in(&[file("a", GITHUB)], &azure).unwrap();
    let deny = policy.denies().iter().find(|deny| deny.ranges.iter().any(|range| range.contains(&ip("168.63.129.16")))).unwrap();
    let ports = deny.ports.as_ref().unwrap();
    assert!(!ports.contains(Protocol::Udp, 53) && ports.contains(Protocol::Tcp, 80) && ports.icmp());
}

#[test]
fn a_denied_range_is_stripped_from_answers_also_behind_nat64() {
    let policy = compile(&[file(
        "a",
        &format!("{GITHUB}[[deny]]\ncidrs = [\"203.0.113.0/24\"]\n[[deny]]\ncidrs = [\"198.51.100.0/24\"]\nports = [\"22\"]\n"),
    )]);
    let grant = grant(&policy, "github.com");
    for address in ["203.0.113.9", "64:ff9b::203.0.113.9"] {
        assert!(matches!(grant.permits_address(ip(address)), Err(AddressRefusal::Denied { .. })), "{address}");
        assert_eq!(grant.openings_for(ip(address)).count(), 0);
    }
    assert_eq!(grant.permits_address(ip("198.51.100.9")), Ok(()), "only some of its ports are denied");
}

#[test]
fn an_address_opens_under_those_rules_only_that_have_the_right() {
    let text = format!(
        "{}{}",
        allow("a", "hosts = [\"db.example\"]\nports = [\"5432\"]\nprivate = true"),
        allow("b", "hosts = [\"*.example\", \"db.example\"]\nports = [\"443\"]")
    );
    let policy = compile(&[file("p", &text)]);
    let grant = grant(&policy, "db.example");
    let opened =
        |address: &str| grant.openings_for(ip(address)).map(|index| policy.opening(index).unwrap().key.clone()).collect::<Vec<_>>();
    assert_eq!(opened("198.51.100.1"), ["p.a", "p.b"]);
    assert_eq!(opened("10.0.0.1"), ["p.a"]);
    assert_eq!(opened("127.0.0.1"), [""; 0]);
    assert!(matches!(grant.permits_address(ip("127.0.0.1")), Err(AddressRefusal::Forbidden { .. })));
}

#[test]
fn the_right_of_a_cluster_name_ends_where_an_alias_leaves_the_cluster() {
    let policy = compile(&[file("p", &allow("a", "hosts = [\"redis.shop.svc.cluster.local\", \"outside.example\"]\nports = [\"6379\"]"))]);
    let mut inside = grant(&policy, "redis.shop.svc.cluster.local");
    assert_eq!(inside.permits_address(ip("10.96.3.4")), Ok(()));
    assert!(inside.permits_address(ip("169.254.169.254")).is_err());
    inside.follow(&Name::parse("other.shop.svc.cluster.local").unwrap());
    assert_eq!(inside.permits_address(ip("10.96.3.4")), Ok(()));
    inside.follow(&Name::parse("db.example.net").unwrap());
    assert!(inside.permits_address(ip("10.96.3.4")).is_err() && inside.openings_for(ip("10.96.3.4")).next().is_none());
    assert_eq!(inside.permits_address(ip("198.51.100.1")), Ok(()));
    inside.follow(&Name::parse("back.shop.svc.cluster.local").unwrap());
    assert!(inside.permits_address(ip("10.96.3.4")).is_err(), "a right that was lost does not come back");
    assert!(grant(&policy, "outside.example").permits_address(ip("10.96.3.4")).is_err());
}

#[test]
fn a_step_of_the_search_list_is_told_apart() {
    let place = Surroundings {
        search: ["shop.svc.cluster.local", "svc.cluster.local", "."].iter().map(|text| Name::parse(text).unwrap()).collect(),
        ..Surroundings::on(today())
    };
    let policy = compile_in(&[file("a", GITHUB)], &place).unwrap();
    for (name, reason) in [
        ("github.com.shop.svc.cluster.local", Reason::SearchListStep),
        ("api.github.com.svc.cluster.local", Reason::SearchListStep),
        ("evil.com.svc.cluster.local", Reason::NotPermitted),
        ("shop.svc.cluster.local", Reason::NotPermitted),
    ] {
        assert_eq!(refusal(&policy, name).reason(), reason, "{name}");
    }
}

#[test]
fn an_opening_covers_an_older_one_if_nothing_is_lost() {
    let opening = |text: &str| compile(&[file("a", text)]).openings()[0].clone();
    let plain = opening(GITHUB);
    assert!(plain.covers(&plain));
    assert!(opening(&GITHUB.replace("\"443\"", "\"443\", \"80\"")).covers(&plain));
    assert!(!opening(&GITHUB.replace("\"22\", ", "")).covers(&plain));
    assert!(!opening(&GITHUB.replace(", \"*.github.com\"", "")).covers(&plain));
    assert!(plain.covers(&opening(&GITHUB.replace("\"*.github.com\"", "\"api.github.com\""))), "a wildcard in place of a host");
    let denied = opening(&format!("{GITHUB}[[deny]]\nhosts = [\"api.github.com\"]\n"));
    assert!(!denied.covers(&plain) && plain.covers(&denied));
    assert!(!plain.covers(&opening(&format!("{GITHUB}private = true\n"))), "a right to addresses that is gone");
}

#[test]
fn every_key_is_its_own_and_fit_for_a_set() {
    let text = format!(
        "use = [\"gke-workload-identity\", \"linkerd\"]\n{GITHUB}{}[[deny]]\nhosts = [\"api.github.com\"]\nports = [\"22\"]\n",
        allow("use", "hosts = [\"x.example\"]\nports = [\"1\"]")
    );
    let policy = compile(&[file("a", &text)]);
    let mut keys = keys(&policy);
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), count);
    assert!(keys.iter().all(|key| key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte))));
}

#[test]
fn what_a_file_says_of_records_and_leases_is_kept() {
    let text = allow("a", "hosts = [\"a.example\"]\nports = [\"443\"]\nhttps-records = \"strip\"\nsrv-targets = true\nticket = \"SEC-1\"");
    let file = file("a", &format!("revoke = \"new\"\n{text}[[expect]]\nallow = \"a.example:443\"\n[lease]\nmin = \"10s\"\n"));
    assert_eq!((file.allows()[0].ticket.as_deref(), file.expectations()[0].expected), (Some("SEC-1"), Expected::Allow));
    let policy = compile(&[file]);
    let grant = grant(&policy, "a.example");
    assert!(grant.srv_targets() && grant.https_records() == crate::HttpsRecords::Strip);
    let opening = &policy.openings()[0];
    assert_eq!((opening.lease.min.as_secs(), opening.lease.max.as_secs(), opening.lease.grace.as_secs()), (10, 3600, 30));
    assert_eq!(opening.revoke, crate::Revoke::New);
}
