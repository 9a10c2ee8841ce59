//! What the log of flows costs: CPU, latency and memory with it (on stdout, or for the command line alone) beside the same without it.
//!
//! Pods of one world, each behind the same policy, take turns; medians of alternating runs. The CPU time is that of the sidecar's processes;
//! what the kernel does for the ruleset on the app's back is in the latency of its connections.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::clients::dig;
use crate::resolvers::usage::{cpu_microseconds, family, resident};
use crate::{Pod, Portreeve, Setup, TcpTarget, World};

const POLICY: &str =
    "version = 1\nname = \"bench\"\n[[allow]]\nname = \"all\"\nhosts = [\"*.bench.test\"]\nports = [\"443\", \"9000/udp\"]\n";
const MODES: [&str; 3] = ["off", "none", "stdout"];
/// Names, each with an address of its own.
const NAMES: u8 = 50;
/// New connections a second.
const RATE: u32 = 2_000;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Runs of each kind; they alternate.
    pub runs: usize,
    /// Seconds of a run.
    pub seconds: u32,
    /// Flows after which memory is looked at.
    pub flows: u32,
}

impl Plan {
    /// Some fifteen minutes.
    pub const FULL: Plan = Plan { runs: 5, seconds: 6, flows: 1_000_000 };
    /// Nine minutes: of the rates a single short run, of memory all.
    pub const MEMORY: Plan = Plan { runs: 1, seconds: 2, flows: 1_000_000 };
    /// A minute and a half.
    pub const QUICK: Plan = Plan { runs: 3, seconds: 3, flows: 60_000 };
}

/// What one mode took.
#[derive(Debug, Default)]
struct Cost {
    /// Microseconds of CPU a connection.
    cpu: Vec<f64>,
    /// The median connect(), microseconds.
    connect: Vec<f64>,
    /// The 99th of a hundred.
    connect_p99: Vec<f64>,
    /// The median answer out of the cache meanwhile, microseconds.
    answer: Vec<f64>,
}

/// Measures everything.
///
/// # Panics
/// When the world or the product does not work.
#[must_use]
pub fn report(plan: Plan) -> String {
    let world = World::new();
    let authority = world.authority();
    for n in 1..=NAMES {
        authority.a(&name(n), &[&address(n).to_string()], 3600);
    }
    let _web = TcpTarget::on(world.outside(), "[::]:443", "");
    let pods = MODES.map(|mode| world.pod(mode));
    let held: Vec<Portreeve<'_>> = pods.iter().zip(MODES).map(|(pod, mode)| start(pod, mode)).collect();
    let mut costs: [Cost; 3] = Default::default();
    for _ in 0..plan.runs {
        for ((pod, held), cost) in pods.iter().zip(&held).zip(&mut costs) {
            run(pod, held, plan.seconds, cost);
        }
    }
    let mut out = format!("{RATE} new connections a second for {} s, median of {} alternating runs (min, max)\n", plan.seconds, plan.runs);
    let _ = writeln!(
        out,
        "{:<10}{:<28}{:<28}{:<28}{:<28}",
        "log", "CPU a connection, us", "connect(), median us", "connect(), p99 us", "answer meanwhile, us"
    );
    for (mode, cost) in MODES.iter().zip(&mut costs) {
        let columns = [&mut cost.cpu, &mut cost.connect, &mut cost.connect_p99, &mut cost.answer].map(|values| spread(values));
        let _ = writeln!(out, "{mode:<10}{:<28}{:<28}{:<28}{:<28}", columns[0], columns[1], columns[2], columns[3]);
    }
    drop(held);
    let _ = writeln!(out, "\n{} flows, {RATE} a second", plan.flows);
    let pods = MODES.map(|mode| world.pod(&format!("fill-{mode}")));
    let filled: Vec<(String, u64)> = std::thread::scope(|scope| {
        let filling = pods.iter().zip(MODES).map(|(pod, mode)| scope.spawn(move || fill(pod, mode, plan.flows)));
        let filling: Vec<_> = filling.collect();
        filling.into_iter().map(|filling| filling.join().expect("the flows")).collect()
    });
    let after: Vec<u64> = filled.iter().map(|(_, after)| *after).collect();
    filled.iter().for_each(|(text, _)| out.push_str(text));
    let more = |of: usize| (after[of] as f64 - after[0] as f64) / f64::from(1 << 20);
    let _ = writeln!(out, "more than without a log: none {:+.2} MiB, stdout {:+.2} MiB   <= 4 MiB", more(1), more(2));
    out
}

