//! What a wildcard's names count against, and how a used-up budget is told.
use super::{allow, compile, file, grant};
use crate::{BudgetKind, Policy, Reason};

fn figures(policy: &Policy, name: &str) -> Option<(u32, u32, u8)> {
    grant(policy, name).budget().map(|budget| (budget.names, budget.bytes, budget.label))
}

#[test]
fn a_wildcard_has_a_budget_and_a_host_has_none() {
    let text = format!(
        "{}{}",
        allow("w", "hosts = [\"*.a.example\", \"www.a.example\"]\nports = [\"443\"]\nbudget = { names = 7, bytes = \"1KiB\", label = 20 }"),
        allow("h", "hosts = [\"plain.example\"]\nports = [\"443\"]")
    );
    let policy = compile(&[file("p", &text)]);
    assert_eq!(policy.budgets(), 1, "one for each rule with a wildcard");
    assert_eq!(figures(&policy, "x.a.example"), Some((7, 1024, 20)));
    assert_eq!(figures(&policy, "y.x.a.example"), Some((7, 1024, 20)));
    assert_eq!(figures(&policy, "www.a.example"), None, "the host is given in full");
    assert_eq!(figures(&policy, "below.www.a.example"), Some((7, 1024, 20)));
    assert_eq!(figures(&policy, "plain.example"), None);
    // The same rule gives a name in full and all below it: the two fare alike in all else.
    let policy = compile(&[file("p", super::GITHUB)]);
    assert_eq!((figures(&policy, "github.com"), figures(&policy, "api.github.com")), (None, Some((600, 32_768, 63))));
}

#[test]
fn a_host_needs_no_budget_whatever_wildcards_match_and_a_deny_of_ports_makes_no_host() {
    let wild = allow("w", "hosts = [\"*.a.example\"]\nports = [\"443\"]");
    let host = allow("h", "hosts = [\"www.a.example\"]\nports = [\"22\"]");
    let both = compile(&[file("p", &wild), file("q", &host)]);
    assert_eq!(figures(&both, "www.a.example"), None);
    let expired = compile(&[file("p", &wild), file("q", &format!("{host}expires = 2026-05-01\n"))]);
    assert!(figures(&expired, "www.a.example").is_some(), "a rule that has expired gives nothing");
    let denied = compile(&[file("p", &format!("{wild}[[deny]]\nhosts = [\"www.a.example\"]\nports = [\"22\"]\n"))]);
    assert!(figures(&denied, "www.a.example").is_some(), "a deny names the host, and no rule does");
}

#[test]
fn the_most_generous_of_several_budgets_counts() {
    let rule =
        |name: &str, host: &str, budget: &str| allow(name, &format!("hosts = [\"{host}\"]\nports = [\"443\"]\nbudget = {{ {budget} }}"));
    let policy = compile(&[file(
        "p",
        &[
            rule("a", "*.example.net", "names = 10, bytes = 1000"),
            rule("b", "*.a.example.net", "names = 5, bytes = 2000"),
            rule("c", "*.a.example.net", "names = 6, bytes = 2000"),
            rule("d", "*.x.example.net", "names = 1, bytes = 300"),
        ]
        .concat(),
    )]);
    assert_eq!(policy.budgets(), 4);
    assert_eq!(figures(&policy, "x.a.example.net"), Some((6, 2000, 63)), "the most octets, then the most names");
    assert_eq!(figures(&policy, "y.x.example.net"), Some((10, 1000, 63)), "also that of a shorter wildcard");
    let id = |name: &str| grant(&policy, name).budget().unwrap().id;
    assert_eq!(id("y.x.example.net"), id("z.example.net"), "one count for one rule");
    assert_ne!(id("x.a.example.net"), id("z.example.net"));
    assert!(id("x.a.example.net").get() < policy.budgets());
}

#[test]
fn a_used_up_budget_is_told_with_its_figure_and_its_rule() {
    let text = allow("w", "hosts = [\"*.a.example\"]\nports = [\"443\"]\nbudget = { names = 7, bytes = 1000, label = 20 }");
    let policy = compile(&[file("p", &text)]);
    for (kind, told) in [
        (BudgetKind::Names, "of 7 distinct names a minute (raise it with `budget = { names = ... }`)"),
        (BudgetKind::Bytes, "of 1000 octets of names a minute (raise it with `budget = { bytes = ... }`)"),
        (BudgetKind::Label, ", in which a label has at most 20 octets (raise it with `budget = { label = ... }`)"),
    ] {
        let refusal = grant(&policy, "x.a.example").over_budget(kind);
        assert_eq!((refusal.reason(), refusal.generation()), (Reason::OverBudget(kind), policy.generation()));
        let place = refusal.place().unwrap();
        assert_eq!((place.policy(), place.rule(), place.line()), ("p", "w", 2));
        assert!(refusal.to_string().contains(told), "{refusal}");
        assert!(refusal.to_string().ends_with(": rule w (p.toml:2)"), "{refusal}");
        // Names below it are over the same budget.
        assert!(!refusal.is_no_data());
    }
}

#[test]
fn a_refused_name_under_a_budget_exists_only_if_a_pattern_below_it_is_permitted() {
    let wild = allow("w", "hosts = [\"*.a.example\", \"b.y.a.example\", \"*.z.a.example\"]\nports = [\"443\"]");
    let policy = compile(&[file("p", &format!("{wild}[[deny]]\nhosts = [\"*.x.a.example\"]\n"))]);
    assert!(!grant(&policy, "x.a.example").over_budget(BudgetKind::Names).is_no_data());
    assert!(grant(&policy, "y.a.example").over_budget(BudgetKind::Names).is_no_data());
    assert!(grant(&policy, "z.a.example").over_budget(BudgetKind::Names).is_no_data());
    assert!(!grant(&policy, "c.a.example").over_budget(BudgetKind::Names).is_no_data());
}
