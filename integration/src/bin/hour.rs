//! Plays the scripted hour in the time given instead of as fast as its leases allow, and prints what the checker finds in the log.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a report is printed")]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use integration::hour::{Hour, Stage, Wire, check};
use integration::{Setup, World, wait_until};

/// So that an hour's log is within what a test keeps of a program's output, and no address comes back while it is remembered.
const ROUND: Duration = Duration::from_secs(20);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let minutes = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => Some(60),
        ["--minutes", minutes] => minutes.parse().ok().filter(|minutes| (1..=60).contains(minutes)),
        _ => None,
    };
    let Some(minutes) = minutes else {
        eprintln!("hour [--minutes 1..60]");
        return ExitCode::from(2);
    };
    let (world, span) = (World::new(), Duration::from_secs(60 * minutes));
    let authority = world.authority();
    let pod = world.pod("app");
    let portreeve = Setup::new(&pod).policy("shop.toml", &Stage::Wide.policy()).namespace("shop").labels(&[("app", "cart")]).start();
    let (watcher, began) = (pod.watch(), Instant::now());
    let before = portreeve.resident();
    let mut hour = Hour::new(&pod, &world, &authority, &portreeve);
    let mut round = 0;
    while began.elapsed() < span {
        hour.play(round, if round % 8 == 1 { 2_000 } else { 0 });
        round += 1;
        std::thread::sleep((ROUND * round).saturating_sub(began.elapsed()).min(span.saturating_sub(began.elapsed())));
    }
    let findings = || check(&portreeve.flow_log(), hour.expected(), &Wire::of(&watcher, &pod));
    let well = wait_until(Duration::from_secs(30), || Some(findings()).filter(integration::hour::Findings::is_well));
    let found = well.unwrap_or_else(findings);
    println!(
        "{round} rounds in {:.1} min: {} flows and questions of {} kinds in {} lines; memory {} KiB, then {} KiB\n{found}",
        began.elapsed().as_secs_f64() / 60.0,
        hour.expected().total(),
        hour.expected().counts().len(),
        portreeve.flow_log().len(),
        before / 1024,
        portreeve.resident() / 1024,
    );
    if found.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
