//! The `portreeve` binary: parse, start, map the outcome to an exit code.
#![forbid(unsafe_code)]
fn main() {}
