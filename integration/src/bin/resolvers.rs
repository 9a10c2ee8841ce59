//! Measures resolvers side by side and prints the report; `echo` and `relay` are the programs of the floor, which it starts itself.
#![forbid(unsafe_code)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::expect_used,
    reason = "a report is printed, and a failed run is its own report"
)]

use std::net::SocketAddrV4;
use std::process::ExitCode;

use integration::resolvers::{Contestant, Plan, floor, measure};

const USAGE: &str = "resolvers [--quick] [CONTESTANT...]   (a part of a name as the report has it; all without one)";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let address = |text: &str| text.parse::<SocketAddrV4>().expect("IP:PORT");
    match words.as_slice() {
        ["echo", listen] => floor::echo(address(listen)),
        ["relay", listen, upstream] => floor::relay(address(listen), address(upstream)),
        ["--quick", some @ ..] => report(Plan::QUICK, some),
        some => report(Plan::FULL, some),
    }
}

fn report(plan: Plan, some: &[&str]) -> ExitCode {
    let wanted = |contestant: &Contestant| some.is_empty() || some.iter().any(|part| contestant.name().contains(part));
    let contestants: Vec<Contestant> = Contestant::ALL.into_iter().filter(wanted).collect();
    if contestants.is_empty() {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    }
    let report = measure(plan, &contestants);
    println!("{}", report.text());
    // target/release/resolvers writes to target/bench/.
    let executable = std::env::current_exe().expect("own executable");
    let dir = executable.ancestors().nth(2).expect("a target directory").join("bench");
    let file = dir.join("resolvers.json");
    std::fs::create_dir_all(&dir).and_then(|()| std::fs::write(&file, report.json())).expect("the report as JSON");
    println!("every figure of every round: {}", file.display());
    ExitCode::SUCCESS
}
