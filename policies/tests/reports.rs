//! Reports of problems, as people see them: golden files, reviewed by eye (`cargo insta review`).
use policies::{Date, Pod, Policy, Source, Style, Surroundings, parse};

const EVERYTHING_WRONG: &str = r#"version = 2
name = "My Alerts"
mode = "warn"
retries = 3

[select]
namespace = ["shop"]

[[allow]]
name = "pagerduty"
hosts = ["events.*.pagerduty.com", "198.51.100.7", "https://api.example.com/v2", "a..b", "*.cloudfront.net", "*.bücher.рф", "*.рф"]
ports = ["443", "70000", "https"]

[[allow]]
name = "pagerduty"
hots = ["a.example"]
ports = [443]
expires = "2027-01-31"

[[deny]]
cidrs = ["127.0.0.0/8", "10.1.2.3/8"]

[[limit]]
ports = ["443"]

[[expect]]
allow = "events.pagerduty.com"
"#;

fn report(text: &str) -> String {
    parse(&Source::new("policies/alerts.toml", text)).problems.render(Style::Plain)
}

#[test]
fn everything_wrong_is_reported_at_once() {
    insta::assert_snapshot!(report(EVERYTHING_WRONG));
}

#[test]
fn a_torn_file_is_reported_with_what_is_sure() {
    insta::assert_snapshot!(report("version = 1\nname = \"a\"\nmode = \n[[allow]]\nname = \"a\nhosts = [\"*\"]\nports = [\"443\"]\n"));
}

#[test]
fn what_is_wrong_with_a_budget_is_reported() {
    let rule = |name: &str, host: &str, budget: &str| {
        format!("[[allow]]\nname = \"{name}\"\nports = [\"443\"]\nhosts = [\"{host}\"]\nbudget = {budget}\n")
    };
    let text = [
        rule("a", "a.example", "{ names = 5 }"),
        rule("b", "*.label-of-many.example.net", "{ names = 0, bytes = \"64kB\", label = 5, octets = 1 }"),
        rule("c", "*.example.net", "{ names = \"5\", bytes = 100, label = 64 }"),
        rule("d", "*.example.net", "5"),
        rule("e", "*.example.net", "{ bytes = \"99999999999999999999MiB\" }"),
    ];
    insta::assert_snapshot!(report(&format!("version = 1\n{}", text.concat())));
}

#[test]
fn an_empty_file_is_reported() {
    insta::assert_snapshot!(report(""));
}

#[test]
fn warnings_of_the_day_and_of_the_place_are_reported() {
    let text = "version = 1\nuse = [\"kubernetes-api\"]\n[[allow]]\nname = \"a\"\nhosts = [\"a.example\"]\nports = [\"443\"]\nexpires = 2026-06-10\nowner = \"team-a\"\n";
    let file = parse(&Source::new("a.toml", text)).file.unwrap();
    let policy = Policy::compile(&[file], &Pod::default(), &Surroundings::on(Date::new(2026, 6, 1).unwrap())).unwrap();
    insta::assert_snapshot!(policy.warnings());
}

#[test]
fn problems_between_files_are_reported() {
    let file = |path: &str, text: &str| parse(&Source::new(path, format!("version = 1\nname = \"a\"\n{text}"))).file.unwrap();
    let files = [file("one.toml", ""), file("two.toml", "[[deny]]\ncidrs = [\"10.96.0.0/12\"]\n")];
    let place = Surroundings::stand_in(Date::new(2026, 6, 1).unwrap());
    insta::assert_snapshot!(Policy::compile(&files, &Pod::default(), &place).unwrap_err());
}

#[test]
fn a_terminal_gets_colours_and_a_file_does_not() {
    let problems = parse(&Source::new("a.toml", "versoin = 1\n")).problems;
    assert!(problems.render(Style::Styled).contains("\u{1b}["));
    assert!(!problems.render(Style::Plain).contains('\u{1b}'));
}

#[test]
fn a_file_cannot_write_to_the_terminal_through_its_report() {
    let problems =
        parse(&Source::new("a.toml", "version = 1\n\"\\u001b[31mkey\" = 1\nname = \"\\u001b[2J\"\nuse = [\"\u{7f}\\u009b1m\"]\n")).problems;
    assert!(problems.errors() >= 3, "{problems}");
    assert!(problems.to_string().chars().all(|c| c == '\n' || !c.is_control()), "{problems}");
    // Logs carry the messages alone, without the drawing.
    let told = |problem: &policies::Problem| format!("{}{}", problem.message(), problem.hint().unwrap_or(""));
    assert!(problems.iter().all(|problem| !told(problem).chars().any(char::is_control)));
}

#[test]
fn a_mebibyte_of_mistakes_is_reported_in_reasonable_time() {
    let begun = std::time::Instant::now();
    let texts = [
        "=\n".repeat(100_000),
        format!("version = 1\n[[allow]]\nname = \"a\"\nhosts = [\"a.example\"]\nports = [{}]\n", "\"x\",\n".repeat(190_000)),
        format!("version = 1\n[[deny]]\ncidrs = [{}]\n", "\"10.0.0.0/8\",\n".repeat(70_000)),
        "[[allow]]\nname=\"a\"\n".repeat(50_000),
    ];
    for text in texts {
        let problems = parse(&Source::new("a.toml", text)).problems;
        let report = problems.to_string();
        assert!(problems.errors() + problems.warnings() > 1_000, "{} {}", problems.errors(), problems.warnings());
        assert!(report.lines().count() < 1_000 && report.contains("\n... and "));
    }
    // Each takes well under a second; with one quadratic step it takes minutes.
    assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
}
