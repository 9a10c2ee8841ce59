//! Plays three apps under their policies and exits non-zero when one attempt does not go as it must.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "the table is what it is for")]

use std::process::ExitCode;

fn main() -> ExitCode {
    let (table, all_good) = integration::demo::play();
    println!("\n{table}");
    if all_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
