//! `portreeve doctor`: what keeps the sidecar from its work, or apps from theirs; each finding with a hint and where to read on.

pub mod files;
pub mod finding;
pub mod kernel;
pub mod sidecar;
#[cfg(test)]
mod tests;

use self::finding::{Finding, View, Weight, render};
use crate::cli::DoctorArgs;
use crate::control::client;
use crate::exit::{Exit, Failure, chain};
use crate::output;
use crate::status::Status;

/// Runs it; exit 1 if something is a problem.
pub fn run(args: &DoctorArgs) -> Result<Exit, Failure> {
    let findings = look(args);
    if args.running.json {
        output::json(&findings)?;
    } else {
        output::people(&render(&findings))?;
    }
    let worst = findings.iter().map(|finding| finding.weight).max();
    Ok(if worst == Some(Weight::Problem) { Exit::Refused } else { Exit::Success })
}

fn look(args: &DoctorArgs) -> Vec<Finding> {
    let control = &args.running.control;
    let status: Status = match client::ask(control, "status") {
        Ok(status) => status,
        Err(error) => {
            let hint = "start it, or name its control socket: --control";
            return vec![View::Sidecar.problem("sidecar", chain(&error), hint, "#not-ready")];
        }
    };
    let mut findings = vec![kernel::clock()];
    findings.extend(sidecar::of_status(&status));
    findings.extend(sidecar::of_conditions(&status));
    findings.push(sidecar::capabilities(status.pid));
    findings.push(sidecar::leases(control));
    findings.extend(kernel::look(&status));
    findings.extend(files::resolvers(&args.resolv_conf, &status));
    findings.extend(files::hosts(&args.hosts, control));
    findings
}
