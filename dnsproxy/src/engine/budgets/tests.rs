//! No minute, wherever it begins, lets more through than the budget says, and a name that went up in it costs little.

use std::collections::{BTreeMap, BTreeSet};

use policies::{BudgetId, Date, Grant, Name, Pod, Policy, Source, Surroundings, Verdict};
use proptest::{collection::vec, prelude::*};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Two rules with a wildcard each; the first budget has the `terms`.
fn policy(terms: &str) -> Policy {
    let text = format!(
        r#"
version = 1
name = "test"
[[allow]]
name = "one"
hosts = ["*.one.example"]
ports = ["443"]
budget = {{ {terms} }}
[[allow]]
name = "two"
hosts = ["*.two.example"]
ports = ["443"]
"#
    );
    let file = policies::parse(&Source::new("test.toml", &text)).file.expect("a valid policy");
    let pod = Pod { namespace: String::new(), name: String::new(), labels: BTreeMap::new() };
    Policy::compile(&[file], &pod, &Surroundings::on(Date::new(2026, 8, 1).unwrap())).unwrap()
}

fn grant(policy: &Policy, name: &Name) -> Grant {
    match policy.judge(name) {
        Verdict::Granted(grant) => grant,
        Verdict::Refused(refusal) => panic!("{refusal}"),
    }
}

/// Budgets, and a clock that the test moves.
struct World {
    budgets: Budgets,
    policy: Policy,
    now: Instant,
}

impl World {
    fn new(terms: &str) -> Self {
        Self { budgets: Budgets::default(), policy: policy(terms), now: Instant::now() }
    }

    fn take(&mut self, name: &str) -> Result<(), BudgetKind> {
        let name = Name::parse(name).unwrap();
        let grant = grant(&self.policy, &name);
        self.budgets.take(grant.generation(), &grant.budget().unwrap(), name.as_wire(), self.now)
    }
}

#[test]
fn a_minute_that_began_between_two_moments_is_none_too_short() {
    let mut world = World::new("names = 2");
    assert_eq!(world.take("a.one.example"), Ok(()));
    world.now += Duration::from_micros(900);
    assert_eq!(world.take("b.one.example"), Ok(()));
    world.now += 60 * SECOND - Duration::from_micros(800);
    assert_eq!(world.take("c.one.example"), Ok(()), "the first is a minute old");
    assert_eq!(world.take("d.one.example"), Err(BudgetKind::Names), "the second lacks 800 microseconds");
}

#[test]
fn after_weeks_of_rest_a_budget_is_whole() {
    // Moments come round after 49 days, and look as if they were to come after 24.
    for days in [1, 30, 50] {
        let mut world = World::new("names = 1");
        assert_eq!(world.take("a.one.example"), Ok(()));
        world.now += days * 86_400 * SECOND;
        assert_eq!(world.take("b.one.example"), Ok(()), "after {days} days");
        assert_eq!(world.take("c.one.example"), Err(BudgetKind::Names));
    }
}

#[test]
fn the_window_slides_name_by_name() {
    let mut world = World::new("names = 2");
    assert_eq!(world.take("a.one.example"), Ok(()));
    world.now += 30 * SECOND;
    assert_eq!(world.take("b.one.example"), Ok(()));
    world.now += 30 * SECOND - Duration::from_nanos(1);
    assert_eq!(world.take("c.one.example"), Err(BudgetKind::Names), "a minute is not over by a nanosecond");
    world.now += Duration::from_nanos(1);
    assert_eq!(world.take("c.one.example"), Ok(()), "the first name's place is free");
    assert_eq!(world.take("a.one.example"), Err(BudgetKind::Names), "and it is new again");
    world.now += 30 * SECOND;
    assert_eq!(world.take("a.one.example"), Ok(()));
}

