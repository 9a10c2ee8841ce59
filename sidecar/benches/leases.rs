//! What a lease costs the sidecar itself, the kernel left out: time on the way of an answer, and memory that stays.
#![forbid(unsafe_code)]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "a bench")]

use std::hint::black_box;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use policies::{Date, Grant, Name, Pod, Policy, Source, Surroundings, Verdict};
use sidecar::addressbook::{AddressBook, Clock, Place, Term, element};
use sidecar::fence::Wanted;
use sidecar::fence::plan::{Now, Plans};

const LEASES: u32 = 20_000;
/// Answers in a batch.
const BATCH: u32 = 32;
const TEXT: &str = "version = 1\nname = \"p\"\n[[allow]]\nname = \"web\"\nhosts = [\"*.example.com\"]\nports = [\"443\"]\n";

fn name(n: u32) -> Name {
    // 22 octets in wire form, as an ordinary name.
    Name::parse(&format!("h{n:07}.example.com")).unwrap()
}

fn address(n: u32) -> IpAddr {
    IpAddr::from((0x0a00_0000 + n).to_be_bytes())
}

fn filled(clock: &Clock, leases: u32) -> AddressBook {
    let mut book = AddressBook::default();
    let end = clock.end(Instant::now(), Duration::from_secs(3600));
    for n in 0..leases {
        book.record(Place { opening: 0, address: address(n) }, &name(n), Term { end, span: 36_000 });
    }
    book
}

/// Octets of this process in memory.
fn resident() -> u64 {
    let pages: u64 = std::fs::read_to_string("/proc/self/statm").unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

fn memory() {
    let clock = Clock::new(Instant::now());
    let before = resident();
    let book = filled(&clock, LEASES);
    let octets = (resident() - before) / u64::from(LEASES);
    eprintln!("{} leases: {octets} octets resident each, names included", book.elements());
}

/// One round of the fence's own work for a batch of answers with one address each.
fn round(grants: &[(Grant, IpAddr)], policy: &Policy, book: &mut AddressBook, clock: &Clock, plans: &mut Plans, label: &mut String) {
    let instant = Instant::now();
    let now = Now { instant, tick: clock.tick(instant) };
    plans.clear();
    for (grant, address) in grants {
        let wanted = Wanted { grant, addresses: std::slice::from_ref(address), ttl: Duration::from_secs(60) };
        plans.add(&wanted, policy, book, clock, now);
    }
    for ((grant, _), plan) in grants.iter().zip(plans.iter()) {
        for step in plans.steps(plan.as_ref().unwrap()) {
            if step.change.is_some() {
                label.clear();
                element::write_label(label, grant.name(), book.find(step.place), now.tick);
                black_box(&label);
            }
            book.record(step.place, grant.name(), step.term);
        }
    }
}

fn time(criterion: &mut Criterion) {
    let file = policies::parse(&Source::new("p.toml", TEXT)).file.unwrap();
    let surroundings = Surroundings { search: Vec::new(), ..Surroundings::stand_in(Date::new(2026, 6, 1).unwrap()) };
    let policy = Policy::compile(&[file], &Pod::default(), &surroundings).unwrap();
    let clock = Clock::new(Instant::now());
    // Ordinary addresses: what is private would be looked at twice.
    let grants = |from: u32| -> Vec<(Grant, IpAddr)> {
        let one = |n| match policy.judge(&name(n)) {
            Verdict::Granted(grant) => (grant, IpAddr::from((0x0800_0000 + n).to_be_bytes())),
            Verdict::Refused(why) => panic!("{why}"),
        };
        (from..from + BATCH).map(one).collect()
    };
    let mut group = criterion.benchmark_group("answers with one address, of 20,000 leases");
    group.throughput(Throughput::Elements(BATCH.into()));
    let (mut book, mut plans, mut label) = (filled(&clock, LEASES), Plans::default(), String::new());
    let mut from = LEASES;
    group.bench_function("a new lease", |bencher| {
        bencher.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                from += BATCH;
                if book.elements() > 28_000 {
                    book = filled(&clock, LEASES);
                }
                let grants = grants(from);
                let start = Instant::now();
                round(&grants, &policy, &mut book, &clock, &mut plans, &mut label);
                spent += start.elapsed();
            }
            spent
        });
    });
    let standing = grants(0);
    group.bench_function("a lease that stands", |bencher| {
        bencher.iter(|| round(&standing, &policy, &mut book, &clock, &mut plans, &mut label))
    });
    group.finish();
}

fn main() {
    memory();
    let mut criterion = Criterion::default().configure_from_args();
    time(&mut criterion);
    criterion.final_summary();
}
