//! Every error and every warning of a file, one by one.
use super::*;
use crate::problem::Problem;

/// The problems of a file that is right but for `lines`.
fn problems(lines: &str) -> Problems {
    parse(&Source::new("test.toml", format!("version = 1\n{lines}\n"))).problems
}

/// Asserts that there is this one problem, at this text.
fn one(lines: &str, severity: Severity, message: &str, at: &str) {
    let found = problems(lines);
    let list: Vec<_> = found.iter().collect();
    assert_eq!(list.len(), 1, "{found}\nfor {lines}");
    assert_eq!(list[0].severity(), severity, "{found}");
    assert!(list[0].message().contains(message), "{found}");
    let text = format!("version = 1\n{lines}\n");
    assert_eq!(&text[list[0].span()], at, "{found}");
    assert_eq!(found.errors() + found.warnings(), 1);
}

fn error(lines: &str, message: &str, at: &str) {
    one(lines, Severity::Error, message, at);
}

fn allow_host(host: &str) -> String {
    format!("[[allow]]\nname = \"a\"\nhosts = [\"{host}\"]\nports = [\"443\"]")
}

fn allow_port(port: &str) -> String {
    format!("[[allow]]\nname = \"a\"\nhosts = [\"a.example\"]\nports = [{port}]")
}

#[test]
fn a_file_without_problems_is_read() {
    let parsed = parse(&Source::new("dir/shop-web.toml", "version = 1\n"));
    assert!(parsed.problems.is_empty(), "{}", parsed.problems);
    assert_eq!(parsed.file.unwrap().name(), "shop-web", "the name is the file's");
}

#[test]
fn version_is_wanted_and_must_be_known() {
    let of = |text: &str| parse(&Source::new("a.toml", text)).problems.to_string();
    assert!(of("").contains("the file has no `version`"), "{}", of(""));
    assert!(of("version = 2").contains("version 2 of the language is from the future"));
    assert!(of("version = 0").contains("there is no version 0"));
    assert!(of("version = -1").contains("there is no version -1"));
    assert!(of("version = \"1\"").contains("`version` must be an integer, not a string"));
    assert!(of("version = 99999999999999999999").contains("there is no version"));
}

#[test]
fn unknown_keys_are_errors_with_a_suggestion() {
    for (lines, key, hint) in [
        ("mod = \"enforce\"", "mod", "did you mean `mode`?"),
        ("[[alow]]\nname = \"a\"", "alow", "did you mean `allow`?"),
        (&format!("{}\nhost = []", allow_host("a.example")), "host", "did you mean `hosts`?"),
        ("[select]\nnamespace = [\"a\"]", "namespace", "did you mean `namespaces`?"),
        ("[lease]\nttl = \"1s\"", "ttl", "the keys here are min, max, grace"),
        ("[[expect]]\nallow = \"a.example:1\"\nwhy = 1", "why", "the keys here are allow, deny"),
        (&format!("{}\nhttps_records = \"strip\"", allow_host("a.example")), "https_records", "did you mean `https-records`?"),
    ] {
        error(lines, &format!("unknown key `{key}`"), key);
        assert_eq!(problems(lines).iter().next().unwrap().hint(), Some(hint), "{lines}");
    }
}

#[test]
fn wrong_types_are_said() {
    error("name = 1", "`name` must be a string, not an integer", "1");
    error("platform = \"true\"", "`platform` must be true or false, not a string", "\"true\"");
    error("select = 1", "`select` must be a table, not an integer", "1");
    error("select = { labels = { app = 1 } }", "`app` must be a string, not an integer", "1");
    error("use = \"istio\"", "`use` must be an array of strings, not a string", "\"istio\"");
    error("[allow]\nname = \"a\"", "`allow` is a table, not a list of tables", "[allow]");
    error("allow = [1]", "`allow` must be a list of tables, not an integer", "1");
    error(&allow_port("443"), "`ports` must be an array of strings, not an integer", "443");
    error(&format!("{}\nprivate = 1", allow_host("a.example")), "`private` must be true, false or an array of ranges", "1");
    error(&format!("{}\nexpires = \"2027-01-31\"", allow_host("a.example")), "`expires` must be a date", "\"2027-01-31\"");
    error(
        &format!("{}\nexpires = 2027-01-31T10:00:00", allow_host("a.example")),
        "`expires` is a day, without a time",
        "2027-01-31T10:00:00",
    );
}

