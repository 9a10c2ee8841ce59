//! `portreeve leases`: what is open now, by the kernel and by the sidecar, and what only one of them knows.

use serde::{Deserialize, Serialize};

use crate::ask::table::Table;
use crate::cli::LeasesArgs;
use crate::control::client;
use crate::exit::{Exit, Failure};
use crate::fence::listing::ListedLease;
use crate::output;

#[derive(Serialize, Deserialize)]
struct Answer {
    leases: Vec<ListedLease>,
}

/// Runs it.
pub fn run(args: &LeasesArgs) -> Result<Exit, Failure> {
    let answer: Answer = client::ask(&args.running.control, "leases").map_err(Failure::usage)?;
    if args.running.json {
        output::json(&answer)?;
    } else {
        output::people(&render(&answer.leases))?;
    }
    Ok(Exit::Success)
}

/// The table, and whose view it is.
pub fn render(leases: &[ListedLease]) -> String {
    let whose = "(the kernel's sets, joined with the sidecar's account of names)";
    if leases.is_empty() {
        return format!("no address is open by lease\n{whose}");
    }
    let mut table = Table::new(&["address", "ports", "closes in", "used", "names", "rule", "known to"]).verdicts_in(6);
    for lease in leases {
        let names = lease.names.iter().map(|named| match named.seconds {
            Some(seconds) if lease.names.len() > 1 => format!("{} ({seconds} s)", named.name),
            _ => named.name.clone(),
        });
        let known = match (lease.kernel_seconds, lease.sidecar) {
            (Some(_), true) => "both",
            (Some(_), false) => "KERNEL ALONE",
            (None, _) => "SIDECAR ALONE",
        };
        table.row(vec![
            lease.address.to_string(),
            lease.ports.clone(),
            lease.kernel_seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds} s")),
            if lease.in_use { "yes" } else { "no" }.to_owned(),
            names.collect::<Vec<_>>().join(", "),
            lease.rule.clone(),
            known.to_owned(),
        ]);
    }
    format!("{}\n{whose}", table.render())
}
