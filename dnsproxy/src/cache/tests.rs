//! Each promise of the cache against a slow list of all that was ever kept, under a clock that the test moves.

use std::time::Duration;

use proptest::{collection::vec, option, prelude::*};

use super::*;

/// Bounds that nothing here reaches.
const AMPLE: Bounds = Bounds { entries: 1000, bytes: 4 << 20 };

/// A few questions that differ in one point each, so that sequences meet them again.
const QUESTIONS: [Question<'static>; 8] = {
    let plain = Question { name: b"\x01a\x07example", rtype: 1, dnssec_ok: false, checking_disabled: false };
    [
        plain,
        Question { rtype: 28, ..plain },
        Question { dnssec_ok: true, ..plain },
        Question { checking_disabled: true, ..plain },
        Question { name: b"\x01b\x07example", ..plain },
        Question { name: b"\x01a\x06exampl", ..plain },
        Question { name: b"", ..plain },
        Question { name: &[7; 254], ..plain },
    ]
};

#[derive(Clone, Debug)]
enum Act {
    Keep { question: usize, body: Body, ttl: u32, leases: Vec<i64>, era: u32 },
    Forget(usize),
    Clear,
    Wait(u64),
}

/// Nanoseconds, often within a few of a whole second.
fn nanos(seconds: std::ops::Range<i64>) -> impl Strategy<Value = i64> {
    (seconds, prop_oneof![-2..=2_i64, 0..1_000_000_000_i64]).prop_map(|(seconds, rest)| seconds * 1_000_000_000 + rest)
}

/// Octets that count up from any one: cheap to make and to shrink.
fn body(octets: std::ops::Range<usize>) -> impl Strategy<Value = Body> {
    let marks = (0..16_u8, any::<bool>(), any::<bool>()).prop_map(|(rcode, authentic, stripped)| Marks { rcode, authentic, stripped });
    (any::<u8>(), octets, any::<u16>(), 0..256_u16, marks).prop_map(|(first, len, answers, authorities, marks)| {
        let octets = (first..=u8::MAX).cycle().take(len).collect();
        Body { octets, answers, authorities, marks }
    })
}

fn act() -> impl Strategy<Value = Act> {
    let ttl = prop_oneof![0..4_u32, 0..8000_u32, any::<u32>()];
    let leases = option::of(vec(prop_oneof![nanos(-2..4), nanos(-100..8000)], 1..4)).prop_map(Option::unwrap_or_default);
    let keep = (0..QUESTIONS.len(), body(0..300), ttl, leases, any::<u32>()).prop_map(|(question, body, ttl, leases, era)| Act::Keep {
        question,
        body,
        ttl,
        leases,
        era,
    });
    let wait = prop_oneof![nanos(1..3), nanos(1..3700)].prop_map(|nanos| Act::Wait(nanos.unsigned_abs()));
    prop_oneof![
        6 => keep,
        1 => (0..QUESTIONS.len()).prop_map(Act::Forget),
        1 => Just(Act::Clear),
        4 => wait,
    ]
}

/// What was kept last for a question.
struct Kept {
    body: Body,
    era: u32,
    /// The end of the answer, then of its leases.
    ends: Vec<Instant>,
}

/// A cache, the time, and what it was given.
struct World {
    cache: Cache,
    now: Instant,
    kept: [Option<Kept>; QUESTIONS.len()],
}

