//! `portreeve policy replay`: recorded flows judged by a policy that is not in force yet.

use std::collections::HashMap;

use policies::{Pod, Policy, PolicyFile, Surroundings, Verdict};
use serde::Serialize;

use super::files::{self, Files};
use super::seen::{Seen, Target, Times, Workload};
use crate::ask::table::Table;
use crate::cli::ReplayArgs;
use crate::exit::{Exit, Failure};
use crate::loader::today;
use crate::output;

/// What changes for flows that are alike.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Change {
    workload: String,
    names: Vec<String>,
    address: std::net::IpAddr,
    port: u16,
    transport: String,
    count: u64,
    because: String,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Report {
    newly_refused: Vec<Change>,
    newly_permitted: Vec<Change>,
    still_permitted: u64,
    still_refused: u64,
    lost: u64,
    foreign_lines: u64,
}

/// Why nothing was replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// "0 newly refused" of nothing would read as a proof.
    #[error("no flow is in these logs ({lines} lines of flow log, {foreign} others): nothing was tried")]
    Nothing {
        /// Lines of ours.
        lines: u64,
        /// Lines that are something else.
        foreign: u64,
    },
}

/// Runs it; exit 1 if the policy would refuse a flow that passed.
pub fn run(args: &ReplayArgs) -> Result<Exit, Failure> {
    let files = Files::read(std::slice::from_ref(&args.policy))?;
    let parsed = files.whole_or_report()?;
    let seen = Seen::read(&args.flows)?;
    if seen.flows.is_empty() {
        return Err(Failure::usage(ReplayError::Nothing { lines: seen.passed.lines, foreign: seen.passed.foreign }));
    }
    let given = files::pod(&args.pod)?;
    let mut policies: HashMap<Workload, Policy> = HashMap::new();
    let mut report = Report { lost: seen.lost + seen.beyond, foreign_lines: seen.passed.foreign, ..Report::default() };
    for (target, times) in &seen.flows {
        if !policies.contains_key(&target.workload) {
            let compiled = compile(parsed, given.clone().unwrap_or_else(|| pod_of(&target.workload)))?;
            policies.insert(target.workload.clone(), compiled);
        }
        let Some(policy) = policies.get(&target.workload) else { continue };
        report.take(policy, target, times);
    }
    if args.json {
        output::json(&report)?;
    } else {
        output::line(&report.text())?;
    }
    Ok(if report.newly_refused.is_empty() { Exit::Success } else { Exit::Refused })
}

fn compile(files: &[PolicyFile], pod: Pod) -> Result<Policy, Failure> {
    Policy::compile(files, &pod, &Surroundings::stand_in(today())).map_err(|problems| files::broken(&problems))
}

/// The pod that the record is of, as far as it says.
fn pod_of(workload: &Workload) -> Pod {
    let mut pod = Pod { namespace: workload.namespace.clone(), name: workload.app.clone(), ..Pod::default() };
    if !workload.app.is_empty() {
        let told = [workload.label.as_str()];
        // A log that does not say which it was: either may be what a policy selects by.
        for label in if workload.label.is_empty() { &["app", "app.kubernetes.io/name"][..] } else { &told[..] } {
            pod.labels.insert((*label).to_owned(), workload.app.clone());
        }
    }
    pod
}

impl Report {
    fn take(&mut self, policy: &Policy, target: &Target, times: &Times) {
        let (permits, because) = judge(policy, target);
        let permits = permits || policy.mode() == policies::Mode::Audit;
        let change = || Change {
            workload: target.workload.to_string(),
            names: target.names.clone(),
            address: target.address,
            port: target.port,
            transport: target.transport.clone(),
            count: times.count,
            because,
        };
        match (target.passed, permits) {
            (true, true) => self.still_permitted += times.count,
            (false, false) => self.still_refused += times.count,
            (true, false) => self.newly_refused.push(change()),
            (false, true) => self.newly_permitted.push(change()),
        }
    }

    fn text(&self) -> String {
        let mut parts = Vec::new();
        for (title, changes) in [("would newly refuse", &self.newly_refused), ("would newly permit", &self.newly_permitted)] {
            if changes.is_empty() {
                continue;
            }
            let mut table = Table::new(&["count", "workload", "target", "port", "because"]);
            for change in changes {
                let target = if change.names.is_empty() { change.address.to_string() } else { change.names.join(" or ") };
                let port = if change.transport == "icmp" { "icmp".to_owned() } else { format!("{}/{}", change.port, change.transport) };
                table.row(vec![change.count.to_string(), change.workload.clone(), target, port, change.because.clone()]);
            }
            parts.push(format!("{title}:\n{}", table.render()));
        }
        let flows = |changes: &[Change]| changes.iter().map(|change| change.count).sum::<u64>();
        let mut sum = format!(
            "{} flows newly refused, {} newly permitted, {} permitted as before, {} refused as before",
            flows(&self.newly_refused),
            flows(&self.newly_permitted),
            self.still_permitted,
            self.still_refused
        );
        if self.lost > 0 {
            sum.push_str(&format!("\nthe log is not whole: {} records of what was lost are in it", self.lost));
        }
        if self.foreign_lines > 0 {
            sum.push_str(&format!("\n{} lines are no flow log and were passed over", self.foreign_lines));
        }
        parts.push(sum);
        parts.join("\n\n")
    }
}

/// Whether the policy would let the flow pass: by any of its names with its address and port, or by its address alone.
fn judge(policy: &Policy, target: &Target) -> (bool, String) {
    let Some(protocol) = target.protocol() else { return (false, "no rule can open this protocol".to_owned()) };
    let explain = |host| policies::explain(policy, &policies::Target { host, port: Some((protocol, target.port)) });
    let by_address = explain(policies::TargetHost::Address(target.address));
    if by_address.verdict == policies::Decision::Permitted {
        return (true, by_address.because);
    }
    let mut because = by_address.because;
    for name in target.names.iter().filter_map(|name| policies::Name::parse(name).ok()) {
        if let Verdict::Granted(mut grant) = policy.judge(&name) {
            if let Err(why) = grant.permits_address(target.address) {
                because = why.to_string();
                continue;
            }
            grant.follow(&name);
            let open = grant.openings_for(target.address).filter_map(|index| policy.opening(index));
            if open.into_iter().any(|opening| opening.ports.contains(protocol, target.port)) {
                return (true, String::new());
            }
        }
        because = explain(policies::TargetHost::Name(name)).because;
    }
    (false, because)
}
