//! The world the other tests stand on: that its watcher sees, its servers answer and lie as told, and its attacks work.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use integration::authority::{ResponseCode, Type};
use integration::clients::{ask, connect, curl, dig, echo, getent, musl};
use integration::world::RESOLVER;
use integration::{Authority, Behaviour, Pod, TcpTarget, UdpTarget, World};

const SECOND: Duration = Duration::from_secs(1);

fn resolver() -> SocketAddr {
    (RESOLVER, 53).into()
}

fn asked(pod: &Pod, name: &str) -> Option<hickory_proto::op::Message> {
    ask(pod.namespace(), resolver(), name, Type::A, Duration::from_millis(300))
}

fn world() -> (World, Authority, Pod) {
    let world = World::new();
    let authority = world.authority();
    authority.a("api.example.com", &["198.51.100.7"], 60);
    let pod = world.pod("app");
    (world, authority, pod)
}

#[test]
fn the_watcher_sees_what_leaves_and_what_enters() {
    let (world, _authority, pod) = world();
    let tcp4 = TcpTarget::on(world.outside(), "198.51.100.7:443", "hello\n");
    let tcp6 = TcpTarget::on(world.outside(), "[2001:db8:ffff::7]:443", "");
    let udp = UdpTarget::on(world.outside(), "203.0.113.9:9000");
    let watcher = pod.watch();
    watcher.expect_silence("before anything was sent");
    for target in [&tcp4, &tcp6] {
        connect(&pod, target.address(), SECOND).expect("a connection");
        assert!(target.wait(1, SECOND));
    }
    assert_eq!(echo(&pod, udp.address(), b"ping", SECOND).unwrap(), b"ping");
    assert_eq!(watcher.left_pod(|p| p.is_syn() && p.is_to(tcp4.address())).len(), 1);
    assert_eq!(watcher.left_pod(|p| p.is_syn() && p.is_to(tcp6.address())).len(), 1);
    assert_eq!(watcher.left_pod(|p| p.is_udp() && p.carries("ping")).len(), 1);
    assert_eq!(watcher.entered_pod(|p| p.is_udp() && p.carries("ping")).len(), 1);
    assert_eq!(watcher.entered_pod(|p| p.tcp.is_some_and(integration::watcher::TcpFlags::is_syn_ack)).len(), 2);
    assert!(!watcher.leaks().is_empty(), "ordinary packets are no housekeeping");
}

#[test]
fn a_closed_port_refuses_and_an_inbound_connection_arrives() {
    let (world, _authority, pod) = world();
    let refused = connect(&pod, "198.51.100.7:4444".parse().unwrap(), SECOND).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    for own in [IpAddr::from(pod.v4()), pod.v6().into()] {
        let inside = TcpTarget::start(pod.namespace(), (own, 8080), "inside\n");
        world
            .outside()
            .run(|| std::net::TcpStream::connect_timeout(&inside.address(), SECOND))
            .unwrap_or_else(|cause| panic!("inbound to {own}: {cause}"));
        assert!(inside.wait(1, SECOND));
    }
}

#[test]
fn pods_are_apart_and_reach_each_other_only_through_outside() {
    let (_world, _authority, one) = world();
    let two = one.world().pod("other");
    let inside = TcpTarget::start(two.namespace(), (two.v4(), 8080), "");
    let watcher = two.watch();
    connect(&one, inside.address(), SECOND).expect("over the network outside");
    assert_eq!(watcher.entered_pod(|p| p.is_syn() && p.source == IpAddr::from(one.v4())).len(), 1);
    let devices = two.command("ls").arg("/sys/class/net").output().expect_ok("ls");
    assert!(devices.contains("eth0") && !devices.contains("pod1"), "its own sysfs: {devices}");
}

