//! One run of dnsperf in a pod, and what its report says.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::usage;
use crate::Pod;

/// Questions under way at once, over [`SOCKETS`] sockets of one thread: nothing is lost, and batches can form.
const UNDER_WAY: &str = "100";
const SOCKETS: &str = "4";
/// Seconds until a question counts as lost.
const LIMIT: &str = "5";

/// How much is asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Amount {
    /// Every name of the file once.
    Once,
    /// The file again and again for some seconds.
    Seconds(u32),
}

/// What one run gave.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Load {
    /// Questions that were answered.
    pub completed: u64,
    /// Questions that were not, within 5 s.
    pub lost: u64,
    /// Answers with another code than NOERROR.
    pub other_codes: u64,
    /// Answers a second.
    pub per_second: f64,
    /// CPU time of the contestant's processes an answer.
    pub cpu_microseconds: f64,
}

/// Asks `resolver` for the names of `file` from inside of the pod, while the CPU time of `processes` is counted.
///
/// # Panics
/// When dnsperf fails or says something else than it does today.
pub(super) fn run(pod: &Pod, resolver: SocketAddr, file: &Path, amount: Amount, processes: &[i32]) -> Load {
    let (address, port) = (resolver.ip(), resolver.port());
    let command = pod.command("dnsperf").args(["-T", "1", "-c", SOCKETS, "-q", UNDER_WAY, "-t", LIMIT, "-s"]).arg(address);
    let command = command.arg("-p").arg(port).arg("-d").arg(file.display()).within(Duration::from_secs(120));
    let command = match amount {
        Amount::Once => command.args(["-n", "1"]),
        Amount::Seconds(seconds) => command.arg("-l").arg(seconds),
    };
    let before = usage::cpu_microseconds(processes);
    let said = command.output().expect_ok("dnsperf");
    let taken = usage::cpu_microseconds(processes) - before;
    let mut load = read(&said).unwrap_or_else(|| panic!("dnsperf said something new:\n{said}"));
    load.cpu_microseconds = taken / load.completed.max(1) as f64;
    load
}

fn read(said: &str) -> Option<Load> {
    let field = |name: &str| said.lines().find_map(|line| line.trim().strip_prefix(name)).and_then(|rest| rest.split_whitespace().next());
    let completed = field("Queries completed:")?.parse().ok()?;
    let lost = field("Queries lost:")?.parse().ok()?;
    let per_second = field("Queries per second:")?.parse().ok()?;
    // `NOERROR 19990 (99.95%), NXDOMAIN 10 (0.05%)`; the line is not there when nothing was answered.
    let codes = said.lines().find_map(|line| line.trim().strip_prefix("Response codes:")).unwrap_or_default();
    let good = codes.split(',').find_map(|code| code.trim().strip_prefix("NOERROR ")?.split(' ').next()?.parse().ok()).unwrap_or(0);
    Some(Load { completed, lost, other_codes: completed.saturating_sub(good), per_second, cpu_microseconds: 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "Statistics:\n\n  Queries sent:         20\n  Queries completed:    19 (95.00%)\n  Queries lost:         1 (5.00%)\n\n  \
                        Response codes:       NOERROR 17 (89.47%), SERVFAIL 2 (10.53%)\n  Queries per second:   9500.500000\n";

    #[test]
    fn lost_and_refused_questions_are_not_taken_for_answers() {
        let load = read(SAID).unwrap();
        assert_eq!((load.completed, load.lost, load.other_codes), (19, 1, 2));
        assert!((load.per_second - 9500.5).abs() < 0.01);
        assert!(read(&SAID.replace("Queries lost", "Lost")).is_none(), "a report that is not understood is no report");
        let none = SAID.replace("Response codes:       NOERROR 17 (89.47%), SERVFAIL 2 (10.53%)", "");
        assert_eq!(read(&none).unwrap().other_codes, 19);
    }
}
