//! What a lease costs: batches of 1, 8 and 32 answers, new and refreshed, in a network namespace of its own.
//! `cargo bench -p nft` (root). It prints the time of one batch at the median and the 99th percentile, and the time of one lease.
#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::{
    error::Error,
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use nft::{
    Answers, Change, Firewall, Kind, Log, Opening, OpeningHandle, Options, Ownership, Ports, Proxy, RawGuard, RuleId, Ruleset, Sizes,
};
use nix::sched::{CloneFlags, unshare};

const BATCHES: u32 = 2000;
const OPENINGS: u16 = 50;

fn main() -> Result<(), Box<dyn Error>> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|error| format!("{error}: needs root: sudo -E cargo bench -p nft"))?;
    let mut firewall = Firewall::open_with(Options { ownership: Ownership::Shared, ..Options::default() })?;
    let ruleset = ruleset();
    println!("{OPENINGS} openings; {BATCHES} batches each; microseconds");
    println!("{:<10}{:>8}{:>10}{:>10}{:>12}", "kind", "answers", "median", "p99", "per lease");
    for kind in [Kind::Add, Kind::Refresh] {
        for size in [1_u32, 8, 32] {
            let _ = firewall.install(&ruleset, &[])?;
            let openings: Vec<OpeningHandle> = ruleset.openings.iter().filter_map(|opening| firewall.opening(&opening.key)).collect();
            let mut answers = Answers::new();
            let mut times = Vec::new();
            for batch in 0..BATCHES {
                let start = Instant::now();
                answers.clear();
                for n in 0..size {
                    answers.begin();
                    answers.push(change(&openings, batch * size + n, kind).ok_or("no opening")?);
                }
                let results = firewall.commit(&answers);
                times.push(start.elapsed());
                results.into_iter().collect::<Result<Vec<()>, _>>()?;
            }
            times.sort_unstable();
            let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default().as_secs_f64() * 1e6;
            println!("{:<10}{size:>8}{:>10.1}{:>10.1}{:>12.1}", format!("{kind:?}"), at(50), at(99), at(50) / f64::from(size));
        }
    }
    Ok(())
}

/// Each answer has another address, spread over the openings.
fn change(openings: &[OpeningHandle], number: u32, kind: Kind) -> Option<Change<'static>> {
    let opening = *openings.get(number as usize % openings.len())?;
    let address = IpAddr::V4(Ipv4Addr::from(0xc612_0000_u32.wrapping_add(number)));
    Some(Change { opening, address, name: "api.example.com", timeout: Duration::from_secs(300), kind })
}

fn ruleset() -> Ruleset {
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
        openings: (1..=OPENINGS).filter_map(RuleId::new).map(opening).collect(),
        retained: Vec::new(),
        raw_guard: RawGuard::Prefer,
        log: Log::default(),
        sizes: Sizes::default(),
    }
}