impl World {
    fn new(bounds: Bounds) -> Self {
        // An hour behind the monotonic clock's own start, so that leases can have ended before the cache was made.
        let now = Instant::now() + Duration::from_hours(1);
        Self { cache: Cache::new(bounds, now), now, kept: Default::default() }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Keep { question, body, ttl, leases, era } => {
                let shifted = |nanos: i64| match u64::try_from(nanos) {
                    Ok(later) => self.now + Duration::from_nanos(later),
                    Err(_) => self.now - Duration::from_nanos(nanos.unsigned_abs()),
                };
                let leases: Vec<_> = leases.into_iter().map(shifted).collect();
                let lease = leases.iter().min().copied();
                self.cache.keep(QUESTIONS[question], &body, ttl, lease, era, self.now);
                let mut ends = leases;
                ends.push(self.now + Duration::from_secs(ttl.into()));
                self.kept[question] = Some(Kept { body, era, ends });
            }
            Act::Forget(question) => {
                self.cache.forget(QUESTIONS[question]);
                self.kept[question] = None;
            }
            Act::Clear => {
                self.cache.clear();
                self.kept = Default::default();
            }
            Act::Wait(nanos) => self.now += Duration::from_nanos(nanos),
        }
    }

    /// All that can be asked now: what was kept for the question, the fresh answer, the stale one.
    fn look(&self) -> impl Iterator<Item = (Option<&Kept>, Option<Hit<'_>>, Option<Hit<'_>>)> {
        QUESTIONS
            .iter()
            .zip(&self.kept)
            .map(|(question, kept)| (kept.as_ref(), self.cache.fresh(*question, self.now), self.cache.stale(*question, self.now)))
    }
}

/// Octets that every entry in the cache takes, added up.
fn heap(cache: &Cache) -> usize {
    cache.entries.iter().map(|(key, kept)| weight::heap(key, kept)).sum()
}

proptest! {
    #[test]
    fn a_ttl_told_outlasts_neither_its_answer_nor_any_lease_it_speaks_of(acts in vec(act(), 1..40)) {
        let mut world = World::new(AMPLE);
        for act in acts {
            world.act(act);
            for (kept, fresh, stale) in world.look() {
                for hit in fresh.iter().chain(&stale).filter(|hit| hit.ttl > 0) {
                    let told = world.now + Duration::from_secs(hit.ttl.into());
                    for end in &kept.unwrap().ends {
                        prop_assert!(told <= *end, "{:?} too long", told - *end);
                    }
                }
                prop_assert!(fresh.is_none_or(|hit| hit.ttl > 0), "a fresh answer has a second left");
            }
        }
    }

    #[test]
    fn an_answer_is_fresh_to_its_last_whole_second(acts in vec(act(), 1..40)) {
        let mut world = World::new(AMPLE);
        for act in acts {
            world.act(act);
            for (kept, fresh, stale) in world.look() {
                let left = kept.map_or(0, |kept| kept.ends.iter().min().unwrap().saturating_duration_since(world.now).as_secs());
                prop_assert_eq!(fresh.map_or(0, |hit| u64::from(hit.ttl)), left);
                prop_assert!(fresh.is_none() || fresh == stale, "a fresh answer is told while no upstream answers, too");
            }
        }
    }

    #[test]
    fn an_answer_is_stale_for_an_hour_and_no_longer(acts in vec(act(), 1..40)) {
        let mut world = World::new(AMPLE);
        for act in acts {
            world.act(act);
            for (kept, _, stale) in world.look() {
                let end = kept.map(|kept| *kept.ends.iter().min().unwrap());
                let within = end.is_some_and(|end| world.now <= end + Duration::from_hours(1));
                // What ended before time began in the cache was never kept.
                let ever = end.is_some_and(|end| end >= world.cache.start);
                prop_assert_eq!(stale.is_some(), within && ever);
            }
        }
    }

    #[test]
    fn what_was_kept_last_comes_back_octet_for_octet_for_its_own_question(acts in vec(act(), 1..40)) {
        let mut world = World::new(AMPLE);
        for act in acts {
            world.act(act);
            for (kept, _, stale) in world.look() {
                let Some(hit) = stale else { continue };
                let kept = kept.unwrap();
                let body = Body { octets: hit.octets.into(), answers: hit.answers, authorities: hit.authorities, marks: hit.marks };
                prop_assert_eq!(&body, &kept.body);
                prop_assert_eq!(hit.era, kept.era);
            }
        }
    }

    #[test]
    fn both_bounds_hold_after_anything(
        entries in 0..12_usize,
        bytes in 0..6000_usize,
        acts in vec(prop_oneof![4 => (any::<u16>(), body(0..400)).prop_map(Ok), 1 => act().prop_map(Err)], 1..80),
    ) {
        let mut world = World::new(Bounds { entries, bytes });
        for act in acts {
            match act {
                Ok((name, body)) => {
                    let question = Question { name: &name.to_be_bytes(), ..QUESTIONS[0] };
                    world.cache.keep(question, &body, 60, None, 0, world.now);
                }
                Err(act) => world.act(act),
            }
            prop_assert!(world.cache.len() <= entries, "{} of {entries} entries", world.cache.len());
            prop_assert!(world.cache.bytes() <= bytes, "{} of {bytes} octets", world.cache.bytes());
            prop_assert_eq!(world.cache.heap, heap(&world.cache), "every octet is counted, and none twice");
        }
    }
}

