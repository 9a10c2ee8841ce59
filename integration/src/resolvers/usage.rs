//! What processes cost: CPU time to the nanosecond, resident memory; read from /proc from outside.
//!
//! The CPU time is the first figure of `/proc/PID/task/TID/schedstat`, the time that the thread was on a core. It is what
//! `utime + stime` of `/proc/PID/stat` add up to (the kernel scales these two to it), without their grain of 10 ms. Work that the kernel
//! does in soft interrupts on the thread's back is in it, unless the kernel was built with IRQ_TIME_ACCOUNTING: the delivery of a packet
//! over loopback or veth is thereby charged to who sent it. A thread that ends takes its time along; no contestant ends one under load.

use std::fs;

/// The process and everything below it, as pids of the caller's namespace.
pub(crate) fn family(root: i32) -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return vec![root] };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_string_lossy().parse::<i32>().ok());
    let parents: Vec<(i32, i32)> = pids.filter_map(|pid| Some((pid, parent_of(pid)?))).collect();
    let (mut family, mut at) = (vec![root], 0);
    while let Some(parent) = family.get(at).copied() {
        family.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    family
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything; state and parent follow it.
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// CPU time of all threads of the processes so far, in microseconds.
pub(crate) fn cpu_microseconds(processes: &[i32]) -> f64 {
    let tasks = processes.iter().filter_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).ok()).flatten().flatten();
    let times = tasks.filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok());
    times.filter_map(|line| line.split(' ').next()?.parse::<f64>().ok()).sum::<f64>() / 1e3
}

/// Resident memory of the processes, in bytes.
pub(crate) fn resident(processes: &[i32]) -> u64 {
    let lines = processes.iter().filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok());
    let kib =
        lines.filter_map(|text| text.lines().find_map(|line| line.strip_prefix("Rss:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok()));
    kib.sum::<u64>() * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_process_costs_what_it_was_busy() {
        let own = [i32::try_from(std::process::id()).unwrap()];
        let (before, start) = (cpu_microseconds(&own), std::time::Instant::now());
        while start.elapsed().as_millis() < 50 {
            std::hint::black_box(before);
        }
        // Less than the wall's time where others take the core; nothing at all would be a wrong file.
        assert!(cpu_microseconds(&own) - before > 5_000.0);
        assert!(resident(&own) > 1 << 20);
        assert!(family(own[0]).contains(&own[0]));
    }
}
