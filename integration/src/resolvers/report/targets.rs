//! The figures that Portreeve must reach, each from rows of the same run.

use serde::Serialize;

use super::Row;
use crate::resolvers::{Contestant, Plan};

/// One figure beside what it must be.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Target {
    /// What was measured.
    pub figure: &'static str,
    /// The figure.
    pub measured: String,
    /// What it must be.
    pub must: String,
    /// Whether it is.
    pub reached: bool,
}

/// All figures whose contestants were measured.
pub(super) fn all(plan: Plan, rows: &[Row]) -> Vec<Target> {
    let of = |contestant| rows.iter().find(|row| row.contestant == contestant);
    let Some(ours) = of(Contestant::Portreeve) else { return Vec::new() };
    let peers: Vec<&Row> = rows.iter().filter(|row| row.contestant.is_peer()).collect();
    let floor = of(Contestant::Echo);
    let relay = of(Contestant::Relay);
    let dnsmasq = rows.iter().filter(|row| row.contestant.is_dnsmasq()).map(|row| row.cold_per_second).max_by(f64::total_cmp);
    let large = of(Contestant::PortreeveLarge);
    let least = |figure: fn(&Row) -> f64| peers.iter().map(|row| figure(row)).min_by(f64::total_cmp);
    let plain = [Contestant::Unbound, Contestant::Knot].into_iter().filter_map(of).map(|row| row.cold_per_second).max_by(f64::total_cmp);
    let mib = |bytes: f64| bytes / f64::from(1 << 20);

    let found = [
        floor.map(|echo| most("hot: CPU a query, over the bare echo", ours.hot_microseconds - echo.hot_microseconds, 1.5, "us")),
        least(|row| row.hot_microseconds).map(|best| most("hot: CPU a query, the best peer's", ours.hot_microseconds, best, "us")),
        relay.map(|relay| {
            most("cold: CPU a query with its lease, over the bare relay", ours.cold_microseconds - relay.cold_microseconds, 8.0, "us")
        }),
        ours.open.map(|open| least_of("cold: addresses open in the kernel, of names asked", open as f64, plan.names() as f64, "")),
        dnsmasq.map(|other| least_of("cold: answers a second, times the fastest dnsmasq+nftset", ours.cold_per_second / other, 8.0, "x")),
        plain.map(|best| least_of("cold: answers a second, Unbound and knot", ours.cold_per_second, best, "/s")),
        of(Contestant::Dnsdist).map(|other| least_of("  the aim: dnsdist", ours.cold_per_second, other.cold_per_second, "/s")),
        ours.added_microseconds.map(|added| most("serial: added to a direct question, with a new lease", added, 40.0, "us")),
        Some(most("RSS, idle", mib(ours.idle_bytes), 6.0, "MiB")),
        Some(most("RSS, every name leased", mib(ours.full_bytes), 12.0, "MiB")),
        ours.denied_microseconds.map(|denied| most("denied: CPU a refusal, a hot answer's", denied, ours.hot_microseconds, "us")),
        large.map(|large| flat("policy of 10,000 hosts, hot: CPU a query, of 10", large.hot_microseconds / ours.hot_microseconds)),
        large.map(|large| flat("policy of 10,000 hosts, cold: CPU a query, of 10", large.cold_microseconds / ours.cold_microseconds)),
    ];
    found.into_iter().flatten().collect()
}

fn most(figure: &'static str, measured: f64, must: f64, unit: &str) -> Target {
    Target { figure, measured: format!("{measured:.2} {unit}"), must: format!("<= {must:.2} {unit}"), reached: measured <= must }
}

fn least_of(figure: &'static str, measured: f64, must: f64, unit: &str) -> Target {
    let digits = if must < 100.0 { 2 } else { 0 };
    Target {
        figure,
        measured: format!("{measured:.digits$} {unit}").trim_end().to_owned(),
        must: format!(">= {must:.digits$} {unit}").trim_end().to_owned(),
        reached: measured >= must,
    }
}

fn flat(figure: &'static str, ratio: f64) -> Target {
    most(figure, ratio, 1.1, "x")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(contestant: Contestant, cold_microseconds: f64) -> Row {
        Row {
            contestant,
            hot_per_second: 1e5,
            hot_microseconds: 6.0,
            cold_per_second: 1e6 / cold_microseconds,
            cold_microseconds,
            denied_microseconds: None,
            serial_microseconds: None,
            added_microseconds: None,
            idle_bytes: 5e6,
            full_bytes: 9e6,
            open: Some(20_600),
            lost: 0,
            other_codes: 0,
        }
    }

    fn cold(ours: f64) -> Vec<bool> {
        let rows = [row(Contestant::Relay, 12.0), row(Contestant::Dnsmasq, 200.0), row(Contestant::Portreeve, ours)];
        let of_cold = |target: &Target| target.figure.starts_with("cold: CPU") || target.figure.contains("times the fastest");
        all(Plan::FULL, &rows).iter().filter(|target| of_cold(target)).map(|target| target.reached).collect()
    }

    #[test]
    fn what_is_too_dear_is_not_reached() {
        assert_eq!(cold(19.9), [true, true]);
        assert_eq!(cold(20.1), [false, true]);
        assert_eq!(cold(25.1), [false, false], "7.97 times dnsmasq");
    }

    #[test]
    fn a_lease_too_few_is_told() {
        let mut ours = row(Contestant::Portreeve, 10.0);
        ours.open = Some(Plan::FULL.names() - 1);
        let told = all(Plan::FULL, &[ours]);
        assert!(told.iter().any(|target| target.figure.contains("open in the kernel") && !target.reached));
    }
}