#[test]
fn words_are_one_of_a_few() {
    error("mode = \"Enforce\"", "`mode` cannot be `Enforce`", "\"Enforce\"");
    error("revoke = \"never\"", "`revoke` cannot be `never`", "\"never\"");
    error("use = [\"istoi\"]", "there is no preset `istoi`", "\"istoi\"");
    error(&format!("{}\nhttps-records = \"pass\"", allow_host("a.example")), "`https-records` cannot be `pass`", "\"pass\"");
}

#[test]
fn names_are_made_of_few_characters_and_given_once() {
    error("name = \"My App\"", "`My App` is no name", "\"My App\"");
    error("name = \"\"", "`` is no name", "\"\"");
    error("name = \"-a\"", "`-a` is no name", "\"-a\"");
    error(&format!("name = \"{}\"", "a".repeat(49)), "49 characters, 48 is the most", &format!("\"{}\"", "a".repeat(49)));
    error("[[allow]]\nhosts = [\"a.example\"]\nports = [\"443\"]", "[[allow]] has no `name`", "[[allow]]");
    error(&format!("{}\n[[deny]]\nname = \"a\"\nhosts = [\"b.example\"]", allow_host("a.example")), "two rules are named `a`", "\"a\"");
    let found = parse(&Source::new("My File.toml", "version = 1\n")).problems;
    assert!(found.to_string().contains("the file has no `name`"), "{found}");
}

#[test]
fn a_star_stands_only_in_front() {
    for host in ["*", "*.*.a.example", "a.*.example", "*a.example", "a*.example", "**.a.example", "a.*", "*.", "*.com*"] {
        let quoted = format!("\"{host}\"");
        let found = problems(&allow_host(host));
        assert!(found.errors() == 1 && found.iter().all(|problem| problem.hint().is_some()), "{found}");
        let text = format!("version = 1\n{}\n", allow_host(host));
        assert_eq!(text[found.iter().next().unwrap().span()], quoted);
    }
    assert!(problems(&allow_host("a.*.example")).to_string().contains("has a star where none can be"));
    assert!(problems(&allow_host("*.a.example")).is_empty());
}

