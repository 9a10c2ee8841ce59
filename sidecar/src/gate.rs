//! The fence as the resolver's gate: it belongs to the resolver's thread, so nothing is told while it changes.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use dnsproxy::{Gate, OpenError, Opened, PermittedAnswer};
use policies::Name;

use crate::fence::{Fence, Wanted};

impl Gate for Fence {
    fn open(&mut self, answers: &[PermittedAnswer]) -> Vec<Result<Opened, OpenError>> {
        let wanted = answers.iter().map(|answer| Wanted {
            grant: answer.grant(),
            addresses: answer.addresses(),
            ttl: Duration::from_secs(answer.ttl().into()),
        });
        Fence::open(self, wanted)
    }

    fn nothing(&mut self, name: &Name, ipv6: bool) {
        self.answered_nothing(name, ipv6, Instant::now());
    }

    fn names_of(&self, address: IpAddr) -> Vec<(Name, Instant)> {
        Fence::names_of(self, address, Instant::now())
    }

    fn epoch(&self) -> u64 {
        Fence::epoch(self)
    }
}
