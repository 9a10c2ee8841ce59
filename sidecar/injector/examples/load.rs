//! Reviews against the binary in a process of its own, with renewals in between; prints latencies, failures and the server's memory.
//!
//! `cargo build --release -p injector && cargo run --release -p injector --example load [BINARY]`; without one, the binary beside it.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout, reason = "a tool of the tests")]

#[path = "../tests/serve/client.rs"]
mod client;
#[allow(dead_code, reason = "here only the pods and the reviews around them")]
#[path = "../tests/support/cluster.rs"]
mod cluster;
#[path = "../tests/support/image.rs"]
mod image;
#[path = "../tests/support/memory.rs"]
mod memory;

use std::collections::BTreeSet;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use client::{Client, Http};
use injector::{ca, platform};
use serde_json::Value;

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
    /// What it takes now, and what it took at the most since the last call.
    fn memory(&self) -> String {
        let of = |file: &str| format!("/proc/{}/{file}", self.0.id());
        let status = fs::read_to_string(of("status")).unwrap();
        let lines = status.lines().filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM"));
        let told = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(", ");
        fs::write(of("clear_refs"), "5").unwrap();
        told
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A policy of the platform as long as one may be: each review is judged by it.
fn longest_policy() -> String {
    let mut text = "version = 1\nname = \"platform\"\nplatform = true\n[[limit]]\nports = [\"443\"]\nhosts = [".to_owned();
    let mut at = 0;
    while text.len() < platform::MOST_BYTES - 64 {
        text.push_str(&format!("\"h{at}.example.com\", "));
        at += 1;
    }
    text + "]\n"
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let dir = tempfile::tempdir().unwrap();
    let ca = ca::make(SystemTime::now()).unwrap();
    fs::write(dir.path().join("tls.crt"), &ca.certificate).unwrap();
    fs::write(dir.path().join("tls.key"), &ca.key).unwrap();
    fs::write(dir.path().join("platform.toml"), longest_policy()).unwrap();
    let beside = || std::env::current_exe().unwrap().parent().unwrap().with_file_name("portreeve-injector");
    let server = std::env::args_os().nth(1).map_or_else(beside, Into::into);
    let port = free_port();
    let mut command = Command::new(server);
    command.arg("serve").arg("--ca").arg(dir.path()).arg("--platform-policy").arg(dir.path().join("platform.toml"));
    command.args(["--listen", "127.0.0.1", "--certificate-lifetime", "6s", "--drain-pause", "0s"]);
    command.args(["--port", &port.to_string(), "--metrics-port", &free_port().to_string()]);
    command.envs(image::environment());
    let server = Server(command.spawn().unwrap());
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    while std::net::TcpStream::connect(address).is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("at rest: {}", server.memory());
    let questions: Arc<Vec<Vec<u8>>> = Arc::new(cluster::cases().iter().map(|case| question(&case.pod)).collect());
    let clients: Vec<_> = (0..CLIENTS).map(|at| tokio::spawn(load(address, ca.certificate.clone(), questions.clone(), at))).collect();
    let (mut times, mut shown, mut failed) = (Vec::new(), BTreeSet::new(), 0);
    for client in clients {
        let (own, certificates, failures) = client.await.unwrap();
        times.extend(own);
        shown.extend(certificates);
        failed += failures;
    }
    times.sort();
    let at = |share: usize| times[(times.len() * share / 1000).min(times.len() - 1)];
    println!("{} reviews of {} pods, {failed} failed, {} certificates", times.len(), questions.len(), shown.len());
    println!("p50 {:?}, p99 {:?}, p99.9 {:?}, longest {:?}", at(500), at(990), at(999), times[times.len() - 1]);
    println!("after: {}", server.memory());
    for (what, body) in memory::hostile_reviews() {
        let (mut client, _) = Client::connect(address, &[&ca.certificate], Http::Two).await.unwrap();
        let start = Instant::now();
        let (status, _) = client.ask("/pods", body).await.unwrap();
        println!("{what}: {} after {:?}; {}", status.as_u16(), start.elapsed(), server.memory());
    }
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(client::tls(address, &[&ca.certificate], Http::Two).await.unwrap());
    }
    println!("with 256 idle connections: {}", server.memory());
}

fn question(pod: &Value) -> Vec<u8> {
    cluster::request("pods", "", "CREATE", "shop", pod, &Value::Null).to_string().into_bytes()
}

/// A review every few milliseconds, as a rollout brings them, over a connection that is made anew every 50.
async fn load(address: SocketAddr, ca: String, questions: Arc<Vec<Vec<u8>>>, at: usize) -> (Vec<Duration>, BTreeSet<Vec<u8>>, usize) {
    let (mut times, mut shown, mut failed) = (Vec::new(), BTreeSet::new(), 0);
    let http = if at.is_multiple_of(4) { Http::One } else { Http::Two };
    while times.len() < REVIEWS / CLIENTS {
        let (mut client, certificate) = Client::connect(address, &[&ca], http).await.unwrap();
        shown.insert(certificate.to_vec());
        for _ in 0..50 {
            let body = questions[(times.len() + at) % questions.len()].clone();
            let start = Instant::now();
            let answered = client.ask("/pods", body).await;
            times.push(start.elapsed());
            let good = answered.is_ok_and(|(status, body)| {
                status == 200 && serde_json::from_slice::<Value>(&body).is_ok_and(|answer| answer["response"]["status"]["code"] != 400)
            });
            failed += usize::from(!good);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    (times, shown, failed)
}
