//! Measures the budgets on this machine and prints them beside what they must be; a report, not a test, since machines differ.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, reason = "the report is what it is for")]

fn main() {
    println!("{}", integration::budgets::report());
}
