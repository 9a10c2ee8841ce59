//! Which core does what: the contestant has one to itself, the same for all; without that the ratios move by a fifth from run to run.

use std::fs;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The cores that this process was given, dealt out.
#[derive(Debug)]
pub(super) struct Cores {
    all: Vec<usize>,
}

impl Cores {
    /// # Panics
    /// When the kernel does not say.
    pub(super) fn of_this_process() -> Self {
        let given = sched_getaffinity(Pid::from_raw(0)).expect("own cores");
        Self { all: (0..CpuSet::count()).filter(|core| given.is_set(*core).unwrap_or(false)).collect() }
    }

    /// The contestant's, last of all.
    fn contestant(&self) -> usize {
        self.all.last().copied().unwrap_or(0)
    }

    /// The client's.
    fn client(&self) -> usize {
        self.all.first().copied().unwrap_or(0)
    }

    /// The upstream's: the client's too where there are only two.
    fn upstream(&self) -> usize {
        if self.all.len() > 2 { self.all[1] } else { self.client() }
    }

    /// How they are dealt out, in a line.
    pub(super) fn told(&self) -> String {
        let (client, upstream, contestant) = (self.client(), self.upstream(), self.contestant());
        format!(
            "throughput: client on core {client}, NSD on core {upstream}, contestant on core {contestant}; latency: all on any of {:?}",
            self.all
        )
    }

    /// Puts the calling thread and what it starts on the client's core.
    pub(super) fn place_client(&self) {
        place(&[0], &[self.client()]);
    }

    /// Lets the calling thread run anywhere.
    pub(super) fn free_client(&self) {
        place(&[0], &self.all);
    }

    /// Every thread of these processes on the upstream's core.
    pub(super) fn place_upstream(&self, processes: &[i32]) {
        place(&threads(processes), &[self.upstream()]);
    }

    /// Every thread of these processes on the contestant's core.
    pub(super) fn place_contestant(&self, processes: &[i32]) {
        place(&threads(processes), &[self.contestant()]);
    }

    /// Every thread of these processes anywhere.
    pub(super) fn free(&self, processes: &[i32]) {
        place(&threads(processes), &self.all);
    }
}

/// Every thread of the processes.
fn threads(processes: &[i32]) -> Vec<i32> {
    let tasks = processes.iter().filter_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).ok());
    tasks.flatten().flatten().filter_map(|task| task.file_name().to_string_lossy().parse().ok()).collect()
}

fn place(threads: &[i32], cores: &[usize]) {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core).expect("a core of this process");
    }
    for thread in threads {
        // A thread that has ended meanwhile needs no core.
        let _ended = sched_setaffinity(Pid::from_raw(*thread), &set);
    }
}
