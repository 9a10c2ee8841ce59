//! The compiled policy says of every name, port and address what a matcher says that walks all rules one by one.
//!
//! # Limitations
//! Patterns have at most two labels of three in front of the zone; names have one label more, and one that no file mentions: so each
//! pattern has names of its own. Not tried: long names.
#![expect(clippy::unwrap_used, clippy::panic, reason = "in tests a failed unwrap is the report")]
use std::net::IpAddr;

use policies::{Date, Judged, Name, Opening, Pod, Policy, PolicyFile, Protocol, Source, Surroundings, Verdict, parse};
use proptest::{collection::vec, option, prelude::*, sample::select};

/// A pattern: a wildcard or not, and the labels in front of `.test`.
type Pattern = (bool, Vec<&'static str>);

/// A deny names the lower-cased form: capitals must not lead around it.
#[test]
fn a_capital_is_an_error_and_no_way_around_a_deny() {
    let text = "version = 1\n[[allow]]\nname = \"a\"\nhosts = [\"*.test\"]\nports = [\"443\"]\n[[deny]]\nhosts = [\"evil.test\"]\n";
    let file = parse(&Source::new("a.toml", text)).file.unwrap();
    let policy = Policy::compile(&[file], &Pod::default(), &Surroundings::on(Date::new(2026, 6, 1).unwrap())).unwrap();
    assert!(matches!(policy.judge_wire(b"\x04evil\x04test"), Ok(Judged::Refused(_))));
    assert!(matches!(policy.judge_wire(b"\x04Evil\x04test"), Err(policies::NameError::Capital)));
    assert!(matches!(policy.judge_wire(b"\x04good\x04test"), Ok(Judged::Granted(_))));
}

#[derive(Clone, Debug)]
struct Allow {
    hosts: Vec<Pattern>,
    cidrs: Vec<&'static str>,
    ports: Vec<u16>,
    expired: bool,
}

#[derive(Clone, Debug)]
struct Hold {
    hosts: Vec<Pattern>,
    cidrs: Vec<&'static str>,
    ports: Option<Vec<u16>>,
}

#[derive(Clone, Debug)]
struct Text {
    allows: Vec<Allow>,
    denies: Vec<Hold>,
    limits: Vec<Hold>,
}

const PORTS: [u16; 3] = [22, 80, 443];
const CIDRS: [&str; 4] = ["198.51.100.0/24", "198.51.100.0/25", "198.51.100.7/32", "203.0.113.0/24"];
const ADDRESSES: [&str; 4] = ["198.51.100.7", "198.51.100.8", "198.51.100.200", "203.0.113.1"];

fn pattern() -> impl Strategy<Value = Pattern> {
    (any::<bool>(), vec(select(vec!["a", "b", "c"]), 0..=2))
}

fn ports() -> impl Strategy<Value = Vec<u16>> {
    vec(select(PORTS.to_vec()), 1..=2)
}

fn cidrs() -> impl Strategy<Value = Vec<&'static str>> {
    vec(select(CIDRS.to_vec()), 0..=2)
}

fn allow() -> impl Strategy<Value = Allow> {
    (vec(pattern(), 0..=3), cidrs(), ports(), prop::bool::weighted(0.2)).prop_map(|(hosts, cidrs, ports, expired)| Allow {
        hosts,
        cidrs,
        ports,
        expired,
    })
}

fn hold() -> impl Strategy<Value = Hold> {
    (vec(pattern(), 0..=3), cidrs(), option::of(ports())).prop_map(|(hosts, cidrs, ports)| Hold { hosts, cidrs, ports })
}

fn text() -> impl Strategy<Value = Text> {
    (vec(allow(), 0..=3), vec(hold(), 0..=2), vec(hold(), 0..=2)).prop_map(|(allows, denies, limits)| Text {
        allows: allows.into_iter().filter(|allow| !allow.hosts.is_empty() || !allow.cidrs.is_empty()).collect(),
        denies: denies.into_iter().filter(|deny| !deny.hosts.is_empty() || !deny.cidrs.is_empty()).collect(),
        limits: limits.into_iter().filter(|limit| !limit.hosts.is_empty() || !limit.cidrs.is_empty() || limit.ports.is_some()).collect(),
    })
}