/// A cache with `count` answers of one address, to names of 22 octets.
fn filled(bounds: Bounds, count: u32) -> Cache {
    let now = Instant::now();
    let mut cache = Cache::new(bounds, now);
    let body = Body { octets: [0; 16].into(), answers: 1, ..Body::default() };
    for number in 0..count {
        cache.keep(Question { name: name(number).as_bytes(), ..QUESTIONS[0] }, &body, 60, None, 0, now);
    }
    cache
}

fn name(number: u32) -> String {
    format!("\x0cn{number:011}\x08examples")
}

#[test]
fn small_answers_are_kept_as_many_as_the_bound_allows_at_170_octets_each() {
    assert_eq!(name(0).len(), 22);
    let cache = filled(Bounds { entries: 20_000, bytes: 20_000 * 170 }, 20_000);
    assert_eq!(cache.len(), 20_000);
    assert!(cache.bytes() <= 20_000 * 170, "{} octets each", cache.bytes() / 20_000);
}

#[test]
fn a_table_takes_no_more_than_was_reckoned_for_it() {
    for entries in (2..300).chain([896, 897, 3584, 3585, 14_336, 14_337]) {
        let count = u32::try_from(entries).unwrap();
        let cache = filled(Bounds { entries, bytes: usize::MAX }, count);
        let used = cache.entries.memory_used();
        assert_eq!(cache.len(), entries, "all fit");
        assert_eq!(used.entries, entries * weight::SLOT);
        assert!(used.map <= entries * weight::INDEX + weight::INDEX_BASE, "{} for {entries}", used.map);
    }
}

#[test]
fn over_a_bound_goes_what_is_not_asked_again_though_others_came_first() {
    let mut cache = filled(Bounds { entries: 1000, bytes: 1 << 20 }, 5000);
    let (now, body) = (cache.start, Body::default());
    let newcomer = name(1_000_000);
    let newcomer = Question { name: newcomer.as_bytes(), ..QUESTIONS[0] };
    cache.keep(newcomer, &body, 60, None, 0, now);
    for flood in 0..20_000 {
        cache.keep(Question { name: name(10_000 + flood).as_bytes(), ..QUESTIONS[0] }, &body, 60, None, 0, now);
        if flood % 50 == 0 {
            assert!(cache.fresh(newcomer, now).is_some(), "gone after {flood}");
        }
    }
    assert_eq!(cache.len(), 1000);
    assert_eq!(cache.fresh(Question { name: name(10_000).as_bytes(), ..QUESTIONS[0] }, now), None);
}

#[test]
fn what_cannot_be_kept_takes_the_earlier_answer_along() {
    let now = Instant::now() + Duration::from_hours(1);
    let small = Body { octets: [1; 16].into(), answers: 1, ..Body::default() };
    let large = Body { octets: vec![2; 5000].into(), ..small.clone() };
    let many = Body { authorities: 256, ..small.clone() };
    for (body, lease) in [(&large, None), (&many, None), (&small, Some(now - Duration::from_nanos(1)))] {
        let mut cache = Cache::new(Bounds { entries: 4, bytes: 4000 }, now);
        cache.keep(QUESTIONS[0], &small, 60, None, 0, now);
        assert!(cache.fresh(QUESTIONS[0], now).is_some());
        cache.keep(QUESTIONS[0], body, 60, lease, 0, now);
        assert_eq!(cache.stale(QUESTIONS[0], now), None);
        assert_eq!((cache.len(), cache.heap), (0, 0));
    }
}
