//! What the proxy itself costs a query, over loopback, with a gate that says yes at once: processor time and added latency.
//!
//! `cargo bench -p dnsproxy` prints a table. Each row runs alone: one client thread, one thread for the proxy (as in the pod), one for
//! the upstream. Processor time is the proxy thread's own, from the kernel's scheduler (`schedstat`), system calls included.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, clippy::panic, reason = "a report, not production code")]

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use dnsproxy::{Config, Gate, Limits, OpenError, Opened, PermittedAnswer, Proxy, RecordType};
use hickory_proto::{
    op::{Message, Query},
    rr::{Name, RData, Record, rdata::A},
};
use policies::{Date, Pod, Policy, Source, Surroundings, parse};
use tokio::sync::oneshot;

/// Queries of each row, after a tenth as many to warm up.
const QUERIES: usize = 20_000;

/// Queries that a loaded client keeps waiting.
const WINDOW: usize = 32;

struct Yes;

impl Gate for Yes {
    fn open(&mut self, answers: &[PermittedAnswer]) -> Vec<Result<Opened, OpenError>> {
        let until = Instant::now() + Duration::from_secs(3600);
        answers.iter().map(|_| Ok(Opened { until })).collect()
    }

    fn nothing(&mut self, _: &policies::Name, _: bool) {}

    fn names_of(&self, _: IpAddr) -> Vec<(policies::Name, Instant)> {
        Vec::new()
    }

    fn epoch(&self) -> u64 {
        0
    }
}

/// One way to be asked.
#[derive(Clone, Copy, PartialEq)]
enum Row {
    Echo,
    Direct,
    Refused,
    Empty,
    Hot,
    Cold,
}

fn main() {
    println!("{:<34} {:>14} {:>18} {:>14}", "", "serial median", "processor a query", "queries/s");
    for (row, label) in [
        (Row::Echo, "bare echo, same loop (the floor)"),
        (Row::Direct, "upstream asked directly"),
        (Row::Refused, "refused name"),
        (Row::Empty, "HTTPS of a permitted name"),
        (Row::Hot, "permitted name, out of the cache"),
        (Row::Cold, "permitted name, asked for upstream"),
    ] {
        let serial = measure(row, 1);
        let loaded = measure(row, WINDOW);
        let processor = match row {
            Row::Direct => "-".into(),
            _ => format!("{:.1} µs", loaded.processor),
        };
        println!("{label:<34} {:>11.1} µs {processor:>18} {:>14.0}", serial.median, loaded.rate);
    }
}

struct Figures {
    median: f64,
    processor: f64,
    rate: f64,
}

/// Asks with `window` queries waiting at any time.
fn measure(row: Row, window: usize) -> Figures {
    let upstream = Upstream::start();
    let (name, rtype) = match row {
        Row::Refused => ("n000000.example.org.", RecordType::A),
        Row::Empty => ("n000000.example.com.", RecordType::HTTPS),
        Row::Echo | Row::Direct | Row::Hot | Row::Cold => ("n000000.example.com.", RecordType::A),
    };
    let server = Server::start(row, upstream.address);
    let target = match row {
        Row::Direct => upstream.address,
        _ => server.address,
    };
    let mut query = Message::query();
    query.metadata.recursion_desired = true;
    query.queries.push(Query::query(Name::from_ascii(name).unwrap(), rtype));
    let mut bytes = query.to_vec().unwrap();

    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    client.connect(target).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut sent_at = vec![Instant::now(); usize::from(u16::MAX) + 1];
    let mut times = Vec::with_capacity(QUERIES);
    let mut send = |number: usize, sent_at: &mut Vec<Instant>| {
        if row == Row::Cold {
            // A name that nobody asked for before: its digits are behind the header and the label's length and first letter.
            bytes[14..20].copy_from_slice(format!("{number:06}").as_bytes());
        }
        let id = u16::try_from(number).unwrap();
        bytes[..2].copy_from_slice(&id.to_be_bytes());
        sent_at[usize::from(id)] = Instant::now();
        client.send(&bytes).unwrap();
    };
    let mut buffer = [0; 2048];
    let (mut next, mut start, mut processor) = (0, Instant::now(), 0);
    for received in 0..QUERIES / 10 + QUERIES {
        if received == QUERIES / 10 {
            (start, processor) = (Instant::now(), server.processor());
            times.clear();
        }
        while next < received + window {
            send(next, &mut sent_at);
            next += 1;
        }
        client.recv(&mut buffer).unwrap();
        times.push(sent_at[usize::from(u16::from_be_bytes([buffer[0], buffer[1]]))].elapsed());
    }
    let (elapsed, processor) = (start.elapsed(), server.processor() - processor);
    times.sort_unstable();
    Figures {
        median: times[times.len() / 2].as_secs_f64() * 1e6,
        processor: processor as f64 / 1e3 / QUERIES as f64,
        rate: QUERIES as f64 / elapsed.as_secs_f64(),
    }
}

