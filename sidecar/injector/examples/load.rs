//! Reviews against a server in a process of its own, with renewals in between; prints latencies, failures and the server's memory.
//!
//! `cargo run --release -p injector --example load [SERVER ARGUMENT…]`; without a server, the example `echo` beside it.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, reason = "a tool of the tests")]

#[path = "../tests/serve/client.rs"]
mod client;
#[allow(dead_code, reason = "here only the question")]
#[path = "../tests/serve/echo.rs"]
mod echo;

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command};
use std::time::{Duration, Instant, SystemTime};

use client::{Client, Http};
use injector::ca;

const REVIEWS: usize = 5_000;
const CLIENTS: usize = 8;

/// Ends with this process, whatever happens.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    fn memory(&self) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let lines = status.lines().filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM"));
        lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(", ")
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let dir = tempfile::tempdir().unwrap();
    let ca = ca::make(SystemTime::now()).unwrap();
    fs::write(dir.path().join("tls.crt"), &ca.certificate).unwrap();
    fs::write(dir.path().join("tls.key"), &ca.key).unwrap();
    let mut given = std::env::args().skip(1);
    let server = given.next().map_or_else(|| std::env::current_exe().unwrap().with_file_name("echo"), Into::into);
    let port = free_port();
    let mut command = Command::new(server);
    command.args(given).arg("--ca").arg(dir.path()).args(["--listen", "127.0.0.1", "--certificate-lifetime", "6s", "--drain-pause", "0s"]);
    command.args(["--port", &port.to_string(), "--metrics-port", &free_port().to_string()]);
    let server = Server(command.spawn().unwrap());
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    while std::net::TcpStream::connect(address).is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("at rest: {}", server.memory());
    let clients: Vec<_> = (0..CLIENTS).map(|at| tokio::spawn(load(address, ca.certificate.clone(), at))).collect();
    let (mut times, mut shown, mut failed) = (Vec::new(), BTreeSet::new(), 0);
    for client in clients {
        let (own, certificates, failures) = client.await.unwrap();
        times.extend(own);
        shown.extend(certificates);
        failed += failures;
    }
    times.sort();
    let at = |share: usize| times[(times.len() * share / 1000).min(times.len() - 1)];
    println!("{} reviews, {failed} failed, {} certificates", times.len(), shown.len());
    println!("p50 {:?}, p99 {:?}, p99.9 {:?}, longest {:?}", at(500), at(990), at(999), times[times.len() - 1]);
    println!("after: {}", server.memory());
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(client::tls(address, &[&ca.certificate], Http::Two).await.unwrap());
    }
    println!("with 256 idle connections: {}", server.memory());
}

/// A review every few milliseconds, as a rollout brings them, over a connection that is made anew every 50.
async fn load(address: SocketAddr, ca: String, at: usize) -> (Vec<Duration>, BTreeSet<Vec<u8>>, usize) {
    let (mut times, mut shown, mut failed) = (Vec::new(), BTreeSet::new(), 0);
    let http = if at.is_multiple_of(4) { Http::One } else { Http::Two };
    while times.len() < REVIEWS / CLIENTS {
        let (mut client, certificate) = Client::connect(address, &[&ca], http).await.unwrap();
        shown.insert(certificate.to_vec());
        for _ in 0..50 {
            let start = Instant::now();
            let answered = client.ask("/pods", echo::question("1")).await;
            times.push(start.elapsed());
            failed += usize::from(!answered.is_ok_and(|(status, _)| status == 200));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    (times, shown, failed)
}