/// Any octets, and those of a name of any labels.
fn octets() -> impl Strategy<Value = Vec<u8>> {
    let label = vec(any::<u8>(), 1..6).prop_map(|label| [&[u8::try_from(label.len()).unwrap()], label.as_slice()].concat());
    prop_oneof![vec(any::<u8>(), 0..300), vec(label, 0..5).prop_map(|labels| labels.concat())]
}

fn host(pattern: &Pattern) -> String {
    let (below, labels) = pattern;
    format!("{}{}", if *below { "*." } else { "" }, [labels.as_slice(), &["test"]].concat().join("."))
}

fn list(items: impl IntoIterator<Item = String>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| format!("\"{item}\"")).collect();
    format!("[{}]", items.join(", "))
}

impl Text {
    fn file(&self, number: usize) -> PolicyFile {
        let mut text = format!("version = 1\nname = \"p{number}\"\nplatform = true\n");
        let places = |hosts: &[Pattern], cidrs: &[&str]| {
            let hosts = if hosts.is_empty() { String::new() } else { format!("hosts = {}\n", list(hosts.iter().map(host))) };
            let cidrs =
                if cidrs.is_empty() { String::new() } else { format!("cidrs = {}\n", list(cidrs.iter().map(|cidr| (*cidr).to_owned()))) };
            hosts + &cidrs
        };
        let ports = |ports: &[u16]| format!("ports = {}\n", list(ports.iter().map(u16::to_string)));
        for (rule, allow) in self.allows.iter().enumerate() {
            text += &format!("[[allow]]\nname = \"r{rule}\"\n{}{}", places(&allow.hosts, &allow.cidrs), ports(&allow.ports));
            if allow.expired {
                text += "expires = 2026-05-31\n";
            }
        }
        for (kind, holds) in [("deny", &self.denies), ("limit", &self.limits)] {
            for hold in holds {
                text +=
                    &format!("[[{kind}]]\n{}{}", places(&hold.hosts, &hold.cidrs), hold.ports.as_deref().map(ports).unwrap_or_default());
            }
        }
        let parsed = parse(&Source::new(format!("p{number}.toml"), text.clone()));
        parsed.file.unwrap_or_else(|| panic!("{}\n{text}", parsed.problems))
    }
}

fn matches(pattern: &Pattern, labels: &[&str]) -> bool {
    let (below, tail) = pattern;
    if *below { labels.len() > tail.len() && labels.ends_with(tail) } else { labels == tail.as_slice() }
}

fn inside(cidr: &str, address: IpAddr) -> bool {
    cidr.parse::<ipnet::IpNet>().unwrap().contains(&address)
}

fn naive_name(texts: &[Text], labels: &[&str], port: u16) -> bool {
    let allowed = texts
        .iter()
        .flat_map(|text| &text.allows)
        .any(|allow| !allow.expired && allow.ports.contains(&port) && allow.hosts.iter().any(|host| matches(host, labels)));
    let takes = |hold: &Hold| hold.ports.as_ref().is_none_or(|ports| ports.contains(&port));
    let denied = texts.iter().flat_map(|text| &text.denies).any(|deny| takes(deny) && deny.hosts.iter().any(|host| matches(host, labels)));
    let limited = texts.iter().filter(|text| !text.limits.is_empty()).all(|text| {
        text.limits.iter().any(|limit| {
            takes(limit) && (limit.hosts.iter().any(|host| matches(host, labels)) || limit.hosts.is_empty() && limit.cidrs.is_empty())
        })
    });
    allowed && !denied && limited
}

fn naive_address(texts: &[Text], address: IpAddr, port: u16) -> bool {
    let allowed = texts
        .iter()
        .flat_map(|text| &text.allows)
        .any(|allow| !allow.expired && allow.ports.contains(&port) && allow.cidrs.iter().any(|cidr| inside(cidr, address)));
    let takes = |hold: &Hold| hold.ports.as_ref().is_none_or(|ports| ports.contains(&port));
    let denied = texts.iter().flat_map(|text| &text.denies).any(|deny| takes(deny) && deny.cidrs.iter().any(|cidr| inside(cidr, address)));
    let limited = texts.iter().filter(|text| !text.limits.is_empty()).all(|text| {
        text.limits.iter().any(|limit| {
            takes(limit) && (limit.cidrs.iter().any(|cidr| inside(cidr, address)) || limit.hosts.is_empty() && limit.cidrs.is_empty())
        })
    });
    allowed && !denied && limited
}

