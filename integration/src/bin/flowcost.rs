//! Measures what the log of flows costs, and prints the report.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a report is printed")]

use std::process::ExitCode;

use integration::flowcost::{Plan, report};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let plan = match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => Plan::FULL,
        ["--quick"] => Plan::QUICK,
        ["--memory"] => Plan::MEMORY,
        _ => {
            eprintln!("flowcost [--quick|--memory]");
            return ExitCode::from(2);
        }
    };
    println!("{}", report(plan));
    ExitCode::SUCCESS
}
