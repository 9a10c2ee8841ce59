//! The machine that was measured on: figures without it say little.

use std::fs;
use std::time::Instant;

use serde::Serialize;

/// What the head of the report says.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// `uname -r`.
    pub kernel: String,
    /// The processor as /proc/cpuinfo names it.
    pub cpu: String,
    /// Load averages over 1, 5 and 15 minutes before the first measurement: others on the same cores make the figures noisy.
    pub load: String,
    /// One system call that does nothing, in nanoseconds.
    pub getppid_nanoseconds: f64,
}

impl Machine {
    /// Asks the kernel, and times getppid(2): the best of some thousands of calls, since others may hold the core meanwhile.
    #[must_use]
    pub fn look() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let cpu = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("unknown", |(_, name)| name);
        let load = read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ");
        let getppid_nanoseconds = (0..20).map(|_| getppid_nanoseconds()).fold(f64::INFINITY, f64::min);
        Self { kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(), cpu: cpu.to_owned(), load, getppid_nanoseconds }
    }
}

fn getppid_nanoseconds() -> f64 {
    let calls = 5_000;
    let start = Instant::now();
    for _ in 0..calls {
        std::hint::black_box(nix::unistd::getppid());
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
}
