//! Resolvers of a pod side by side, all behind the ruleset that Portreeve installs: throughput, CPU, latency, memory.
//!
//! Each round gives every contestant one life in a fresh pod; rounds alternate, so that what slows the machine down slows all. The report
//! has medians, and ratios within the run: figures of two machines, or of two days, say nothing beside each other.

mod contestant;
mod cores;
pub mod floor;
mod life;
mod load;
mod machine;
mod names;
mod peers;
mod report;
mod rules;
pub(crate) mod usage;

use std::io::{Write, stderr};
use std::time::Instant;

pub use contestant::Contestant;
pub use life::{Plan, Sample};
pub use load::Load;
pub use machine::Machine;
pub use report::Report;

use crate::World;
use crate::servers::Nsd;
use cores::Cores;
use life::Stage;
use names::Files;

impl Plan {
    /// What the report of record takes: five rounds, under ten minutes.
    pub const FULL: Self = Self { rounds: 5, hot_seconds: 2, cold_names: 20_000, serial_names: 500 };
    /// For development: about a minute and a half.
    pub const QUICK: Self = Self { rounds: 2, hot_seconds: 1, cold_names: 4_000, serial_names: 200 };
}

/// Measures the contestants.
///
/// # Panics
/// With the command to type when rights or packages are missing, and when a contestant does not answer.
#[must_use]
pub fn measure(plan: Plan, contestants: &[Contestant]) -> Report {
    let (start, machine, cores) = (Instant::now(), Machine::look(), Cores::of_this_process());
    // Before the world is made: its threads, NSD and dnsperf inherit it.
    cores.place_client();
    let world = World::new();
    let nsd = Nsd::start(&world, [203, 0, 113, 53].into(), names::ZONE, &names::records(plan.cold_names, plan.serial_names));
    let rules = rules::for_others(&world, nsd.address(), &names::policy(10));
    let files = Files::write(world.scratch().path(), plan.cold_names);
    let plain = world.pod("plain");
    let stage = Stage { world, nsd, rules, files, cores, plan, plain };
    let mut lives: Vec<(Contestant, Vec<Sample>)> = contestants.iter().map(|contestant| (*contestant, Vec::new())).collect();
    for round in 1..=plan.rounds {
        for (contestant, samples) in &mut lives {
            let _nobody_reads =
                writeln!(stderr(), "{:4} s  round {round} of {}: {}", start.elapsed().as_secs(), plan.rounds, contestant.name());
            samples.push(stage.live(*contestant));
        }
    }
    Report { machine, cores: stage.cores.told(), plan, took_seconds: start.elapsed().as_secs_f64(), lives }
}
