//! Keeps the shown certificate the newest sound one, and the metrics and the log true to it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use super::Shared;
use super::metrics::{CERTIFICATES, Metrics};
use crate::certificates::{Keeper, Looked};
use crate::exit::chain;

/// Looks for ever.
pub(super) async fn keep(mut keeper: Keeper, shared: Arc<Shared>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Looked { replaced, failing, told } = keeper.look(SystemTime::now());
        if replaced {
            shared.metrics.certificates.inc();
            shared.ends.store(keeper.ends(), Ordering::Relaxed);
            tracing::info!(ends = %humantime::format_rfc3339_seconds(keeper.ends_at()), "another certificate is shown");
        }
        if let Some(error) = told {
            shared.metrics.reloads_failed.with_label_values(&[CERTIFICATES]).inc();
            tracing::error!(error = %chain(&error), "cannot use what is mounted: the certificate before stays");
        }
        shared.metrics.reload_failing.with_label_values(&[CERTIFICATES]).set(failing.into());
        count(&shared.metrics, &keeper);
    }
}

/// When everything ends.
pub(super) fn count(metrics: &Metrics, keeper: &Keeper) {
    metrics.certificate_ends.set(keeper.ends());
    metrics.ca_ends.reset();
    for (ca, ends) in keeper.authorities_end() {
        metrics.ca_ends.with_label_values(&[ca]).set(ends);
    }
}