#[test]
fn what_was_refused_took_nothing() {
    let mut world = World::new("bytes = 300");
    let long = format!("{0}.{0}.{0}.one.example", "l".repeat(63));
    assert_eq!(world.take(&long), Ok(()));
    let longer = format!("{0}.{0}.one.example", "m".repeat(63));
    for _ in 0..10 {
        assert_eq!(world.take(&longer), Err(BudgetKind::Bytes));
    }
    let rest = format!("{}.{}.one.example", "n".repeat(63), "o".repeat(20));
    assert_eq!(Name::parse(&long).unwrap().as_wire().len() + Name::parse(&rest).unwrap().as_wire().len(), 301);
    assert_eq!(world.take(&rest), Err(BudgetKind::Bytes));
    assert_eq!(world.take(&format!("{}.{}.one.example", "n".repeat(63), "o".repeat(19))), Ok(()));
}

#[test]
fn each_rule_and_each_generation_has_its_own() {
    let mut world = World::new("names = 1");
    assert_eq!(world.take("a.one.example"), Ok(()));
    assert_eq!(world.take("b.one.example"), Err(BudgetKind::Names));
    assert_eq!(world.take("b.two.example"), Ok(()));
    world.policy = policy("names = 1\nlabel = 20".replace('\n', ", ").as_str());
    assert_eq!(world.take("b.one.example"), Ok(()), "another policy begins anew");
}

#[test]
fn any_label_may_be_the_one_that_is_too_long() {
    let mut world = World::new("label = 7");
    assert_eq!(world.take("sevenxx.sevenxx.one.example"), Ok(()));
    for name in ["eightxxx.a.one.example", "a.eightxxx.one.example"] {
        assert_eq!(world.take(name), Err(BudgetKind::Label));
    }
}

#[test]
fn known_names_asked_again_and_again_are_no_way_around_the_budget() {
    let mut world = World::new("names = 2, bytes = 300");
    let names = ["a.one.example", "b.one.example"];
    let mut octets = 0;
    for name in names {
        assert_eq!(world.take(name), Ok(()));
        octets += Name::parse(name).unwrap().as_wire().len();
    }
    let mut asked = 0;
    for round in 0..10_000 {
        world.now += Duration::from_millis(1);
        asked += usize::from(world.take(names[round % 2]).is_ok());
    }
    assert_eq!(asked, (300 - octets) / AGAIN);
    assert!(world.budgets.spent[0].recent.len() <= 2 + 2, "what is remembered is bounded");
    world.now += MINUTE + TOGETHER;
    assert_eq!(world.take(names[0]), Ok(()));
}

proptest! {
    /// Against a list of all that ever went up. No time lies where questions that are counted together make a difference.
    #[test]
    fn no_minute_has_more_than_the_budget(asked in vec((0..12_usize, 0..4_u32), 1..150), names in 1..6_u32, bytes in 254..400_u32) {
        let mut budgets = Budgets::default();
        let policy = policy("names = 1");
        let some = grant(&policy, &Name::parse("a.one.example").unwrap());
        let id: BudgetId = some.budget().unwrap().id;
        let budget = Budget { id, names, bytes, label: 63 };
        let mut now = Instant::now();
        // When, which name (by its length), and what it cost.
        let mut went_up: Vec<(Instant, usize, usize)> = Vec::new();
        for (length, wait) in asked {
            now += 7 * wait * SECOND;
            // A name of as many octets as its number says.
            let octets = vec![1; 10 + 20 * length];
            let recent: Vec<_> = went_up.iter().filter(|(at, ..)| now - *at < MINUTE).collect();
            let known: BTreeSet<_> = recent.iter().filter(|(_, name, cost)| name == cost).map(|(_, name, _)| *name).collect();
            let cost = if known.contains(&octets.len()) { AGAIN } else { octets.len() };
            let expected = if cost > AGAIN && known.len() >= names as usize {
                Err(BudgetKind::Names)
            } else if recent.iter().map(|(.., cost)| cost).sum::<usize>() + cost > bytes as usize {
                Err(BudgetKind::Bytes)
            } else {
                went_up.push((now, octets.len(), cost));
                Ok(())
            };
            prop_assert_eq!(budgets.take(7, &budget, &octets, now), expected);
        }
    }
}
