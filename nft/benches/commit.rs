//! What a lease costs: batches of 1, 8 and 32 answers, new and refreshed, of one opening and spread over fifty, in a network namespace of its
//! own.
//! `cargo bench -p nft` (root); `cargo bench -p nft -- Add 50 8` measures one case ten times, for a profiler.
//! It prints the time of one batch at the median and the 99th percentile, and the time of one lease.
#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::{
    error::Error,
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use nft::{
    Answers, Change, Firewall, Kind, Log, Opening, OpeningHandle, Options, Ownership, Ports, Proxy, RawGuard, RuleId, Ruleset, Sizes,
};
use nix::{
    sched::{CloneFlags, unshare},
    sys::{
        resource::{UsageWho, getrusage},
        time::{TimeVal, TimeValLike},
    },
};

/// New leases of one measurement: what the cold case has in one rule.
const LEASES: u32 = 20_000;
const MOST_BATCHES: u32 = 2000;

fn main() -> Result<(), Box<dyn Error>> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|error| format!("{error}: needs root: sudo -E cargo bench -p nft"))?;
    let mut firewall = Firewall::open_with(Options { ownership: Ownership::Shared, ..Options::default() })?;
    println!("microseconds; CPU is user and system time of this thread");
    println!("{:<10}{:>10}{:>8}{:>10}{:>10}{:>12}{:>12}", "kind", "openings", "answers", "median", "p99", "per lease", "CPU");
    let one: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    for kind in [Kind::Add, Kind::Refresh] {
        for openings in [1, 50] {
            for size in [1, 8, 32] {
                let case = [format!("{kind:?}"), openings.to_string(), size.to_string()];
                for _ in 0..if one.is_empty() { 1 } else { 10 } {
                    if one.is_empty() || one == case {
                        measure(&mut firewall, kind, openings, size)?;
                    }
                }
            }
        }
    }
    Ok(())
}

fn measure(firewall: &mut Firewall, kind: Kind, openings: u16, size: u32) -> Result<(), Box<dyn Error>> {
    let ruleset = ruleset(openings);
    let _ = firewall.install(&ruleset, &[])?;
    let handles: Vec<OpeningHandle> = ruleset.openings.iter().filter_map(|opening| firewall.opening(&opening.key)).collect();
    let mut answers = Answers::new();
    let mut times = Vec::new();
    let batches = MOST_BATCHES.min(LEASES / size);
    let before = cpu()?;
    for batch in 0..batches {
        let start = Instant::now();
        answers.clear();
        for n in 0..size {
            answers.begin();
            answers.push(change(&handles, batch * size + n, kind).ok_or("no opening")?);
        }
        let results = firewall.commit(&answers);
        times.push(start.elapsed());
        results.into_iter().collect::<Result<Vec<()>, _>>()?;
    }
    let spent = (cpu()? - before).as_secs_f64() * 1e6 / f64::from(batches * size);
    times.sort_unstable();
    let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default().as_secs_f64() * 1e6;
    let each = at(50) / f64::from(size);
    println!("{:<10}{openings:>10}{size:>8}{:>10.1}{:>10.1}{each:>12.2}{spent:>12.2}", format!("{kind:?}"), at(50), at(99));
    Ok(())
}

/// What this thread has used.
fn cpu() -> Result<Duration, Box<dyn Error>> {
    let usage = getrusage(UsageWho::RUSAGE_THREAD)?;
    let of = |time: TimeVal| time.num_microseconds().unsigned_abs();
    Ok(Duration::from_micros(of(usage.user_time()) + of(usage.system_time())))
}

/// Each answer has another address, in turn for each of the openings.
fn change(openings: &[OpeningHandle], number: u32, kind: Kind) -> Option<Change<'static>> {
    let opening = *openings.get(number as usize % openings.len())?;
    let address = IpAddr::V4(Ipv4Addr::from(0xc612_0000_u32.wrapping_add(number)));
    Some(Change { opening, address, name: "api.example.com", timeout: Duration::from_secs(300), kind })
}

fn ruleset(openings: u16) -> Ruleset {
    let opening = |id| Opening {
        id,
        key: format!("policy.rule-{}", id.get()),
        comment: String::new(),
        ports: Ports::tcp_port(443),
        ranges: Vec::new(),
        leased: true,
        fingerprint: 0,
    };
    Ruleset {
        proxy: Proxy { uid: 4242, mark: 1, priority: 7, port: 5453, upstreams: Vec::new() },
        denies: Vec::new(),
        openings: (1..=openings).filter_map(RuleId::new).map(opening).collect(),
        retained: Vec::new(),
        raw_guard: RawGuard::Prefer,
        posture: nft::Posture::Enforce,
        log: Log::default(),
        sizes: Sizes { leases: 32_768, used: 32_768 },
    }
}
