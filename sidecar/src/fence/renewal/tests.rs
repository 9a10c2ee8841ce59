use std::time::Duration;

use super::*;
use crate::addressbook::Term;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn at(seconds: u32) -> Tick {
    Tick::ZERO.plus_seconds(seconds)
}

fn address(n: u32) -> IpAddr {
    IpAddr::from((0xc612_0000 + n).to_be_bytes())
}

fn place(n: u32) -> Place {
    Place { opening: 0, address: address(n) }
}

/// A pod on a simulated clock: its leases, and what it uses.
#[derive(Default)]
struct Pod {
    renewals: Renewals,
    book: AddressBook,
    used: Vec<Place>,
}

impl Pod {
    /// An answer, opened: as the fence does it.
    fn answer(&mut self, of: &str, addresses: &[u32], now: u32, lease: u32) {
        let term = Term { end: at(now + lease), span: lease * 10 };
        for &n in addresses {
            self.book.record(place(n), &name(of), term);
        }
        let addresses: Vec<IpAddr> = addresses.iter().map(|&n| address(n)).collect();
        self.renewals.answered(&name(of), false, &addresses, at(now));
    }

    /// One second's work; the questions, as names.
    fn second(&mut self, now: u32) -> Vec<String> {
        if self.renewals.wants_scan(at(now)) {
            let openings = self.renewals.to_scan(&self.book, at(now));
            let used: Vec<Place> = self.used.iter().copied().filter(|place| openings.contains(&place.opening)).collect();
            self.renewals.scan(&self.book, used.into_iter(), at(now));
        }
        for keep in self.renewals.keep(&self.book, at(now)) {
            self.book.record(keep.place, &keep.name, Term { end: keep.until, span: keep.until.since(at(now)) });
        }
        self.renewals.asks(at(now)).into_iter().map(|ask| ask.name.to_string()).collect()
    }

    fn end(&self, n: u32) -> Duration {
        self.book.find(place(n)).unwrap().until().duration_since(Tick::ZERO)
    }
}

#[test]
fn a_name_in_use_is_asked_once_in_each_lease_before_it_ends() {
    let mut pod = Pod { used: vec![place(1)], ..Pod::default() };
    pod.answer("a.example", &[1], 0, 90);
    let mut asked = Vec::new();
    for now in 0..900 {
        for _ in pod.second(now) {
            asked.push(now);
            assert!(pod.end(1) > Duration::from_secs(now.into()), "the lease had ended at {now}");
            pod.answer("a.example", &[1], now, 90);
        }
    }
    // 30 s, and up to 9 more, before the end; looked at every 5 s.
    assert!((14..=18).contains(&asked.len()), "{asked:?}");
    assert!(asked.windows(2).all(|two| (51..=65).contains(&(two[1] - two[0]))), "{asked:?}");
}

#[test]
fn what_is_not_used_is_not_asked() {
    let mut pod = Pod::default();
    pod.answer("a.example", &[1], 0, 90);
    assert!((0..100).all(|now| pod.second(now).is_empty()));
}

#[test]
fn a_short_lease_is_renewed_in_time_and_not_all_the_time() {
    let mut pod = Pod { used: vec![place(1)], ..Pod::default() };
    pod.answer("a.example", &[1], 0, 12);
    let mut asked = 0;
    for now in 0..120 {
        assert!(pod.end(1) > Duration::from_secs(now.into()));
        for _ in pod.second(now) {
            asked += 1;
            pod.answer("a.example", &[1], now, 12);
        }
    }
    assert!((12..=24).contains(&asked), "{asked}");
}

#[test]
fn a_question_without_an_answer_is_asked_again_with_growing_pauses() {
    let mut pod = Pod { used: vec![place(1)], ..Pod::default() };
    pod.answer("a.example", &[1], 0, 3600);
    let asked: Vec<u32> = (0..3600).filter(|&now| !pod.second(now).is_empty()).collect();
    let pauses: Vec<u32> = asked.windows(2).map(|two| two[1] - two[0]).collect();
    assert_eq!(pauses[..4], [5, 10, 20, 40]);
    assert!(pauses[4..].iter().all(|&pause| pause == 60), "{pauses:?}");
}

#[test]
fn never_more_than_ten_questions_a_second_and_the_lease_that_ends_first_comes_first() {
    let mut pod = Pod { used: (0..300).map(place).collect(), ..Pod::default() };
    for n in 0..300 {
        pod.answer(&format!("n{n}.example"), &[n], 0, 90 + n / 30);
    }
    let mut asked = Vec::new();
    for now in 85..100 {
        let asks = pod.second(now);
        assert!(asks.len() <= 10, "{}", asks.len());
        asked.extend(asks);
    }
    assert!(asked.iter().take(10).all(|of| pod.book.find(place(of[1..of.len() - 8].parse().unwrap())).unwrap().until() == at(90)));
}

#[test]
fn questions_that_wait_are_bounded() {
    let count = 3 * u32::try_from(MOST_WAITING).unwrap();
    let mut pod = Pod { used: (0..count).map(place).collect(), ..Pod::default() };
    for n in 0..count {
        pod.answer(&format!("n{n}.example"), &[n], 0, 90);
    }
    pod.second(80);
    assert_eq!(pod.renewals.waiting(), MOST_WAITING - 10);
}