/// An upstream of a thread's own that answers every question with one address.
struct Upstream {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl Upstream {
    fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let (address, stop) = (socket.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        thread::spawn(move || {
            // The answer is written once; only id and question, which is as long each time, are copied into it.
            let name = Name::from_ascii("n000000.example.com.").unwrap();
            let mut message = Message::query().into_response();
            message.queries.push(Query::query(name.clone(), RecordType::A));
            message.answers.push(Record::from_rdata(name, 300, RData::A(A::new(203, 0, 113, 1))));
            let mut answer = message.to_vec().unwrap();
            let mut buffer = [0; 2048];
            while !stopped.load(Relaxed) {
                let Ok((_, from)) = socket.recv_from(&mut buffer) else { continue };
                answer[..2].copy_from_slice(&buffer[..2]);
                answer[12..33].copy_from_slice(&buffer[12..33]);
                let _ = socket.send_to(&answer, from);
            }
        });
        Self { address, stop }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

/// The proxy, or an echo, on a thread of its own.
struct Server {
    address: SocketAddr,
    task: u32,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    fn start(row: Row, upstream: SocketAddr) -> Self {
        if row == Row::Echo {
            return Self::echo();
        }
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, told) = mpsc::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let proxy = proxy(upstream);
                tell.send(proxy.addresses()[0]).unwrap();
                proxy.run(async { drop(stopped.await) }).await.unwrap();
            });
        });
        let address = told.recv().unwrap();
        Self { address, task: task("resolver"), stop: Some(stop), thread: Some(thread) }
    }

    /// One datagram a system call, blocking: nothing is simpler.
    fn echo() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let address = socket.local_addr().unwrap();
        let (stop, mut stopped) = oneshot::channel::<()>();
        let echo = thread::Builder::new().name("echo".into());
        let thread = echo.spawn(move || {
            let mut buffer = [0; 2048];
            while stopped.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                let _ = socket.send_to(&buffer[..length], from);
            }
        });
        Self { address, task: task("echo"), stop: Some(stop), thread: Some(thread.unwrap()) }
    }

    /// Processor time of the thread so far, in nanoseconds.
    fn processor(&self) -> u64 {
        let schedstat = std::fs::read_to_string(format!("/proc/self/task/{}/schedstat", self.task)).unwrap();
        schedstat.split(' ').next().unwrap().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The number of the thread with this name, once it runs.
fn task(name: &str) -> u32 {
    for _ in 0..500 {
        for entry in std::fs::read_dir("/proc/self/task").unwrap() {
            let path = entry.unwrap().path();
            if std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name) {
                return path.file_name().and_then(|task| task.to_str()).and_then(|task| task.parse().ok()).unwrap();
            }
        }
        thread::sleep(Duration::from_millis(2));
    }
    panic!("no thread {name}");
}

fn proxy(upstream: SocketAddr) -> Proxy<Yes, ()> {
    let text = "version = 1\nname = \"bench\"\n[[allow]]\nname = \"web\"\nhosts = [\"*.example.com\"]\nports = [\"443\"]\nbudget = { names = 1000000, bytes = 67108864 }\n";
    let parsed = parse(&Source::new("bench.toml", text));
    let file = parsed.file.unwrap_or_else(|| panic!("{}", parsed.problems));
    let pod = Pod { namespace: String::new(), name: String::new(), labels: BTreeMap::new() };
    let policy = Policy::compile(&[file], &pod, &Surroundings::on(Date::new(2026, 8, 1).unwrap())).unwrap();
    let config =
        Config { listen: vec!["127.0.0.1:0".parse().unwrap()], upstreams: vec![upstream], identity: None, limits: Limits::default() };
    Proxy::bind(config, Arc::new(ArcSwap::from_pointee(policy)), Yes, ()).unwrap()
}
