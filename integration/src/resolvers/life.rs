//! One life of a contestant: started in a fresh pod, measured under each load, ended. Nothing it learned or opened outlives it.

use std::time::Duration;

use serde::Serialize;

use super::contestant::{Contestant, Started};
use super::cores::Cores;
use super::load::{self, Amount, Load};
use super::names::{self, Files};
use super::{rules, usage};
use crate::servers::Nsd;
use crate::{Pod, World, question};

/// How much is measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Plan {
    /// Rounds; in each, every contestant has one life.
    pub rounds: usize,
    /// Seconds of questions for names that are asked for again and again.
    pub hot_seconds: u32,
    /// Names that are asked for once, as fast as they are answered.
    pub cold_names: usize,
    /// Names that are asked for once, one after the other.
    pub serial_names: usize,
}

impl Plan {
    /// The names that every contestant was asked for at the end of a life, each with an address of its own.
    pub(super) fn names(self) -> usize {
        names::HOT + self.cold_names + self.serial_names
    }
}

/// What one life gave.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Sample {
    /// 100 names again and again.
    pub hot: Load,
    /// Each name once.
    pub cold: Load,
    /// Names that the policy refuses, again and again; of Portreeve alone.
    pub denied: Option<Load>,
    /// One question after the other for names that nobody asked for before, the median in microseconds.
    pub serial_microseconds: Option<f64>,
    /// The same names asked of the upstream by a pod without rules right before.
    pub direct_microseconds: f64,
    /// Resident bytes of all its processes before the first load.
    pub idle_bytes: u64,
    /// The same after the cold load.
    pub full_bytes: u64,
    /// The addresses that are open in the kernel then, where answers are to open some.
    pub open: Option<usize>,
}

/// What all lives share.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) world: World,
    pub(super) nsd: Nsd,
    pub(super) rules: String,
    pub(super) files: Files,
    pub(super) cores: Cores,
    pub(super) plan: Plan,
    /// A pod without rules.
    pub(super) plain: Pod,
}

impl Stage {
    /// One life.
    ///
    /// # Panics
    /// When the contestant does not answer.
    pub(super) fn live(&self, contestant: Contestant) -> Sample {
        let pod = self.world.pod("app");
        let started = contestant.start(&pod, &self.rules, (self.nsd.address(), self.nsd.pid()));
        // What a start leaves to do is not its idle state.
        std::thread::sleep(Duration::from_millis(500));
        let idle_bytes = usage::resident(&started.processes);
        let (direct_microseconds, serial_microseconds) = self.serial(contestant, &pod, &started);

        self.cores.place_upstream(&usage::family(self.nsd.pid()));
        if contestant != Contestant::Direct {
            self.cores.place_contestant(&started.processes);
        }
        let run = |file, amount| load::run(&pod, started.resolver, file, amount, &started.processes);
        let seconds = Amount::Seconds(self.plan.hot_seconds);
        let _warm = run(&self.files.hot, Amount::Once);
        let hot = run(&self.files.hot, seconds);
        let denied = contestant.is_portreeve().then(|| run(&self.files.denied, seconds));
        let cold = run(&self.files.cold, Amount::Once);
        started.expect_unchanged();
        let full_bytes = usage::resident(&started.processes);
        let open = contestant.enforces().then(|| rules::open_addresses(&pod));
        Sample { hot, cold, denied, serial_microseconds, direct_microseconds, idle_bytes, full_bytes, open }
    }

    /// Direct questions and the contestant's, right after each other; nothing is bound to a core, as in a pod.
    fn serial(&self, contestant: Contestant, pod: &Pod, started: &Started<'_>) -> (f64, Option<f64>) {
        self.cores.free(&usage::family(self.nsd.pid()));
        let names = names::serial(self.plan.serial_names);
        let asked = |pod: &Pod, resolver| {
            pod.run(|| {
                self.cores.free_client();
                question::median_microseconds(resolver, &names)
            })
        };
        let direct = asked(&self.plain, self.nsd.address());
        (direct, contestant.resolves().then(|| asked(pod, started.resolver)))
    }
}
