//! Promise: no answer before the kernel said yes; what the kernel refuses is SERVFAIL and never an address, and disturbs no other name.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use integration::authority::{ResponseCode, Type};
use integration::clients::{ask_here, dig};
use integration::world::RESOLVER;
use integration::{Setup, TcpTarget, World};

const LIMIT: Duration = Duration::from_secs(10);

/// Rules and names a rule: 10,000 questions in all, each for an address that no lease has opened before.
const RULES: u16 = 10;
const NAMES: u16 = 1_000;

#[test]
fn alone_10_000_connects_made_the_instant_an_answer_arrives() {
    let world = World::new();
    let authority = world.authority();
    let mut policy = "version = 1\nname = \"many\"\n".to_owned();
    for rule in 0..RULES {
        writeln!(policy, "[[allow]]\nname = \"r{rule}\"\nhosts = [\"*.r{rule}.example.com\"]\nports = [\"443\"]").unwrap();
    }
    let address = |rule: u16, name: u16| Ipv4Addr::new(198, 18 + (rule / 8) as u8, (rule % 8) as u8 * 8 + (name / 200) as u8, (name % 200) as u8 + 1);
    for (rule, name) in (0..RULES).flat_map(|rule| (0..NAMES).map(move |name| (rule, name))) {
        authority.a(&format!("n{name}.r{rule}.example.com"), &[&address(rule, name).to_string()], 60);
    }
    let _anywhere = TcpTarget::on(world.outside(), "0.0.0.0:443", "");
    let pod = world.pod("app");
    let portreeve = Setup::new(&pod).policy("many.toml", &policy).start();
    let mut failures = Vec::new();
    pod.run(|| {
        for (rule, name) in (0..RULES).flat_map(|rule| (0..NAMES).map(move |name| (rule, name))) {
            let text = format!("n{name}.r{rule}.example.com");
            let reply = match ask_here((RESOLVER, 53).into(), &text, Type::A, Duration::from_secs(2)) {
                Ok(reply) => reply,
                Err(cause) => {
                    failures.push(format!("{text}: no answer: {cause}"));
                    continue;
                }
            };
            let Some(ip) = reply.answers.iter().find_map(|record| record.data.ip_addr()) else {
                failures.push(format!("{text}: {}", reply.metadata.response_code));
                continue;
            };
            assert_eq!(ip, IpAddr::from(address(rule, name)));
            match TcpStream::connect_timeout(&SocketAddr::new(ip, 443), Duration::from_secs(2)) {
                Ok(stream) => socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap(),
                Err(cause) => failures.push(format!("{text} {ip}: {cause}")),
            }
        }
    });
    assert!(failures.is_empty(), "{} of 10000 failed: {:?}\n{}", failures.len(), &failures[..failures.len().min(5)], portreeve.log());
    assert_eq!(portreeve.status()["leases"].as_u64(), Some(u64::from(RULES * NAMES)));
}

const TWO: &str = r#"
version = 1
name = "two"
[[allow]]
name = "one"
hosts = ["*.one.example.com"]
ports = ["443"]
[[allow]]
name = "two"
hosts = ["*.two.example.com"]
ports = ["443"]
"#;

/// The worker does not hear the kernel's yes.
#[test]
fn when_the_kernel_says_nothing_no_address_is_seen() {
    let world = World::new();
    let authority = world.authority();
    authority.a("*.one.example.com", &["198.51.100.7"], 60);
    let pod = world.pod("app");
    let portreeve = Setup::new(&pod).policy("two.toml", TWO).start();
    let before = dig(&pod, &["before.one.example.com"]);
    assert_eq!(before.addresses().len(), 1, "{}\n{}", before.raw, portreeve.log());
    authority.a("*.one.example.com", &["198.51.100.8"], 60);
    portreeve.deafen(true);
    for number in 0..5 {
        let answer = dig(&pod, &[&format!("n{number}.one.example.com"), "+time=8"]);
        assert_eq!((answer.status.as_str(), answer.addresses().len()), ("SERVFAIL", 0), "{}\n{}", answer.raw, portreeve.log());
        assert!(!answer.raw.contains("198.51.100.8"), "the address is seen: {}", answer.raw);
    }
    portreeve.deafen(false);
    let again = integration::wait_until(LIMIT, || (dig(&pod, &["after.one.example.com"]).addresses().len() == 1).then_some(()));
    assert!(again.is_some(), "it goes on when it hears again: {}", portreeve.log());
}

/// The set of one rule is filled up to its size: further names of it get SERVFAIL, those of the other rule get their answers.
#[test]
fn a_full_set_disturbs_no_other_name() {
    let world = World::new();
    let authority = world.authority();
    authority.a("*.two.example.com", &["203.0.113.8"], 60);
    let pod = world.pod("app");
    let portreeve = Setup::new(&pod).policy("two.toml", TWO).start();
    let size = lease_set_size(&pod.command("nft").args(["list", "table", "inet", "portreeve"]).output().expect_ok("nft list"), "two.one");
    // Fifty addresses an answer still fit UDP.
    let addresses: Vec<String> = (0..size).map(|n| Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 1)) + n).to_string()).collect();
    for (number, chunk) in addresses.chunks(50).enumerate() {
        let chunk: Vec<&str> = chunk.iter().map(String::as_str).collect();
        let name = format!("fill{number}.one.example.com");
        authority.a(&name, &chunk, 60);
        let answer = pod.run(|| ask_here((Ipv4Addr::LOCALHOST, 5453).into(), &name, Type::A, LIMIT)).expect("an answer");
        assert_eq!(answer.answers.len(), chunk.len(), "{name}: {}", portreeve.log());
    }
    authority.a("*.one.example.com", &["203.0.113.7"], 60);
    std::thread::scope(|scope| {
        for number in 0..20 {
            let pod = &pod;
            scope.spawn(move || {
                let full = dig(pod, &[&format!("n{number}.one.example.com")]);
                assert_eq!((full.status.as_str(), full.answers.len()), ("SERVFAIL", 0), "{}", full.raw);
            });
            scope.spawn(move || {
                let other = dig(pod, &[&format!("n{number}.two.example.com")]);
                assert_eq!(other.addresses().len(), 1, "{}", other.raw);
            });
        }
    });
    assert_eq!(other_rcode(&pod), ResponseCode::NXDomain, "{}", portreeve.log());
}

fn other_rcode(pod: &integration::Pod) -> ResponseCode {
    pod.run(|| ask_here((RESOLVER, 53).into(), "refused.example.org", Type::A, LIMIT)).unwrap().metadata.response_code
}

/// The size of an opening's IPv4 set of leases.
fn lease_set_size(ruleset: &str, opening: &str) -> u32 {
    let mut lines = ruleset.lines().map(str::trim).skip_while(|line| *line != format!("set {opening}_v4 {{"));
    let size = lines.find_map(|line| line.strip_prefix("size ").map(str::to_owned));
    size.and_then(|text| text.split_whitespace().next()?.parse().ok()).unwrap_or_else(|| panic!("no set of {opening} in\n{ruleset}"))
}
