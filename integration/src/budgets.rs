//! The budgets of the sidecar, measured from outside: start to ready, resident memory, size of the binary, time added to a question.
//!
//! The time added is the difference between pods of one world that ask the same NSD for names nobody asked before, in turn: one
//! directly, one held by a policy, where each answer is a new lease, and two through dnsmasq: one that forwards and holds nothing, one
//! that puts each answer into an nftables set (`--nftset`), the nearest tool a user would pick. Medians of alternating runs.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use crate::command::Running;
use crate::pod::Pod;
use crate::product::{Setup, binary};
use crate::question;
use crate::servers::Nsd;
use crate::world::World;

/// Runs of each kind; they alternate.
const RUNS: usize = 5;
/// Questions a run.
const QUESTIONS: usize = 700;
/// Starts that are timed.
const STARTS: usize = 15;

const POLICY: &str = "version = 1\nname = \"bench\"\n[[allow]]\nname = \"all\"\nhosts = [\"*.bench.test\"]\nports = [\"443\"]\nbudget = { names = 100000, bytes = 16777216 }\n";

/// Measures everything; takes about half a minute.
///
/// # Panics
/// When the world or the product does not work.
#[must_use]
pub fn report() -> String {
    let world = World::new();
    let records: String = (0..RUNS * QUESTIONS).map(|n| format!("n{n} 300 IN A 198.18.{}.{}\n", n / 250, 1 + n % 250)).collect();
    let nsd = Nsd::start(&world, [203, 0, 113, 53].into(), "bench.test", &records);

    let mut out = String::from("budget                                   measured            must be\n");
    let size = std::fs::metadata(binary()).expect("the binary").len();
    let _ = writeln!(out, "size of the binary                       {:<19} <= 6 MiB", mib(size));

    let mut starts: Vec<f64> = (0..STARTS).map(|n| start_to_ready(&world, n, &nsd)).collect();
    let _ = writeln!(out, "start to ready, median of {STARTS:<2} (min, max)  {:<19} <= 50 ms", spread(&mut starts, "ms"));

    let pod = world.pod("held");
    let held = Setup::new(&pod).policy("bench.toml", POLICY).upstream(nsd.address()).start();
    std::thread::sleep(Duration::from_secs(2));
    let (supervisor, worker) = (resident(held.supervisor()), resident(held.worker()));
    let _ = writeln!(out, "idle RSS: worker + supervisor            {:<19} <= 8 MiB", format!("{} + {}", mib(worker.0), mib(supervisor.0)));
    let _ = writeln!(out, "  of it not shared with others (PSS)     {:<19}", format!("{} + {}", mib(worker.1), mib(supervisor.1)));

    let (direct, forwarding, filling) = (world.pod("direct"), world.pod("forward"), world.pod("nftset"));
    filling.load_nft("table inet bench {\n set open { type ipv4_addr; flags timeout; timeout 5m; }\n}\n");
    let _forwarder = dnsmasq(&forwarding, nsd.address(), &[]);
    let _filler = dnsmasq(&filling, nsd.address(), &["--nftset=/bench.test/4#inet#bench#open"]);
    let local = std::net::SocketAddr::from(([127, 0, 0, 1], 53));
    let ways = [(&direct, nsd.address()), (&pod, nsd.address()), (&forwarding, local), (&filling, local)];
    let mut times: [Vec<f64>; 4] = Default::default();
    for run in 0..RUNS {
        for (way, (pod, resolver)) in ways.iter().enumerate() {
            // The same names for all: each pod asks for them for the first time, NSD answers from memory.
            let names: Vec<String> = (run * QUESTIONS..(run + 1) * QUESTIONS).map(|n| format!("n{n}.bench.test")).collect();
            times[way].push(pod.run(|| question::median_microseconds(*resolver, &names)));
        }
    }
    let [mut of_direct, mut of_held, of_forwarder, of_filler] = times;
    let added = |through: &[f64]| through.iter().zip(&of_direct).map(|(through, direct)| through - direct).collect::<Vec<f64>>();
    let (mut ours, mut forwarders, mut fillers) = (added(&of_held), added(&of_forwarder), added(&of_filler));
    let _ = writeln!(out, "a direct question, median of {RUNS} (min, max) {}", spread(&mut of_direct, "us"));
    let _ = writeln!(out, "the same with a new lease                {}", spread(&mut of_held, "us"));
    let _ = writeln!(out, "added by portreeve                       {:<19} <= 100 us", spread(&mut ours, "us"));
    let _ = writeln!(out, "added by dnsmasq, which holds nothing    {}", spread(&mut forwarders, "us"));
    let _ = writeln!(out, "added by dnsmasq with nftset             {}", spread(&mut fillers, "us"));
    let leases = held.status()["leases"].as_u64().unwrap_or(0);
    let after = resident(held.worker());
    let _ = writeln!(out, "leases then, and RSS of the worker       {leases}, {}", mib(after.0));
    out
}

/// dnsmasq on 127.0.0.1:53 of the pod, without its cache; it ends with the value.
fn dnsmasq(pod: &Pod, upstream: std::net::SocketAddr, more: &[&str]) -> Running {
    let server = format!("--server={}#{}", upstream.ip(), upstream.port());
    let fixed = ["--keep-in-foreground", "--no-resolv", "--no-hosts", "--cache-size=0", "--listen-address=127.0.0.1", "--bind-interfaces"];
    let command = pod.command("dnsmasq").args(fixed).args(["--user=root", "--pid-file=", "--conf-file=/dev/null"]).arg(server).args(more);
    let running = command.spawn();
    std::thread::sleep(Duration::from_millis(300));
    running
}

/// Milliseconds from the start of the process to "ready" on the control socket.
fn start_to_ready(world: &World, n: usize, nsd: &Nsd) -> f64 {
    let pod = world.pod(&format!("start{n}"));
    let started = Instant::now();
    let portreeve = Setup::new(&pod).policy("bench.toml", POLICY).upstream(nsd.address()).launch();
    let control = portreeve.control().to_owned();
    let deadline = started + Duration::from_secs(10);
    while Instant::now() < deadline {
        if ready(&control) {
            // `unshare`, `setpriv` and the shell of the guard are in it: about 10 ms that the product does not take.
            return started.elapsed().as_secs_f64() * 1e3;
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    panic!("not ready in 10 s:\n{}", portreeve.log());
}

fn ready(control: &std::path::Path) -> bool {
    let Ok(mut stream) = UnixStream::connect(control) else { return false };
    let mut answer = String::new();
    let asked = stream.write_all(b"status\n").and_then(|()| stream.read_to_string(&mut answer));
    asked.is_ok() && answer.contains("\"ready\":true")
}

/// RSS and PSS of a process, in bytes.
fn resident(pid: i32) -> (u64, u64) {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("smaps_rollup");
    let field = |name: &str| {
        let line = rollup.lines().find(|line| line.starts_with(name)).expect("the field");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
    };
    (field("Rss:"), field("Pss:"))
}

fn mib(bytes: u64) -> String {
    format!("{:.2} MiB", bytes as f64 / f64::from(1 << 20))
}

fn spread(values: &mut [f64], unit: &str) -> String {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
    format!("{:.1} {unit} ({:.1}, {:.1})", at(values.len() / 2), at(0), at(values.len().saturating_sub(1)))
}