#[test]
fn an_address_that_left_its_answer_is_kept_while_it_is_used_and_an_hour_at_the_most() {
    let mut pod = Pod { used: vec![place(1)], ..Pod::default() };
    pod.answer("a.example", &[1], 0, 90);
    let mut left_at = None;
    let mut questions = 0;
    for now in 0..5000 {
        for _ in pod.second(now) {
            questions += 1;
            left_at.get_or_insert(now);
            // The name has moved.
            pod.answer("a.example", &[2], now, 90);
        }
        if left_at.is_none_or(|left| now < left + 3600) {
            assert!(pod.end(1) > Duration::from_secs(now.into()), "closed at {now}, left at {left_at:?}");
        }
    }
    assert_eq!(pod.end(1), Duration::from_secs(u64::from(left_at.unwrap()) + 3600));
    // The name is asked once in a while, not every time the clock ticks. Mostly 30 times and more; where chance has it that only the address
    // it has left is seen to be used, as rarely as twice (4 runs of 60): that one is kept all the same.
    assert!((2..=70).contains(&questions), "{questions}");
}

#[test]
fn an_address_that_left_and_is_not_used_ends() {
    let mut pod = Pod { used: vec![place(1)], ..Pod::default() };
    pod.answer("a.example", &[1], 0, 90);
    for now in 0..=65 {
        if !pod.second(now).is_empty() {
            pod.answer("a.example", &[2], now, 90);
        }
    }
    // A flow to it until a moment after; then none.
    for now in 66..400 {
        if now == 70 {
            pod.used.clear();
        }
        pod.second(now);
    }
    assert!(pod.end(1) <= Duration::from_secs(70 + 120));
}

#[test]
fn to_rest_a_while_does_not_give_another_hour() {
    let mut pod = Pod { used: vec![place(1)], ..Pod::default() };
    pod.answer("a.example", &[1], 0, 90);
    let mut left_at = None;
    for now in 0..8000 {
        // 20 s of rest in each 100.
        pod.used = if now % 100 < 80 { vec![place(1)] } else { Vec::new() };
        if !pod.second(now).is_empty() {
            left_at.get_or_insert(now);
            pod.answer("a.example", &[2], now, 90);
        }
    }
    assert!(pod.end(1) <= Duration::from_secs(u64::from(left_at.unwrap()) + 3600), "{:?}", pod.end(1));
}

#[test]
fn an_address_that_comes_back_is_an_ordinary_one_again() {
    let mut pod = Pod { used: vec![place(1)], ..Pod::default() };
    pod.answer("a.example", &[1], 0, 90);
    pod.second(60);
    pod.answer("a.example", &[2], 61, 90);
    assert_eq!(pod.renewals.left.len(), 1);
    pod.answer("a.example", &[1, 2], 62, 90);
    assert!(pod.renewals.left.is_empty());
}

#[test]
fn an_answer_of_the_other_family_says_nothing() {
    let mut pod = Pod { used: vec![place(1)], ..Pod::default() };
    pod.answer("a.example", &[1], 0, 90);
    pod.second(60);
    pod.renewals.answered(&name("a.example"), true, &["2001:db8::1".parse().unwrap()], at(1));
    assert!(pod.renewals.left.is_empty());
    pod.renewals.answered(&name("a.example"), false, &[], at(1));
    assert_eq!(pod.renewals.left.len(), 1);
}

#[test]
fn an_address_of_many_names_renews_the_few_that_end_last() {
    let mut pod = Pod { used: vec![place(1)], ..Pod::default() };
    for n in 0..10 {
        pod.answer(&format!("n{n}.example"), &[1], 0, 60 + n);
    }
    let mut asked = pod.second(50);
    asked.sort();
    assert_eq!(asked, ["n6.example", "n7.example", "n8.example", "n9.example"]);
}

#[test]
fn only_openings_whose_leases_end_soon_are_looked_at() {
    let mut pod = Pod::default();
    pod.answer("a.example", &[1], 0, 3600);
    let far = Place { opening: 7, address: address(2) };
    pod.book.record(far, &name("b.example"), Term { end: at(90), span: 900 });
    assert_eq!(pod.renewals.to_scan(&pod.book, at(0)), BTreeSet::new());
    assert_eq!(pod.renewals.to_scan(&pod.book, at(60)), BTreeSet::from([7]));
    assert_eq!(pod.renewals.to_scan(&pod.book, at(2900)), BTreeSet::from([0]));
}

#[test]
fn of_a_lease_longer_than_an_hour_the_hour_begins_but_once() {
    let mut pod = Pod { used: vec![place(1), place(2)], ..Pod::default() };
    pod.answer("a.example", &[1], 0, 7200);
    pod.answer("b.example", &[2], 0, 90);
    let mut left = false;
    for now in 0..12_000 {
        for of in pod.second(now) {
            if of == "b.example" {
                pod.answer("b.example", &[2], now, 90);
            }
            // Noticed early, as another lease of the opening was looked at.
            if of == "a.example" || !std::mem::replace(&mut left, true) {
                pod.answer("a.example", &[3], now, 90);
            }
        }
    }
    assert_eq!(pod.end(1), Duration::from_secs(7200));
}
