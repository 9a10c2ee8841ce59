//! `portreeve status` for people: how the sidecar is, the files and the resolvers it goes by, as aligned tables.

use crate::ask::paint::paint;
use crate::ask::table::{Table, tame};
use crate::record::Timestamp;
use crate::status::{PolicyFileStatus, Status, UpstreamStatus};

/// Hexadecimal digits of a fingerprint that are shown: as many as tell files apart.
const DIGITS: usize = 12;

/// The tables, and whose view it is.
pub fn render(status: &Status) -> String {
    let mut parts = vec![state(status)];
    if !status.policies.is_empty() {
        parts.push(files(&status.policies));
    }
    if !status.upstreams.is_empty() {
        parts.push(resolvers(&status.upstreams));
    }
    parts.push("(as the sidecar sees itself; what the kernel has: portreeve leases, portreeve doctor)".to_owned());
    parts.join("\n\n")
}

fn state(status: &Status) -> String {
    let head = match &status.not_ready_because {
        Some(why) => format!("{}: {}", paint("not ready"), tame(why.lines().next().unwrap_or_default())),
        None => paint("ready"),
    };
    let selecting = status.policies.iter().filter(|file| file.selects_this_pod).count();
    let Status { renewals, queries, .. } = status;
    let mut table = Table::new(&["mode", &mode(status)]);
    let mut line = |what: &str, says: String| table.row(vec![what.to_owned(), says]);
    line("version", format!("{}, worker {}", status.version, status.pid));
    let loads = format!("rules {}, generation {}, loads {}", status.rules, status.generation, status.loads);
    line("policy", format!("files that select this pod: {selecting} of {}, {loads}", status.policies.len()));
    line("leases", format!("addresses open: {}", status.leases));
    line(
        "renewals",
        format!(
            "asked again {}, waiting {}, leases kept {}, looked up after a refusal {}",
            renewals.asked, renewals.waiting, renewals.kept, renewals.ended_looked_up
        ),
    );
    line(
        "questions",
        format!(
            "received {}, refused {}, out of the cache {}, failed {}, dropped {}, withheld {}",
            queries.received, queries.refused, queries.cached, queries.servfail, queries.dropped, queries.withheld
        ),
    );
    line("raw frames", if status.raw_guard { "held" } else { "not held" }.to_owned());
    line("ruleset", format!("vanished and was put back: {}", status.table_restored));
    if let Some(error) = &status.last_error {
        let at = Timestamp::from_millis(error.at.saturating_mul(1000));
        line("last error", format!("{at} {}", error.what.lines().next().unwrap_or_default()));
    }
    format!("{head}\n{}", table.render())
}

fn mode(status: &Status) -> String {
    if status.mode == "audit" { "audit: nothing is held".to_owned() } else { status.mode.clone() }
}

fn files(files: &[PolicyFileStatus]) -> String {
    let mut table = Table::new(&["policy file", "mode", "sha256", "selects this pod"]).verdicts_in(1);
    for file in files {
        table.row(vec![
            file.path.clone(),
            file.mode.clone().unwrap_or_else(|| "-".to_owned()),
            file.sha256.chars().take(DIGITS).collect(),
            if file.selects_this_pod { "yes" } else { "no" }.to_owned(),
        ]);
    }
    table.render()
}

fn resolvers(upstreams: &[UpstreamStatus]) -> String {
    let mut table = Table::new(&["resolver", "state", "round trip"]).verdicts_in(1);
    for upstream in upstreams {
        table.row(vec![
            upstream.address.clone(),
            if upstream.answers { "answers" } else { "silent" }.to_owned(),
            upstream.round_trip_us.map_or_else(|| "-".to_owned(), |time| format!("{time} us")),
        ]);
    }
    table.render()
}
