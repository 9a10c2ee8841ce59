//! How the fence stands, for `status`: numbers and the last complaint.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::log::Lines;
use crate::status::{LastError, Renewals};

/// Complaints, and lines on ended leases, that are logged in one second.
pub(super) const LINES_A_SECOND: u32 = 10;

/// A snapshot of the fence.
#[derive(Debug, Clone, Default)]
pub struct FenceView {
    /// Rules in the kernel.
    pub rules: usize,
    /// Addresses open by lease.
    pub leases: usize,
    /// Policies put in force.
    pub loads: u64,
    /// How often the table had vanished.
    pub table_restored: u64,
    /// Answers that found a set full.
    pub full: u64,
    /// What is done for addresses in use and for leases that have ended.
    pub renewals: Renewals,
    /// Packets refused by the ruleset.
    pub denied_packets: u64,
    /// Whether raw frames are held on every device.
    pub raw_guard: bool,
    /// What the kernel lacks and the ruleset does without.
    pub missing: Vec<nft::Missing>,
    /// What went wrong last.
    pub last_error: Option<LastError>,
    complaints: Lines,
    pub(super) ended: Lines,
}

impl FenceView {
    /// Notes what went wrong, and logs it, a bounded number of times a second: it may be an app that makes it go wrong.
    pub fn complain(&mut self, what: String) {
        if let Some(left_out) = self.complaints.due(Instant::now(), LINES_A_SECOND) {
            tracing::warn!(left_out, "{what}");
        }
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.last_error = Some(LastError { at, what });
    }

    /// Takes in what an installation did, and says what the kernel lacks.
    pub fn note(&mut self, installed: &nft::Installed) {
        self.raw_guard = match &installed.raw_guard {
            nft::RawGuardState::Standing(_) => true,
            nft::RawGuardState::Off => false,
            nft::RawGuardState::Missing(why) => {
                if self.loads == 0 {
                    tracing::warn!(why = crate::exit::chain(why), "raw frames are not held; containers with NET_RAW can get out");
                }
                false
            }
        };
        // A later installation does not try again what an earlier one found out.
        let new: Vec<nft::Missing> = installed.missing.iter().filter(|missing| !self.missing.contains(missing)).copied().collect();
        self.missing.extend(new);
        tracing::debug!(kept = installed.kept, added = installed.added, removed = installed.removed, "ruleset installed");
    }
}