fn compile(texts: &[Text]) -> Policy {
    let files: Vec<PolicyFile> = texts.iter().enumerate().map(|(number, text)| text.file(number)).collect();
    Policy::compile(&files, &Pod::default(), &Surroundings::on(Date::new(2026, 6, 1).unwrap())).unwrap()
}

/// Every name to a depth of three below `test`, of the files' labels and one that they do not know.
fn universe() -> Vec<Vec<&'static str>> {
    let mut names: Vec<Vec<&str>> = vec![Vec::new()];
    for depth in 0..3 {
        let longest: Vec<Vec<&str>> = names.iter().filter(|labels| labels.len() == depth).cloned().collect();
        names.extend(longest.iter().flat_map(|labels| ["a", "b", "c", "fresh"].map(|label| [&[label], labels.as_slice()].concat())));
    }
    names
}

fn name(labels: &[&str]) -> Name {
    Name::parse(&[labels, &["test"]].concat().join(".")).unwrap()
}

fn openings<'a>(policy: &'a Policy, name: &Name) -> Vec<&'a Opening> {
    match policy.judge(name) {
        Verdict::Granted(grant) => grant.openings().iter().map(|&index| policy.opening(index).unwrap()).collect(),
        Verdict::Refused(_) => Vec::new(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn names_are_judged_as_a_walk_over_all_rules_would(texts in vec(text(), 1..=2)) {
        let policy = compile(&texts);
        for labels in universe() {
            let open = openings(&policy, &name(&labels));
            for port in PORTS {
                let judged = open.iter().any(|opening| opening.ports.contains(Protocol::Tcp, port));
                prop_assert_eq!(judged, naive_name(&texts, &labels, port), "{:?} port {}", labels, port);
            }
            // A grant that opens nothing would be a name answered for nothing.
            prop_assert!(open.iter().all(|opening| !opening.ports.is_empty() && opening.has_hosts));
        }
    }

    #[test]
    fn octets_are_judged_as_their_name_is(texts in vec(text(), 0..=2), search in vec(select(vec!["a.test", "c.b.test", "test", "fresh.test"]), 0..=3)) {
        let files: Vec<PolicyFile> = texts.iter().enumerate().map(|(number, text)| text.file(number)).collect();
        let search = search.into_iter().map(|domain| Name::parse(domain).unwrap()).collect();
        let place = Surroundings { search, ..Surroundings::on(Date::new(2026, 6, 1).unwrap()) };
        let policy = Policy::compile(&files, &Pod::default(), &place).unwrap();
        for name in universe().iter().map(|labels| name(labels)).chain([Name::root(), Name::parse("a.b.other").unwrap()]) {
            let judged = policy.judge_wire(name.as_wire()).unwrap();
            match (policy.judge(&name), judged, judged.to_verdict()) {
                (Verdict::Granted(grant), Judged::Granted(borrowed), Verdict::Granted(owned)) => {
                    prop_assert_eq!((owned.name(), owned.openings(), owned.budget()), (grant.name(), grant.openings(), grant.budget()));
                    prop_assert_eq!((borrowed.budget(), borrowed.generation()), (grant.budget(), grant.generation()));
                }
                (Verdict::Refused(refusal), Judged::Refused(borrowed), Verdict::Refused(owned)) => {
                    let told = (refusal.reason(), refusal.place(), refusal.is_no_data(), refusal.generation());
                    prop_assert_eq!(told, (borrowed.reason(), borrowed.place(), borrowed.is_no_data(), borrowed.generation()));
                    prop_assert_eq!(told, (owned.reason(), owned.place(), owned.is_no_data(), owned.generation()));
                    prop_assert_eq!(owned.name(), &name);
                }
                (verdict, ..) => prop_assert!(false, "{}: {:?} and {:?}", name, verdict, judged),
            }
        }
    }

    #[test]
    fn octets_that_are_no_lowered_name_are_not_judged(octets in octets()) {
        let policy = compile(&[]);
        let lowered = Name::from_wire(&octets).is_ok_and(|name| name.as_wire() == octets);
        prop_assert_eq!(policy.judge_wire(&octets).is_ok(), lowered);
    }

    #[test]
    fn addresses_are_open_as_a_walk_over_all_rules_would(texts in vec(text(), 1..=2)) {
        let policy = compile(&texts);
        for address in ADDRESSES {
            let address: IpAddr = address.parse().unwrap();
            for port in PORTS {
                let open = policy.openings().iter().any(|opening| opening.ports.contains(Protocol::Tcp, port) && opening.cidrs.iter().any(|range| range.contains(&address)));
                let held = policy.denies().iter().any(|deny| deny.ports.as_ref().is_none_or(|ports| ports.contains(Protocol::Tcp, port)) && deny.ranges.iter().any(|range| range.contains(&address)));
                prop_assert_eq!(open && !held, naive_address(&texts, address, port), "{} port {}", address, port);
            }
        }
    }

    #[test]
    fn what_stands_above_a_granted_name_exists(texts in vec(text(), 1..=2)) {
        let policy = compile(&texts);
        for granted in universe().iter().map(|labels| name(labels)).filter(|name| matches!(policy.judge(name), Verdict::Granted(_))) {
            let mut above = granted.parent();
            while let Some(ancestor) = above {
                if let Verdict::Refused(refusal) = policy.judge(&ancestor) {
                    prop_assert!(refusal.is_no_data(), "{} above {}", ancestor, granted);
                }
                above = ancestor.parent();
            }
        }
    }

    #[test]
    fn an_opening_covers_an_older_one_exactly_if_nothing_of_it_is_lost(old in vec(text(), 1..=2), new in vec(text(), 1..=2), same in any::<bool>()) {
        // Unrelated policies seldom cover each other: half of the time the new one is the old one with one more deny.
        let new = if same { [old.clone(), vec![Text { allows: Vec::new(), limits: Vec::new(), denies: new[0].denies.clone() }]].concat() } else { new };
        let (older, newer) = (compile(&old), compile(&new));
        for was in older.openings() {
            let Some(is) = newer.openings().iter().find(|opening| opening.key == was.key) else { continue };
            let leads = |policy: &Policy, name: &Name, key: &str| openings(policy, name).iter().any(|opening| opening.key == key);
            let names_kept = universe().iter().map(|labels| name(labels)).all(|name| !leads(&older, &name, &was.key) || leads(&newer, &name, &is.key));
            let ranges_kept = was.cidrs.iter().all(|range| is.cidrs.iter().any(|own| own.contains(range)));
            let kept = names_kept && ranges_kept && is.ports.covers(&was.ports);
            // Ranges are also the names' right to special addresses, which must be kept range by range: then `covers` may say less.
            if was.cidrs.is_empty() && is.cidrs.is_empty() && same {
                prop_assert_eq!(is.covers(was), kept, "{}", was.key);
            }
            prop_assert!(!is.covers(was) || kept, "{} lost something", was.key);
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[\\[\\]a-z=\"'.,#0-9*\\n {}é-]{0,200}") {
        let parsed = parse(&Source::new("any.toml", text));
        prop_assert_eq!(parsed.file.is_none(), parsed.problems.has_errors());
        let _ = parsed.problems.to_string();
    }

    #[test]
    fn a_torn_example_is_reported_and_never_panics(example in select(vec![include_str!("../examples/alerts.toml"), include_str!("../examples/platform.toml")]), at in any::<prop::sample::Index>(), put in "[\\[\\]=\"'.,*\\n{}éß\u{7f}-]{0,3}", cut in 0_usize..8) {
        let start = at.index(example.len());
        let text: String = example.char_indices().filter(|(place, _)| *place < start || *place >= start + cut).map(|(_, c)| c).collect();
        let middle = text.char_indices().map(|(place, _)| place).find(|place| *place >= start).unwrap_or(text.len());
        let parsed = parse(&Source::new("torn.toml", format!("{}{put}{}", &text[..middle], &text[middle..])));
        prop_assert_eq!(parsed.file.is_none(), parsed.problems.has_errors());
        for problem in parsed.problems.iter() {
            prop_assert!(problem.line() >= 1 && problem.span().start <= problem.span().end);
        }
        let _ = parsed.problems.to_string();
    }
}
