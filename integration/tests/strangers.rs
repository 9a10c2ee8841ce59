//! Promise: it works between programs that nobody here wrote: NSD and Unbound before it; glibc, musl, dig, curl and Python behind it.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::net::IpAddr;
use std::time::Duration;

use integration::clients::{connect, curl, dig, getent, musl};
use integration::servers::{Nsd, Unbound};
use integration::world::RESOLVER;
use integration::{Setup, TcpTarget, World};

const POLICY: &str = r#"
version = 1
name = "web"
[[allow]]
name = "www"
hosts = ["www.example.com", "*.wild.example.com"]
ports = ["80"]
"#;

const ZONE: &str = "api A 198.51.100.7\napi AAAA 2001:db8:ffff::7\nwww CNAME api\n*.wild A 198.51.100.9\nother A 203.0.113.9\n";

const PAGE: &str = "HTTP/1.0 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nyes";

#[test]
fn unbound_and_nsd_before_it_and_five_clients_behind_it() {
    let world = World::new();
    let nsd = Nsd::start(&world, "198.51.100.53".parse().unwrap(), "example.com", ZONE);
    let unbound = Unbound::start(&world, RESOLVER.into(), "example.com", nsd.address());
    let web: Vec<TcpTarget> = ["198.51.100.7:80", "[2001:db8:ffff::7]:80", "198.51.100.9:80", "203.0.113.9:80"]
        .map(|address| TcpTarget::on(world.outside(), address, PAGE))
        .into();
    let pod = world.pod("app");
    // A cluster's resolv.conf: every short name is tried with the search list first.
    pod.set_resolv_conf(&format!(
        "search shop.svc.cluster.local svc.cluster.local cluster.local\nnameserver {RESOLVER}\noptions ndots:5\n"
    ));
    let portreeve = Setup::new(&pod).policy("web.toml", POLICY).start();
    let watcher = pod.watch();
    let both: Vec<IpAddr> = vec!["198.51.100.7".parse().unwrap(), "2001:db8:ffff::7".parse().unwrap()];
    assert_eq!(getent(&pod, "www.example.com"), both, "glibc: {}\n{}", portreeve.log(), unbound.log());
    assert_eq!(musl(&pod, "www.example.com"), both, "musl: {}", portreeve.log());
    let chain = dig(&pod, &["www.example.com"]);
    assert_eq!(chain.answers.iter().map(|answer| answer.2.as_str()).collect::<Vec<_>>(), ["CNAME", "A"], "{}", chain.raw);
    assert_eq!(dig(&pod, &["a.b.wild.example.com", "+tcp"]).addresses().len(), 1);
    for family in ["-4", "-6"] {
        let page = pod.command("curl").args(["-sS", family, "--noproxy", "*", "--max-time", "5", "http://www.example.com/"]).output();
        assert_eq!(page.stdout, "yes", "curl {family}: {}\n{}", page.stderr, portreeve.log());
    }
    let script = "import urllib.request as r; print(r.build_opener(r.ProxyHandler({})).open('http://x.wild.example.com/', timeout=5).read().decode())";
    let python = pod.command("/usr/bin/python3").args(["-I", "-c", script]).as_user(1000).output();
    assert_eq!(python.stdout.trim(), "yes", "python: {}", python.stderr);

    // What is refused: quickly, with nothing on the wire, and musl does not give up on the search list.
    for (client, name) in [("glibc", "other.example.com"), ("musl", "evilwww.example.com")] {
        let started = std::time::Instant::now();
        let found = if client == "glibc" { getent(&pod, name) } else { musl(&pod, name) };
        assert!(found.is_empty() && started.elapsed() < Duration::from_secs(3), "{client} {name}: {found:?} after {:?}", started.elapsed());
    }
    assert_ne!(curl(&pod, "http://other.example.com/").code, 0);
    assert!(connect(&pod, web[3].address(), Duration::from_secs(1)).is_err());
    assert_eq!(web[3].count(), 0);
    assert!(watcher.left_pod(|packet| packet.destination == web[3].address().ip()).is_empty());
}
