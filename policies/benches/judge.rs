//! What judging a name costs with ten, a thousand and ten thousand hosts: the three must not differ.
use std::{fmt::Write as _, hint::black_box};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use policies::{Date, Name, Pod, Policy, Source, Surroundings, parse};

/// Half of the hosts are names, half are wildcards, in rules of fifty.
fn policy(hosts: usize) -> Policy {
    let mut text = String::from("version = 1\n");
    for host in 0..hosts {
        if host % 50 == 0 {
            let end = if host == 0 { "" } else { "]\n" };
            let _ = write!(text, "{end}[[allow]]\nname = \"rule-{host}\"\nports = [\"443\"]\nhosts = [");
        }
        let star = if host % 2 == 0 { "" } else { "*." };
        let _ = write!(text, "\"{star}host-{host}.zone-{}.example.com\", ", host % 97);
    }
    text.push_str("]\n");
    let parsed = parse(&Source::new("bench.toml", text));
    #[expect(clippy::expect_used, reason = "a bench that cannot begin must stop")]
    let file = parsed.file.expect("a sound file");
    let place = Surroundings::stand_in(Date::from_unix_seconds(1_780_000_000));
    #[expect(clippy::expect_used, reason = "a bench that cannot begin must stop")]
    Policy::compile(&[file], &Pod::default(), &place).expect("a sound policy")
}

fn judge(criterion: &mut Criterion) {
    let questions = [
        ("granted by name", "host-4.zone-4.example.com"),
        ("granted by wildcard", "deep.below.host-5.zone-5.example.com"),
        ("refused", "www.nowhere.example.org"),
        ("refused, a hundred labels", &"a.".repeat(100)),
    ];
    for (question, text) in questions {
        let mut group = criterion.benchmark_group(question);
        #[expect(clippy::expect_used, reason = "a bench that cannot begin must stop")]
        let name = Name::parse(text).expect("a name");
        for hosts in [10, 1_000, 10_000] {
            let policy = policy(hosts);
            group.bench_with_input(BenchmarkId::from_parameter(hosts), &policy, |bencher, policy| {
                bencher.iter(|| black_box(policy.judge(black_box(&name))));
            });
        }
        group.finish();
    }
}

/// The same from octets, as the resolver asks: nothing is allocated.
fn judge_wire(criterion: &mut Criterion) {
    let questions = [
        ("wire: granted by name", "host-4.zone-4.example.com"),
        ("wire: granted by wildcard", "deep.below.host-5.zone-5.example.com"),
        ("wire: refused", "www.nowhere.example.org"),
        ("wire: refused under a zone of the policy", "www.zone-5.example.com"),
        ("wire: step of a search list", "host-4.zone-4.example.com.cluster.local"),
    ];
    for (question, text) in questions {
        let mut group = criterion.benchmark_group(question);
        #[expect(clippy::expect_used, reason = "a bench that cannot begin must stop")]
        let name = Name::parse(text).expect("a name");
        for hosts in [10, 10_000] {
            let policy = policy(hosts);
            group.bench_with_input(BenchmarkId::from_parameter(hosts), &policy, |bencher, policy| {
                bencher.iter(|| black_box(policy.judge_wire(black_box(name.as_wire())).is_ok()));
            });
        }
        group.finish();
    }
}

fn compile(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse and compile");
    group.sample_size(10);
    for hosts in [10, 1_000, 10_000] {
        group.bench_function(BenchmarkId::from_parameter(hosts), |bencher| bencher.iter(|| black_box(policy(hosts))));
    }
    group.finish();
}

criterion_group!(benches, judge, judge_wire, compile);
criterion_main!(benches);