fn start<'a>(pod: &'a Pod, mode: &str) -> Portreeve<'a> {
    let held = Setup::new(pod).policy("bench.toml", POLICY).option("--flow-log", mode).start();
    for n in 1..=NAMES {
        assert_eq!(dig(pod, &[&name(n)]).status, "NOERROR");
    }
    held
}

fn run(pod: &Pod, held: &Portreeve<'_>, seconds: u32, cost: &mut Cost) {
    let processes = family(held.supervisor());
    let before = cpu_microseconds(&processes);
    let stop = AtomicBool::new(false);
    let connections = RATE * seconds;
    let (mut connects, mut answers) = std::thread::scope(|scope| {
        let asking = scope.spawn(|| pod.run(|| ask_until(&stop)));
        let connects = pod.run(|| connect_all(connections));
        stop.store(true, Ordering::Relaxed);
        (connects, asking.join().expect("the questions"))
    });
    // What is gathered is told within the window.
    std::thread::sleep(Duration::from_secs(6));
    cost.cpu.push((cpu_microseconds(&processes) - before) / f64::from(connections));
    connects.sort_by(f64::total_cmp);
    answers.sort_by(f64::total_cmp);
    cost.connect.push(connects[connects.len() / 2]);
    cost.connect_p99.push(connects[connects.len() * 99 / 100]);
    cost.answer.push(answers[answers.len() / 2]);
}

fn connect_all(connections: u32) -> Vec<f64> {
    let began = Instant::now();
    let mut times = Vec::with_capacity(connections as usize);
    for number in 0..connections {
        let due = began + Duration::from_secs(1) * number / RATE;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let start = Instant::now();
        let stream = TcpStream::connect((address(1 + (number % u32::from(NAMES)) as u8), 443)).expect("a permitted connection");
        times.push(start.elapsed().as_secs_f64() * 1e6);
        drop(stream);
    }
    times
}

/// A question every 5 ms, answered out of the cache.
fn ask_until(stop: &AtomicBool) -> Vec<f64> {
    let mut times = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        times.push(crate::question::median_microseconds(SocketAddr::from((crate::world::RESOLVER, 53)), &[name(1)]));
        std::thread::sleep(Duration::from_millis(5));
    }
    times
}

/// So many UDP flows, each of a source port and destination of its own; memory after them.
fn fill(pod: &Pod, mode: &str, flows: u32) -> (String, u64) {
    let held = start(pod, mode);
    std::thread::sleep(Duration::from_secs(2));
    let before = resident(&[held.worker()]);
    pod.run(|| {
        let began = Instant::now();
        for number in 0..flows {
            if number % 50 == 0 {
                let due = began + Duration::from_secs(1) * (number / 50) / (RATE / 50);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            let port = 10_000 + (number % 50_000) as u16;
            // Fifty thousand source ports, then the next destination: no flow is one that there was in the last minutes.
            let to = address(1 + ((number / 50_000) % u32::from(NAMES)) as u8);
            // A few are the resolver's, for its own questions.
            let Ok(socket) = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)) else { continue };
            let _nobody_listens = socket.send_to(b"x", (to, 9000));
        }
    });
    std::thread::sleep(Duration::from_secs(7));
    let after = resident(&[held.worker()]);
    let lost: u64 = held.flow_log().iter().filter_map(|line| line["lost.count"].as_u64()).sum();
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let text = format!("{mode:<10}RSS of the worker {:.2} MiB, then {:.2} MiB; told as lost: {lost}\n", mib(before), mib(after));
    (text, after)
}

fn name(n: u8) -> String {
    format!("n{n}.bench.test")
}

fn address(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, n)
}

fn spread(values: &mut [f64]) -> String {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    format!("{:.1} ({:.1}, {:.1})", at(values.len() / 2), at(0), at(values.len().saturating_sub(1)))
}
