//! How the fence stands, for `status`: numbers and the last complaint.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::status::LastError;

/// Complaints that are logged in one second.
const LINES_A_SECOND: u32 = 10;

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
    /// Packets refused by the ruleset.
    pub denied_packets: u64,
    /// Whether raw frames are held on every device.
    pub raw_guard: bool,
    /// What went wrong last.
    pub last_error: Option<LastError>,
    /// The second of the last complaint, and the complaints in it.
    logged: (u64, u32),
}

impl FenceView {
    /// Notes what went wrong, and logs it, a bounded number of times a second: it may be an app that makes it go wrong.
    pub fn complain(&mut self, what: String) {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let (second, lines) = self.logged;
        self.logged = if second == at { (at, lines.saturating_add(1)) } else { (at, 1) };
        if self.logged.1 <= LINES_A_SECOND {
            tracing::warn!("{what}");
        }
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
        tracing::debug!(kept = installed.kept, added = installed.added, removed = installed.removed, "ruleset installed");
    }
}
