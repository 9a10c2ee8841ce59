//! One batch from whatever stands to what must hold.

use super::{Firewall, InstallError, Lease, RawGuardMissing, RefreshError};
use crate::Ruleset;

/// What an installation did.
#[derive(Debug)]
#[must_use]
pub struct Installed {
    /// Whether raw frames are held.
    pub raw_guard: RawGuardState,
    /// What the kernel lacks and the ruleset does without.
    pub missing: Vec<Missing>,
    /// Whether the table stood before.
    pub table_stood: bool,
    /// Leases that were left alone.
    pub kept: usize,
    /// Leases that were added, or whose time was set anew.
    pub added: usize,
    /// Leases that were taken away.
    pub removed: usize,
}

/// Whether raw frames are held.
#[derive(Debug)]
pub enum RawGuardState {
    /// On these devices.
    Standing(Devices),
    /// They are not, and this is why.
    Missing(RawGuardMissing),
    /// As the ruleset said.
    Off,
}

/// The devices under the raw guard: every device but lo.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Devices {
    /// Guarded, in order.
    pub guarded: Vec<String>,
    /// Those among them that were not guarded before.
    pub added: Vec<String>,
}

/// A part of the ruleset that this kernel does without. None of them opens anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// Table flags `OWNER|PERSIST` (Linux 6.9): other processes can change the tables.
    Ownership,
    /// `ct timeout` (CONFIG_NF_CONNTRACK_TIMEOUT): a redirected question keeps its connection entry for 30 s, not 2.
    ConntrackTimeout,
}

impl Firewall {
    /// Makes the kernel hold `ruleset` and exactly the leases of `wanted`, in one batch: no packet sees half of it. A lease that stands with
    /// about the wanted time left ([`crate::LEASE_TOLERANCE`]) is untouched. It works without a table and with one that an older process left.
    ///
    /// # Errors
    /// [`InstallError`]; the kernel then holds what it held before.
    pub fn install(&mut self, ruleset: &Ruleset, wanted: &[Lease]) -> Result<Installed, InstallError> {
        let _ = (ruleset, wanted, self.options);
        Err(InstallError::Invalid("not built yet".to_owned()))
    }

    /// Puts the raw guard on devices that came since. Call it when a link changes, and at intervals. Does nothing where the ruleset has no guard.
    ///
    /// # Errors
    /// [`RefreshError`]; the devices guarded before stay guarded.
    pub fn refresh_devices(&mut self) -> Result<Devices, RefreshError> {
        Err(RefreshError::TableVanished)
    }
}
