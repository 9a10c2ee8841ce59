//! Promise: at two thousand new connections a second each is told, and none is lost; memory stays within its bound meanwhile. What is
//! pushed over the ruleset's limit is counted as lost, to the last flow.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout, reason = "tests")]

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use integration::clients::dig;
use integration::{Setup, World, wait_until};

const POLICY: &str =
    "version = 1\nname = \"shop\"\n[[allow]]\nname = \"web\"\nhosts = [\"*.example.com\"]\nports = [\"443\", \"9000/udp\"]\n";
const A_SECOND: u32 = 2_000;
const SECONDS: u32 = 6;
/// Names, each with an address of its own.
const NAMES: u8 = 20;

#[test]
fn none_of_two_thousand_connections_a_second_is_lost_alone() {
    let world = World::new();
    let authority = world.authority();
    for n in 1..=NAMES {
        authority.a(&format!("n{n}.example.com"), &[&format!("198.51.100.{n}")], 60);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let listener = world.outside().run(|| TcpListener::bind("[::]:443").unwrap());
    let serving = {
        let (stop, listener) = (Arc::clone(&stop), listener);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                drop(stream);
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
        })
    };
    let pod = world.pod("app");
    let portreeve = Setup::new(&pod).policy("shop.toml", POLICY).start();
    for n in 1..=NAMES {
        assert_eq!(dig(&pod, &[&format!("n{n}.example.com")]).status, "NOERROR");
    }
    let before = portreeve.resident();
    let began = Instant::now();
    let made = pod.run(|| {
        let mut made = 0_u32;
        for number in 0..A_SECOND * SECONDS {
            let due = began + Duration::from_secs(1) * number / A_SECOND;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let to = SocketAddr::from(([198, 51, 100, 1 + (number % u32::from(NAMES)) as u8], 443));
            made += u32::from(TcpStream::connect(to).is_ok());
        }
        made
    });
    let took = began.elapsed();
    let told = || {
        let lines = portreeve.flow_log();
        let count: u64 = lines.iter().filter(|line| line["flow.event"] == "began").filter_map(|line| line["flow.count"].as_u64()).sum();
        let lost: u64 = lines.iter().filter_map(|line| line["lost.count"].as_u64()).sum();
        let wrong = lines.iter().filter(|line| line["flow.event"] == "began").filter(|line| {
            let last = line["destination.address"].as_str().unwrap().rsplit('.').next().unwrap();
            line["flow.names"] != serde_json::json!([format!("n{last}.example.com")]) || line["flow.rule"] != "web"
        });
        (count, lost, wrong.count(), lines.len())
    };
    let all = wait_until(Duration::from_secs(30), || Some(told()).filter(|(count, lost, ..)| count + lost >= u64::from(made)));
    let (count, lost, wrong, lines) = all.unwrap_or_else(|| panic!("{:?} of {made}", told()));
    let grown = portreeve.resident().saturating_sub(before) / 1024;
    println!("{made} connections in {took:?}: {count} told in {lines} lines, {lost} lost, {wrong} wrong; {grown} KiB more memory");
    assert_eq!((count, lost, wrong), (u64::from(made), 0, 0));
    assert!(made >= A_SECOND * SECONDS - 10, "{made}");
    // Living flows have 16 octets each, and the lines are bounded.
    assert!(grown <= 6 * 1024, "{grown} KiB more for {made} flows");
    stop.store(true, Ordering::Relaxed);
    let _woken = world.outside().run(|| TcpStream::connect("198.51.100.1:443"));
    serving.join().unwrap();
}

#[test]
fn permitted_flows_over_the_limit_are_told_as_lost_and_none_is_told_nowhere_alone() {
    const FLOWS: u16 = 50_000;
    let world = World::new();
    let authority = world.authority();
    authority.a("n1.example.com", &["198.51.100.1"], 60);
    let pod = world.pod("app");
    let portreeve = Setup::new(&pod).policy("shop.toml", POLICY).start();
    assert_eq!(dig(&pod, &["n1.example.com"]).status, "NOERROR");
    let began = Instant::now();
    let sent: u64 = pod.run(|| {
        let one = |port| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?.send_to(b"x", "198.51.100.1:9000");
        (10_000..10_000 + FLOWS).filter(|port| one(*port).is_ok()).count() as u64
    });
    let took = began.elapsed();
    let told = || {
        let lines = portreeve.flow_log();
        let begun: u64 = lines.iter().filter(|line| line["flow.event"] == "began").filter_map(|line| line["flow.count"].as_u64()).sum();
        let lost = lines.iter().filter(|line| line["lost.what"] == "first-packets").filter_map(|line| line["lost.count"].as_u64());
        (begun, lost.sum::<u64>())
    };
    let all = wait_until(Duration::from_secs(20), || Some(told()).filter(|(begun, lost)| begun + lost >= sent));
    let (begun, lost) = all.unwrap_or_else(|| panic!("{:?} of {sent}", told()));
    println!("{sent} flows in {took:?}: {begun} told, {lost} told as lost");
    assert_eq!(begun + lost, sent);
    assert!(lost > 0 && begun >= 10_000, "{begun} told, {lost} lost of {sent} in {took:?}");
}
