//! What the proxy itself costs a query, over loopback, with a gate that says yes at once: processor time and added latency.
//!
//! `cargo bench -p dnsproxy` prints a table. Each row runs alone: one client thread, one thread for the proxy (as in the pod), one for
//! the upstream. Processor time is the proxy thread's own, from the kernel's scheduler (`schedstat`), system calls included.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, clippy::panic, reason = "a report, not production code")]

use std::{
    collections::BTreeMap,
    future::Future,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
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
    fn open(&self, _: &PermittedAnswer) -> impl Future<Output = Result<Opened, OpenError>> + Send {
        std::future::ready(Ok(Opened { until: Instant::now() + Duration::from_secs(3600) }))
    }
}

/// One way to be asked.
#[derive(Clone, Copy)]
enum Row {
    Echo,
    Direct,
    Refused,
    Empty,
    Permitted,
}

fn main() {
    println!("{:<34} {:>14} {:>18} {:>14}", "", "serial median", "processor a query", "queries/s");
    for (row, label) in [
        (Row::Echo, "bare echo, same loop (the floor)"),
        (Row::Direct, "upstream asked directly"),
        (Row::Refused, "refused name"),
        (Row::Empty, "HTTPS of a permitted name"),
        (Row::Permitted, "permitted name, always upstream"),
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
        Row::Refused => ("refused.example.org.", RecordType::A),
        Row::Empty => ("www.example.com.", RecordType::HTTPS),
        Row::Echo | Row::Direct | Row::Permitted => ("www.example.com.", RecordType::A),
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
    let mut send = |id: usize, sent_at: &mut Vec<Instant>| {
        let id = u16::try_from(id).unwrap();
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
            let name = Name::from_ascii("www.example.com.").unwrap();
            let mut message = Message::query().into_response();
            message.queries.push(Query::query(name.clone(), RecordType::A));
            message.answers.push(Record::from_rdata(name, 300, RData::A(A::new(203, 0, 113, 1))));
            let mut answer = message.to_vec().unwrap();
            let mut buffer = [0; 2048];
            while !stopped.load(Relaxed) {
                let Ok((_, from)) = socket.recv_from(&mut buffer) else { continue };
                answer[..2].copy_from_slice(&buffer[..2]);
                answer[12..29].copy_from_slice(&buffer[12..29]);
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
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, told) = mpsc::channel();
        let thread = thread::spawn(move || {
            let link = std::fs::read_link("/proc/thread-self").unwrap();
            let task = link.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok()).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let stopped = async { drop(stopped.await) };
                match row {
                    Row::Echo => {
                        let socket = tokio::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
                        tell.send((socket.local_addr().unwrap(), task)).unwrap();
                        tokio::select! { () = echo(socket) => {}, () = stopped => {} }
                    }
                    _ => {
                        let proxy = proxy(upstream);
                        tell.send((proxy.addresses()[0], task)).unwrap();
                        proxy.run(stopped).await.unwrap();
                    }
                }
            });
        });
        let (address, task) = told.recv().unwrap();
        Self { address, task, stop: Some(stop), thread: Some(thread) }
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

async fn echo(socket: tokio::net::UdpSocket) {
    let mut buffer = [0; 2048];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        let _ = socket.send_to(&buffer[..length], from).await;
    }
}

fn proxy(upstream: SocketAddr) -> Proxy<Yes, ()> {
    let text = "version = 1\nname = \"bench\"\n[[allow]]\nname = \"web\"\nhosts = [\"www.example.com\"]\nports = [\"443\"]\n";
    let parsed = parse(&Source::new("bench.toml", text));
    let file = parsed.file.unwrap_or_else(|| panic!("{}", parsed.problems));
    let pod = Pod { namespace: String::new(), name: String::new(), labels: BTreeMap::new() };
    let policy = Policy::compile(&[file], &pod, &Surroundings::on(Date::new(2026, 8, 1).unwrap())).unwrap();
    let config =
        Config { listen: vec!["127.0.0.1:0".parse().unwrap()], upstreams: vec![upstream], identity: None, limits: Limits::default() };
    Proxy::bind(config, Arc::new(ArcSwap::from_pointee(policy)), Yes, ()).unwrap()
}