#[test]
fn clients_ask_what_their_resolv_conf_says() {
    let (_world, authority, pod) = world();
    let _web = TcpTarget::on(pod.world().outside(), "198.51.100.7:80", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nyes");
    authority.aaaa("api.example.com", &["2001:db8:ffff::7"], 60);
    let both: Vec<IpAddr> = vec!["198.51.100.7".parse().unwrap(), "2001:db8:ffff::7".parse().unwrap()];
    assert_eq!(getent(&pod, "api.example.com"), both);
    assert_eq!(musl(&pod, "api.example.com"), both);
    assert_eq!(dig(&pod, &["api.example.com"]).addresses(), both[..1]);
    authority.remove("api.example.com", Type::AAAA);
    let page = curl(&pod, "http://api.example.com/");
    assert_eq!((page.code, page.stdout.as_str()), (0, "yes"), "{}", page.stderr);
    let second = pod.world().authority_at(&["10.96.0.11:53".parse().unwrap()]);
    second.a("api.example.com", &["198.51.100.8"], 60);
    pod.set_resolv_conf("nameserver 10.96.0.11\n");
    assert_eq!(getent(&pod, "api.example.com"), ["198.51.100.8".parse::<IpAddr>().unwrap()]);
    assert!(second.asked("api.example.com", Type::A) >= 1);
}

#[test]
fn records_change_while_it_runs_and_questions_are_counted() {
    let (_world, authority, pod) = world();
    assert_eq!(dig(&pod, &["api.example.com"]).answers[0].1, 60);
    authority.a("api.example.com", &["198.51.100.8", "198.51.100.9"], 3);
    let again = dig(&pod, &["api.example.com", "+tcp"]);
    assert_eq!((again.addresses().len(), again.answers[0].1), (2, 3));
    assert_eq!(authority.asked("api.example.com", Type::A), 2);
    assert_eq!(authority.questions().iter().filter(|q| q.tcp).count(), 1);
    let nothing = dig(&pod, &["none.example.com"]);
    assert_eq!(nothing.status, "NXDOMAIN");
    assert!(nothing.soa.is_some());
    let no_data = dig(&pod, &["example.com"]);
    assert_eq!((no_data.status.as_str(), no_data.answers.len()), ("NOERROR", 0), "an empty non-terminal exists");
    authority.a("*.wild.example.com", &["198.51.100.1"], 5);
    let below = dig(&pod, &["a.b.wild.example.com"]);
    assert_eq!((below.status.as_str(), below.addresses().len()), ("NOERROR", 1));
    assert_eq!(dig(&pod, &["wild.example.com"]).addresses().len(), 0);
    authority.cname("www.example.com", "api.example.com", 60);
    let chain = dig(&pod, &["www.example.com"]);
    assert_eq!(chain.answers.iter().map(|a| a.2.as_str()).collect::<Vec<_>>(), ["CNAME", "A", "A"]);
    authority.cname("loop.example.com", "pool.example.com", 60);
    authority.cname("pool.example.com", "loop.example.com", 60);
    assert_eq!(dig(&pod, &["loop.example.com"]).answers.len(), 16);
    for (kind, data) in [
        (Type::TXT, "\"text\""),
        (Type::SRV, "1 2 443 api.example.com."),
        (Type::MX, "5 api.example.com."),
        (Type::HTTPS, "1 . alpn=h2 ipv4hint=198.51.100.7"),
    ] {
        authority.set("more.example.com", kind, &[data], 60);
        assert_eq!(dig(&pod, &["more.example.com", &kind.to_string()]).answers.len(), 1, "{kind}");
    }
}

#[test]
fn the_authority_lies_as_told() {
    let (_world, authority, pod) = world();
    let name = "api.example.com";
    let with = |behaviours: &[Behaviour]| {
        authority.behave(name, behaviours);
        asked(&pod, name)
    };
    assert!(with(&[Behaviour::Drop]).is_none());
    assert!(with(&[Behaviour::WrongId]).is_none());
    assert!(with(&[Behaviour::WrongPort]).is_none());
    assert!(with(&[Behaviour::Garbage]).is_none());
    assert!(with(&[Behaviour::CutAt(20)]).is_none());
    assert!(with(&[Behaviour::DropFirst(1)]).is_none());
    assert!(asked(&pod, name).is_some(), "the first alone is dropped");
    assert_eq!(with(&[Behaviour::Code(ResponseCode::ServFail)]).unwrap().metadata.response_code, ResponseCode::ServFail);
    let other = with(&[Behaviour::WrongQuestion]).unwrap();
    assert_eq!(other.queries[0].name.to_string(), "another.example.net.");
    let cut = with(&[Behaviour::TruncateUdp]).unwrap();
    assert!(cut.metadata.truncation && cut.answers.is_empty());
    assert_eq!(dig(&pod, &[name]).addresses().len(), 1, "dig asks again over TCP");
    let stray = with(&[Behaviour::Stray("bank.example".to_owned(), "203.0.113.66".parse().unwrap())]).unwrap();
    assert_eq!((stray.answers.len(), stray.authorities.len(), stray.additionals.len()), (2, 1, 1));
    let start = Instant::now();
    assert!(with(&[Behaviour::Delay(Duration::from_millis(150))]).is_some());
    assert!(start.elapsed() >= Duration::from_millis(150));
    authority.behave(name, &[Behaviour::LowerCase]);
    assert_eq!(asked(&pod, "API.example.com").unwrap().queries[0].name.to_ascii(), "api.example.com.");
    authority.behave(name, &[]);
    assert_eq!(asked(&pod, "API.example.com").unwrap().queries[0].name.to_ascii(), "API.example.com.");
    let watcher = pod.watch();
    let true_one = with(&[Behaviour::ForgedFirst("203.0.113.66".parse().unwrap())]).unwrap();
    assert!(true_one.metadata.authoritative);
    assert_eq!(watcher.entered_pod(|p| p.is_udp() && p.source_port == 53).len(), 21, "twenty forged and the true one");
    assert!(with(&[Behaviour::DropUdp]).is_none());
    assert_eq!(dig(&pod, &[name, "+tcp"]).addresses().len(), 1);
    authority.behave(name, &[Behaviour::CloseTcp]);
    assert_eq!(dig(&pod, &[name, "+tcp"]).addresses().len(), 0);
}

#[test]
fn programs_have_a_time_limit_and_die_with_their_guard() {
    let (_world, _authority, pod) = world();
    let slow = pod.command("sleep").arg(30).within(Duration::from_millis(100)).output();
    assert!(slow.timed_out && slow.took < Duration::from_secs(3));
    let shell = pod.command("sh").args(["-c", "sleep 31 & sleep 32"]).spawn();
    let pid = shell.pid();
    assert!(std::path::Path::new(&format!("/proc/{pid}")).exists());
    drop(shell);
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    let user = pod.command("sh").args(["-c", "id -u; grep CapEff /proc/self/status; grep NoNewPrivs /proc/self/status"]).as_user(1000);
    let said = user.output().expect_ok("as uid 1000");
    assert!(said.starts_with("1000\n") && said.contains("CapEff:\t0000000000000000") && said.contains("NoNewPrivs:\t1"), "{said}");
    let root = pod.command("grep").args(["CapEff", "/proc/self/status"]).as_container_root().output().expect_ok("grep");
    assert!(root.contains("00000000a80425fb"), "the default list of container runtimes: {root}");
}