#[test]
fn an_address_is_no_host() {
    for host in
        ["198.51.100.7", "198.51.100.7:443", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:443", "198.51.100.0/24", "2001:db8::/32"]
    {
        error(&allow_host(host), "is an address, not a name", &format!("\"{host}\""));
    }
    for host in ["127.1", "0x7f.1", "2130706433", "a.123", "*.1", "１２７.0.0.1", "a.0x10"] {
        error(&allow_host(host), "would be read as an address", &format!("\"{host}\""));
    }
}

#[test]
fn hosts_that_are_no_names_are_said() {
    for (host, message) in [
        ("", "a name is empty"),
        ("a..example", "a label is empty"),
        (".a.example", "a label is empty"),
        (".", "is the root"),
        ("a b.example", "is no part of a host name"),
        ("https://a.example/x", "is a URL, not a name"),
        ("a.example:443", "is no name"),
        ("a.example/x", "is no name"),
        ("xn--a.example", "not a valid internationalised name"),
    ] {
        error(&allow_host(host), message, &format!("\"{host}\""));
    }
    let label = "a".repeat(64);
    error(&allow_host(&format!("{label}.example")), "a label has 64 octets", &format!("\"{label}.example\""));
    let label = "a".repeat(63);
    let zone = format!("{label}.{label}.{label}.{}", "b".repeat(61));
    assert!(problems(&allow_host(&zone)).is_empty());
    error(&allow_host(&format!("*.{zone}")), "no name fits below", &format!("\"*.{zone}\""));
    error(&allow_host(&format!("b{zone}")), "a label has 64 octets", &format!("\"b{zone}\""));
    error(&allow_host(&format!("b.{zone}")), "longer than 255 octets", &format!("\"b.{zone}\""));
}

#[test]
fn underscores_case_and_internationalised_names_are_read() {
    for host in ["_sip._tcp.a.example", "A.Example.", "bücher.example", "*.bücher.example", "xn--bcher-kva.example", "-a.example"] {
        assert!(problems(&allow_host(host)).is_empty(), "{}", problems(&allow_host(host)));
    }
}

#[test]
fn ports_that_are_none_are_said() {
    for port in
        ["0", "65536", "-1", "443/sctp", "http", "", "*", "10-5", "1-", "-", "+443", "443/TCP", "icmp/icmp", "1/icmp", " 443", "0-10"]
    {
        error(&allow_port(&format!("\"{port}\"")), "is no port", &format!("\"{port}\""));
    }
    assert!(problems(&allow_port("\"443\", \"53/udp\", \"8000-8100/tcp\", \"*/tcp\", \"*/udp\", \"icmp\", \"65535\"")).is_empty());
    error(&allow_port(""), "`ports` is empty", "[]");
    error("[[allow]]\nname = \"a\"\nhosts = [\"a.example\"]", "[[allow]] has no `ports`", "[[allow]]");
}

#[test]
fn a_rule_must_lead_somewhere() {
    error("[[allow]]\nname = \"a\"\nports = [\"443\"]", "leads nowhere", "[[allow]]");
    error("[[allow]]\nname = \"a\"\nhosts = []\nports = [\"443\"]", "`hosts` is empty", "[]");
    error("[[deny]]\nports = [\"443\"]", "denies nothing", "[[deny]]");
    error("platform = true\n[[limit]]", "[[limit]] holds nothing", "[[limit]]");
    error("[select]\nnamespaces = []", "`namespaces` is empty", "[]");
}

#[test]
fn ranges_that_are_none_are_said() {
    let allow = |cidr: &str| format!("[[allow]]\nname = \"a\"\ncidrs = [\"{cidr}\"]\nports = [\"443\"]");
    for cidr in ["a.example", "10.0.0.0/33", "10.0.0", "", "::/129", "10.0.0.0/8/8"] {
        error(&allow(cidr), "is no address range", &format!("\"{cidr}\""));
    }
    error(&allow("10.40.1.2/16"), "has bits set behind its prefix", "\"10.40.1.2/16\"");
    one(&allow("0.0.0.0/0"), Severity::Warning, "opens every address", "\"0.0.0.0/0\"");
    assert!(problems(&allow("10.40.1.2")).is_empty() && problems(&allow("2001:db8::/32")).is_empty());
}

#[test]
fn a_deny_may_not_cover_loopback() {
    let deny = |cidr: &str, rest: &str| format!("[[deny]]\ncidrs = [\"{cidr}\"]\n{rest}");
    for cidr in ["127.0.0.0/8", "127.0.0.53", "0.0.0.0/0", "126.0.0.0/7", "::1", "::/0", "::/127"] {
        error(&deny(cidr, ""), "covers loopback", &format!("\"{cidr}\""));
    }
    error(&deny("127.0.0.1", "ports = [\"8080\"]"), "covers loopback", "\"127.0.0.1\"");
    error(&deny("0.0.0.0/0", "ports = [\"53/udp\"]"), "covers loopback", "\"0.0.0.0/0\"");
    assert!(problems(&deny("0.0.0.0/0", "ports = [\"25\"]")).is_empty(), "nobody sends mail");
    assert!(problems(&deny("128.0.0.0/1", "")).is_empty());
}

#[test]
fn only_a_platform_file_limits() {
    error("[[limit]]\nports = [\"443\"]", "only a platform file can limit", "[[limit]]");
    assert!(problems("platform = true\n[[limit]]\nports = [\"443\"]").is_empty());
}

#[test]
fn leases_have_bounds() {
    error("[lease]\nmin = \"soon\"", "`soon` is no span of time", "\"soon\"");
    error("[lease]\nmin = \"0s\"", "`min` must be between 1s and 1day", "\"0s\"");
    error("[lease]\nmin = \"2h\"\nmax = \"1h\"", "the shortest lease is longer than the longest", "\"2h\"");
    error("[lease]\ngrace = 30", "`grace` must be a string, not an integer", "30");
    let file = parse(&Source::new("a.toml", "version = 1\n[lease]\nmin = \"2h\"\n")).file.unwrap();
    assert_eq!(file.lease().min, file.lease().max, "the other bound moves out of the way");
}

#[test]
fn expectations_have_one_target_with_a_port() {
    error("[[expect]]", "[[expect]] expects nothing", "[[expect]]");
    error("[[expect]]\nallow = \"a.example:1\"\ndeny = \"a.example:1\"", "has both `allow` and `deny`", "[[expect]]");
    error("[[expect]]\nallow = \"a.example\"", "`a.example` has no port", "\"a.example\"");
    error("[[expect]]\nallow = \"*.a.example:1\"", "has no host that can be asked for", "\"*.a.example:1\"");
    error("[[expect]]\ndeny = \"a.example:70000\"", "cannot be tried", "\"a.example:70000\"");
}

#[test]
fn what_stands_twice_is_warned_of() {
    let hosts = "[[allow]]\nname = \"a\"\nhosts = [\"a.example\", \"A.example.\"]\nports = [\"443\"]";
    one(hosts, Severity::Warning, "a.example stands here twice", "\"A.example.\"");
    one("use = [\"istio\", \"istio\"]", Severity::Warning, "istio stands here twice", "\"istio\"");
}

#[test]
fn broad_wildcards_are_warned_of() {
    for (host, message) in [
        ("*.com", "anyone can register"),
        ("*.co.uk", "anyone can register"),
        ("*.github.io", "every customer"),
        ("*.s3.amazonaws.com", "every customer"),
        ("*.s3.eu-west-1.amazonaws.com", "every customer"),
        ("*.amazonaws.com", "every customer"),
        ("*.cloudfront.net", "every customer"),
        ("*.blob.core.windows.net", "every customer"),
        ("*.windows.net", "every customer"),
        ("*.svc.cluster.local", "every Service"),
        ("*.cluster.local", "every Service"),
        ("*.svc.my-cluster.example", "every Service"),
        ("*.рф", "anyone can register"),
    ] {
        one(&allow_host(host), Severity::Warning, message, &format!("\"{host}\""));
    }
    for host in ["*.pagerduty.com", "*.my-bucket.s3.amazonaws.com", "*.shop.svc.cluster.local", "*.internal", "d111.cloudfront.net"] {
        assert!(problems(&allow_host(host)).is_empty(), "{}", problems(&allow_host(host)));
    }
    assert!(problems("[[deny]]\nhosts = [\"*.com\"]").is_empty(), "a deny may be broad");
    one(&allow_host("redis"), Severity::Warning, "has a single label", "\"redis\"");
    assert!(problems(&allow_host("*.рф")).to_string().contains("*.xn--p1ai (*.рф)"), "both forms");
}

#[test]
fn every_problem_is_reported_at_once() {
    let found = problems(
        "mode = \"off\"\nfoo = 1\n[[allow]]\nname = \"A\"\nhosts = [\"*\", \"10.0.0.1\", \"ok.example\"]\nports = [\"0\", \"x\"]\n[[expect]]\nallow = 1\n[[deny]]\ncidrs = [\"127.0.0.1\"]",
    );
    assert_eq!(found.errors(), 9, "{found}");
    let lines: Vec<u32> = found.iter().map(Problem::line).collect();
    assert!(lines.is_sorted(), "{lines:?}");
}

#[test]
fn what_is_not_toml_is_reported_along_with_the_rest() {
    let found = problems("mode = \"off\"\nname = \n[[allow]]\nname = \"a\"\nhosts = [\"*\"]\nports = [\"443\"]\nname = \"b\"");
    let told: Vec<(u32, bool)> = found.iter().map(|problem| (problem.line(), problem.message().starts_with("not TOML"))).collect();
    assert_eq!(told, [(2, false), (3, true), (6, false), (8, true)], "{found}");
}

#[test]
fn a_file_of_a_mebibyte_is_read_and_no_longer_one() {
    let long = format!("version = 1\n#{}", "x".repeat(LONGEST - 13));
    assert!(parse(&Source::new("a.toml", long.clone())).problems.is_empty());
    assert!(parse(&Source::new("a.toml", long + "x")).problems.to_string().contains("longer than 1 MiB"));
}

#[test]
fn a_budget_is_read_with_its_defaults() {
    let read = |host: &str, budget: &str| {
        let text = format!("version = 1\n{}\n{budget}\n", allow_host(host));
        let parsed = parse(&Source::new("test.toml", text));
        parsed.file.unwrap_or_else(|| panic!("{}", parsed.problems)).allows()[0].budget
    };
    let default = crate::BudgetTerms::default();
    assert_eq!(read("a.example", ""), None, "a host has none");
    assert_eq!(read("*.example.net", ""), Some(default));
    assert_eq!(read("*.example.net", "budget = { names = 1_000 }"), Some(crate::BudgetTerms { names: 1000, ..default }));
    for (size, bytes) in [("\"64KiB\"", 65_536), ("\"1 MiB\"", 1 << 20), ("\"300B\"", 300), ("300", 300), ("\"300\"", 300)] {
        let terms = read("*.example.net", &format!("budget = {{ bytes = {size}, label = 7 }}"));
        assert_eq!(terms, Some(crate::BudgetTerms { bytes, label: 7, ..default }), "{size}");
    }
}

#[test]
fn a_budget_needs_a_wildcard_and_sound_figures() {
    let rule = |host: &str, budget: &str| format!("{}\nbudget = {budget}", allow_host(host));
    error(&rule("a.example", "{ names = 5 }"), "`budget` in a rule without a wildcard", "{ names = 5 }");
    error(&rule("a.*.example", "{ names = 5 }"), "has a star where none can be", "\"a.*.example\"");
    error(&rule("*.example.net", "{ names = 0 }"), "`names` must be between 1 and 1000000", "0");
    error(&rule("*.example.net", "{ bytes = 254 }"), "`bytes` must be between 255", "254");
    error(&rule("*.example.net", "{ bytes = \"64kB\" }"), "is no size", "\"64kB\"");
    error(&rule("*.example.net", "{ bytes = \"KiB\" }"), "is no size", "\"KiB\"");
    error(&rule("*.example.net", "{ bytes = \"99999999999999999999MiB\" }"), "`bytes` must be between", "\"99999999999999999999MiB\"");
    error(&rule("*.example.net", "{ label = 64 }"), "`label` must be between 1 and 63", "64");
    error(&rule("*.example.net", "{ label = -1 }"), "`label` must be between 1 and 63", "-1");
    error(&rule("*.example.net", "{ label = 6 }"), "*.example.net itself has a label of 7 octets", "6");
    error(&rule("*.example.net", "{ names = \"5\" }"), "`names` must be a number", "\"5\"");
    error(&rule("*.example.net", "{ name = 5 }"), "unknown key `name` in budget", "name");
    error(&rule("*.example.net", "5"), "`budget` must be a table", "5");
}

#[test]
fn a_note_has_nothing_that_turns_the_text_around_it() {
    for c in ['\u{202e}', '\u{2066}', '\u{200f}', '\u{61c}', '\u{2028}'] {
        error(
            &format!("{}\nowner = \"a{c}b\"", allow_host("example.net")),
            "`owner` is one line of at most 200 bytes",
            &format!("\"a{c}b\""),
        );
    }
}
