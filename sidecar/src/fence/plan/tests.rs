use policies::{Date, Name, Pod, Source, Surroundings, Verdict};

use super::*;

const TEXT: &str = r#"
version = 1
name = "p"
[lease]
min = "60s"
max = "1h"
grace = "30s"
[[allow]]
name = "web"
hosts = ["*.example"]
ports = ["443"]
[[allow]]
name = "more"
hosts = ["b.example"]
ports = ["8443"]
"#;

/// One fence without its kernel.
struct Scene {
    policy: Policy,
    book: AddressBook,
    clock: Clock,
    start: Instant,
    plans: Plans,
}

fn policy(text: &str) -> Policy {
    let file = policies::parse(&Source::new("p.toml", text)).file.unwrap();
    Policy::compile(&[file], &Pod::default(), &Surroundings::stand_in(Date::new(2026, 6, 1).unwrap())).unwrap()
}

fn grant(policy: &Policy, name: &str) -> Grant {
    match policy.judge(&Name::parse(name).unwrap()) {
        Verdict::Granted(grant) => grant,
        Verdict::Refused(why) => panic!("{why}"),
    }
}

fn address(last: u8) -> IpAddr {
    IpAddr::from([198, 51, 100, last])
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl Scene {
    fn new() -> Self {
        let start = Instant::now();
        Scene { policy: policy(TEXT), book: AddressBook::default(), clock: Clock::new(start), start, plans: Plans::default() }
    }

    /// Plans a batch of (name, addresses, TTL) at a time in seconds; the changes of each.
    fn plan(&mut self, at: u64, answers: &[(&str, &[u8], u64)]) -> Vec<Result<Vec<Kind>, NotOpened>> {
        let now = self.now(at);
        self.plans.clear();
        for (name, lasts, ttl) in answers {
            let (grant, addresses): (_, Vec<IpAddr>) = (grant(&self.policy, name), lasts.iter().map(|&last| address(last)).collect());
            let wanted = Wanted { grant: &grant, addresses: &addresses, ttl: seconds(*ttl) };
            self.plans.add(&wanted, &self.policy, &self.book, &self.clock, now);
        }
        let kinds = |plan: &Plan| self.plans.steps(plan).iter().filter_map(|step| step.change.map(|(kind, _)| kind)).collect();
        self.plans.iter().map(|plan| plan.as_ref().map(kinds).map_err(|why| *why)).collect()
    }

    /// As the fence does when the kernel said yes to all of a batch for one name.
    fn write(&mut self, name: &str) {
        for plan in self.plans.iter().flatten() {
            for step in self.plans.steps(plan) {
                self.book.record(step.place, &Name::parse(name).unwrap(), step.term);
            }
        }
    }

    fn now(&self, at: u64) -> Now {
        let instant = self.start + seconds(at);
        Now { instant, tick: self.clock.tick(instant) }
    }

    /// Until when the n-th answer of the batch is open, in seconds.
    fn until(&self, n: usize) -> u64 {
        let until = self.plans.iter().nth(n).unwrap().as_ref().unwrap().until.unwrap();
        (self.clock.instant(until) - self.start).as_secs()
    }
}

#[test]
fn a_new_address_is_added_for_its_ttl_within_the_bounds_and_the_grace() {
    let mut scene = Scene::new();
    for (ttl, until) in [(0, 90), (60, 90), (300, 330), (86_400, 3630)] {
        assert_eq!(scene.plan(0, &[("a.example", &[1], ttl)]), [Ok(vec![Kind::Add])]);
        assert_eq!(scene.until(0), until);
    }
}

#[test]
fn an_answer_opens_under_every_rule_that_has_its_name() {
    let mut scene = Scene::new();
    assert_eq!(scene.plan(0, &[("b.example", &[1, 2], 60)]), [Ok(vec![Kind::Add; 4])]);
}

#[test]
fn what_stands_long_enough_costs_the_kernel_nothing_and_tells_its_own_end() {
    let mut scene = Scene::new();
    scene.plan(0, &[("a.example", &[1], 300)]);
    scene.write("a.example");
    assert_eq!(scene.plan(10, &[("a.example", &[1], 100)]), [Ok(vec![])]);
    assert_eq!(scene.until(0), 330);
    assert_eq!(scene.plan(10, &[("a.example", &[1, 2], 100)]), [Ok(vec![Kind::Add])]);
    assert_eq!(scene.until(0), 140);
}

#[test]
fn a_later_end_and_a_further_name_start_the_lease_anew() {
    let mut scene = Scene::new();
    scene.plan(0, &[("a.example", &[1], 60)]);
    scene.write("a.example");
    assert_eq!(scene.plan(10, &[("a.example", &[1], 60)]), [Ok(vec![Kind::Refresh])]);
    // Of the two names' leases the longer one counts.
    assert_eq!(scene.plan(0, &[("c.example", &[1], 0)]), [Ok(vec![Kind::Refresh])]);
    scene.plan(0, &[("a.example", &[1], 3600)]);
    scene.write("a.example");
    assert_eq!(scene.plan(1, &[("c.example", &[1], 60)]), [Ok(vec![Kind::Refresh])]);
    assert_eq!(scene.until(0), 3630);
}

#[test]
fn the_same_address_twice_in_a_batch_is_refreshed_and_never_shortened() {
    let mut scene = Scene::new();
    let planned = scene.plan(0, &[("a.example", &[1, 1], 600), ("c.example", &[1], 60)]);
    assert_eq!(planned, [Ok(vec![Kind::Add, Kind::Refresh]), Ok(vec![Kind::Refresh])]);
    assert_eq!(scene.until(1), 630);
}

#[test]
fn a_grant_of_another_policy_opens_nothing() {
    let mut scene = Scene::new();
    let other = policy(&TEXT.replace("8443", "9443"));
    let grant = grant(&other, "a.example");
    let now = scene.now(0);
    scene.plans.add(&Wanted { grant: &grant, addresses: &[address(1)], ttl: seconds(60) }, &scene.policy, &scene.book, &scene.clock, now);
    assert_eq!(scene.plans.iter().collect::<Vec<_>>(), [&Err(NotOpened::Stale)]);
}

#[test]
fn where_the_pod_is_full_only_what_needs_room_fails() {
    let mut scene = Scene::new();
    scene.plan(0, &[("a.example", &[1], 3600)]);
    scene.write("a.example");
    let term = Term { end: scene.clock.end(scene.start, seconds(3600)), span: 36_000 };
    for n in 0..u32::try_from(MOST_LEASES).unwrap() - 2 {
        let address = IpAddr::from((0xc612_0000 + n).to_be_bytes());
        scene.book.record(Place { opening: 0, address }, &Name::parse("a.example").unwrap(), term);
    }
    // One place is left: the first new one takes it, in the same batch.
    let planned = scene.plan(1, &[("a.example", &[2], 60), ("a.example", &[3], 60), ("a.example", &[1], 60), ("a.example", &[1], 3600)]);
    assert_eq!(planned, [Ok(vec![Kind::Add]), Err(NotOpened::Full), Ok(vec![]), Ok(vec![Kind::Refresh])]);
}
