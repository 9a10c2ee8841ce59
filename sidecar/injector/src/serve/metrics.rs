//! What is counted for Prometheus; every label is one of a few words.

use std::time::Duration;

use prometheus::{Encoder, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

use super::{Path, Reviewed};

/// What is mounted and may change: the label `what`.
pub(super) const CERTIFICATES: &str = "certificates";
pub(super) const SETTINGS: &str = "settings";

/// All of it.
pub(super) struct Metrics {
    registry: Registry,
    reviews: IntCounterVec,
    duration: HistogramVec,
    pub(super) refused: IntCounterVec,
    pub(super) connections: IntGauge,
    pub(super) connections_ended: IntCounterVec,
    pub(super) ca_ends: IntGaugeVec,
    pub(super) certificate_ends: IntGauge,
    pub(super) certificates: IntCounter,
    pub(super) reloads_failed: IntCounterVec,
    pub(super) reload_failing: IntGaugeVec,
}

impl Metrics {
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
            let made = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(made.clone()))?;
            Ok(made)
        };
        let gauges = |name: &str, help: &str, label: &str| -> Result<IntGaugeVec, prometheus::Error> {
            let made = IntGaugeVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(made.clone()))?;
            Ok(made)
        };
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let made = IntGauge::new(name, help)?;
            registry.register(Box::new(made.clone()))?;
            Ok(made)
        };
        let duration = HistogramOpts::new(
            "portreeve_injector_review_duration_seconds",
            "From a request's head to its answer, the reading of its body included.",
        );
        let duration = duration.buckets(vec![0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 1.0, 5.0]);
        let duration = HistogramVec::new(duration, &["path"])?;
        registry.register(Box::new(duration.clone()))?;
        let certificates =
            IntCounter::new("portreeve_injector_certificates_total", "Certificates shown since the start, one after the other.")?;
        registry.register(Box::new(certificates.clone()))?;
        let metrics = Metrics {
            reviews: counters("portreeve_injector_reviews_total", "AdmissionReviews answered.", &["path", "verdict", "reason"])?,
            duration,
            refused: counters("portreeve_injector_requests_refused_total", "Requests refused unread.", &["why"])?,
            connections: gauge("portreeve_injector_connections", "Open connections of the webhook's port.")?,
            connections_ended: counters("portreeve_injector_connections_ended_total", "Connections that ended.", &["how"])?,
            ca_ends: gauges("portreeve_injector_ca_expires_timestamp_seconds", "When the mounted CA ends (tls), and the next one.", "ca")?,
            certificate_ends: gauge("portreeve_injector_certificate_expires_timestamp_seconds", "When the serving certificate ends.")?,
            certificates,
            reloads_failed: counters("portreeve_injector_reloads_failed_total", "Changes that could not be used.", &["what"])?,
            reload_failing: gauges(
                "portreeve_injector_reload_failing",
                "1 while what is mounted cannot be used: the one before stays.",
                "what",
            )?,
            registry: registry.clone(),
        };
        // From the start, at 0: `increase()` does not see a counter that comes into being with its first failure.
        for what in [CERTIFICATES, SETTINGS] {
            metrics.reloads_failed.with_label_values(&[what]);
            metrics.reload_failing.with_label_values(&[what]);
        }
        metrics.certificates.inc();
        Ok(metrics)
    }

    /// An answer that took `time`.
    pub(super) fn reviewed(&self, path: Path, reviewed: &Reviewed, time: Duration) {
        let path = match path {
            Path::Pods => "pods",
            Path::EnforcedPods => "pods-under-pod-security",
            Path::ConfigMaps => "configmaps",
        };
        self.reviews.with_label_values(&[path, reviewed.verdict, reviewed.reason]).inc();
        self.duration.with_label_values(&[path]).observe(time.as_secs_f64());
    }

    /// The exposition.
    pub(super) fn text(&self) -> Result<String, prometheus::Error> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}
