//! The product's log of flows and questions, read as it is written.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::{Portreeve, schema};

impl Portreeve<'_> {
    /// The lines of its log of flows and questions so far; each is held against the schema when it is first read.
    ///
    /// # Panics
    /// When a line of stdout is no JSON, or not as the schema says.
    #[must_use]
    pub fn flow_log(&self) -> Vec<serde_json::Value> {
        let text = self.running.stdout();
        // The last may be half written.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let lines: Vec<serde_json::Value> =
            whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|cause| panic!("{cause}: {line}"))).collect();
        for line in lines.iter().skip(self.checked.load(Relaxed)) {
            let faults = schema::faults(line);
            assert!(faults.is_empty(), "not as sidecar/schema/flow-log-1.json says: {line:#}\n{faults:#?}");
        }
        self.checked.fetch_max(lines.len(), Relaxed);
        lines
    }

    /// Waits for a line of that log that fits.
    ///
    /// # Panics
    /// With the whole log when there is none within `limit`.
    pub fn wait_flow(&self, what: &str, limit: Duration, fits: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let found = crate::wait_until(limit, || self.flow_log().into_iter().find(|line| fits(line)));
        found.unwrap_or_else(|| panic!("{what}: not told within {limit:?}:\n{}\n{}", self.running.stdout(), self.running.stderr()))
    }
}
