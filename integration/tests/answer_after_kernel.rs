//! Promise: an address is handed out only after the kernel has acknowledged its lease; if that fails: SERVFAIL, never the address.
//!
//! The netlink path is made to fail by a library that is loaded into the product (clients/netlink-shim.c): its sends fail, or what the
//! kernel answers is thrown away.
//!
//! # Limitations
//! What fails is the library's call, not the kernel: that the kernel itself refuses is shown by a full set alone.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use integration::authority::{ResponseCode, Type};
use integration::clients::{ask, ask_here, connect, dig};
use integration::frames::Frames;
use integration::leases;
use integration::world::RESOLVER;
use integration::{Authority, Pod, Setup, TcpTarget, UdpTarget, World, wait_until};

#[path = "answer_after_kernel/full.rs"]
mod full;

const SECOND: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(10);

/// Who asks at the same time, and how many names each has: answers meet at the gate and go in one batch.
const ASKERS: u16 = 16;
const NAMES: u16 = 625;

/// The library, and the directory by which it is told what to do.
struct Shim {
    library: PathBuf,
    dir: PathBuf,
}

impl Shim {
    fn build(world: &World) -> Self {
        let library = world.scratch().path().join("netlink-shim.so");
        let built = world.command("cc").args(["-shared", "-fPIC", "-O1", "-x", "c", "-o"]).arg(library.display()).arg("-");
        let built = built.input(include_str!("../clients/netlink-shim.c")).within(3 * LIMIT).output();
        assert!(built.ok(), "cc: {}\n(is the package gcc installed?)", built.stderr);
        Self { library, dir: world.scratch().make_dir("shim", 0o777) }
    }

    fn load<'a>(&self, setup: Setup<'a>) -> Setup<'a> {
        setup.env("LD_PRELOAD", &self.library.display().to_string()).env("SHIM_DIR", &self.dir.display().to_string())
    }

    /// The worker has a uid of its own and may write these files.
    fn write(&self, file: &str, content: &[u8]) {
        let path = self.dir.join(file);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    }

    fn remove(&self, file: &str) {
        fs::remove_file(self.dir.join(file)).unwrap();
    }

    fn length(&self, file: &str) -> u64 {
        fs::metadata(self.dir.join(file)).unwrap().len()
    }
}

/// As much as may be: these wildcards are asked for more names than any app has.
const BUDGET: &str = "budget = { names = 1000000, bytes = \"64MiB\" }\n";

fn rule(name: &str, hosts: &str) -> String {
    format!("[[allow]]\nname = \"{name}\"\nhosts = [\"{hosts}\"]\nports = [\"443\", \"9000/udp\"]\n{BUDGET}")
}

/// Asks `name` over a socket that is there already; gives the one address of the answer.
fn look_up(socket: &UdpSocket, id: u16, name: &str) -> Result<Ipv4Addr, String> {
    let mut question = [&id.to_be_bytes()[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    for label in name.split('.') {
        question.push(u8::try_from(label.len()).unwrap());
        question.extend(label.as_bytes());
    }
    question.extend([0, 0, 1, 0, 1]);
    socket.send(&question).map_err(|cause| format!("{name}: asking: {cause}"))?;
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer).map_err(|cause| format!("{name}: no answer: {cause}"))?;
    // No time is lost by reading it whole: without EDNS the one address is at the end.
    match &answer[..length] {
        [id0, id1, _, flags, _, _, 0, 1, .., 0, 4, a, b, c, d] if [*id0, *id1] == id.to_be_bytes() && flags & 0x0f == 0 => {
            Ok([*a, *b, *c, *d].into())
        }
        other => Err(format!("{name}: {other:02x?}")),
    }
}

/// At once to the address: TCP, and each fourth time UDP.
fn reach(address: Ipv4Addr, udp: bool) -> Result<(), String> {
    let reached = if udp {
        UdpSocket::bind("0.0.0.0:0").and_then(|socket| socket.send_to(b"at once", (address, 9000))).map(|_| ())
    } else {
        let target = SocketAddr::from((address, 443));
        TcpStream::connect_timeout(&target, LIMIT).and_then(|stream| socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)))
    };
    reached.map_err(|cause| format!("{address}: {cause}"))
}

#[test]
fn alone_of_10_000_addresses_that_are_used_the_instant_they_are_told_none_is_refused() {
    let world = World::new();
    let authority = world.authority();
    let (tcp, udp) = (TcpTarget::on(world.outside(), "0.0.0.0:443", ""), UdpTarget::on(world.outside(), "0.0.0.0:9000"));
    let mut policy = "version = 1\nname = \"many\"\n".to_owned();
    for asker in 0..ASKERS {
        policy += &rule(&format!("r{asker}"), &format!("*.r{asker}.example.com"));
    }
    let address = |asker: u16, n: u16| Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 1)) + u32::from(asker) * 0x1000 + u32::from(n));
    let name = |asker: u16, n: u16| format!("n{n}.r{asker}.example.com");
    for (asker, n) in (0..ASKERS).flat_map(|asker| (0..NAMES).map(move |n| (asker, n))) {
        authority.a(&name(asker, n), &[&address(asker, n).to_string()], 3600);
    }
    let pod = world.pod("app");
    let shim = Shim::build(&world);
    let portreeve = shim.load(Setup::new(&pod)).policy("many.toml", &policy).start();
    shim.write("sends", b"");
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for asker in 0..ASKERS {
            let (pod, failures) = (&pod, &failures);
            scope.spawn(move || {
                pod.run(|| {
                    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
                    socket.connect((RESOLVER, 53)).unwrap();
                    socket.set_read_timeout(Some(LIMIT)).unwrap();
                    for n in 0..NAMES {
                        let told = look_up(&socket, n, &name(asker, n));
                        let reached = told.and_then(|told| {
                            reach(told, n % 4 == 0).and((told == address(asker, n)).then_some(()).ok_or_else(|| format!("{told}")))
                        });
                        failures.lock().unwrap().extend(reached.err());
                    }
                });
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(
        failures.is_empty(),
        "{} of 10,000 failed, the first: {:?}\n{}",
        failures.len(),
        &failures[..failures.len().min(5)],
        portreeve.log()
    );
    let by_udp = usize::from(ASKERS) * usize::from(NAMES.div_ceil(4));
    assert!(tcp.wait(10_000 - by_udp, LIMIT) && udp.wait(by_udp, LIMIT), "arrived: {} by TCP, {} by UDP", tcp.count(), udp.count());
    // The kernel's own account: every lease is there, and it has refused nothing.
    let standing = leases::leases(&pod);
    assert_eq!(standing.len(), 10_000);
    let denied = pod.command("nft").args(["list", "counter", "inet", "portreeve", "denied"]).output().expect_ok("nft list counter");
    assert!(denied.contains("packets 0 bytes 0"), "{denied}");
    // And it was a test of batches: several answers went in one.
    let batches = shim.length("sends");
    assert!(batches > 0 && batches < 9_900, "{batches} batches for 10,000 answers");
}

struct Scene {
    world: World,
    authority: Authority,
    _web: TcpTarget,
    pod: Pod,
    shim: Shim,
}

const V4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 77);
const V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0xabc, 0xd77);

fn scene() -> Scene {
    let world = World::new();
    let authority = world.authority();
    authority.a("*.new.example.com", &[&V4.to_string()], 30);
    authority.aaaa("*.new.example.com", &[&V6.to_string()], 30);
    authority.a("old.example.com", &["203.0.113.78"], 30);
    let web = TcpTarget::on(world.outside(), "0.0.0.0:443", "");
    let (pod, shim) = (world.pod("app"), Shim::build(&world));
    Scene { world, authority, _web: web, pod, shim }
}

const NEW_AND_OLD: &str = r#"
version = 1
name = "web"
[lease]
min = "1s"
max = "1h"
grace = "0s"
[[allow]]
name = "new"
hosts = ["*.new.example.com"]
ports = ["443"]
[[allow]]
name = "old"
hosts = ["old.example.com"]
ports = ["443"]
"#;

#[test]
fn while_the_netlink_path_fails_the_answer_is_servfail_and_no_packet_has_the_address() {
    let Scene { shim, pod, .. } = &scene();
    let portreeve = shim.load(Setup::new(pod)).policy("web.toml", NEW_AND_OLD).start();
    assert_eq!(dig(pod, &["old.example.com"]).addresses().len(), 1);
    let frames = Frames::of_pod(pod);
    let (v4, v6) = (V4.octets(), V6.octets());
    let shown = || {
        let has = |frame: &[u8], address: &[u8]| frame.windows(address.len()).any(|part| part == address);
        frames.sent(pod).iter().filter(|frame| has(frame, &v4) || has(frame, &v6)).count()
    };
    // ENOBUFS, EPERM, ENOMEM, EAGAIN.
    for errno in ["105", "1", "12", "11"] {
        shim.write("send-fails", errno.as_bytes());
        for (n, more) in [vec!["A"], vec!["AAAA"], vec!["A", "+tcp"], vec!["AAAA", "+tcp"]].into_iter().enumerate() {
            let name = format!("e{errno}-{n}.new.example.com");
            let answer = dig(pod, &[&[name.as_str()], more.as_slice()].concat());
            assert_eq!((answer.status.as_str(), answer.answers.len()), ("SERVFAIL", 0), "errno {errno}: {}", answer.raw);
        }
        assert_eq!(shown(), 0, "errno {errno}: a packet has the address");
        assert_eq!(connect(pod, (V4, 443).into(), SECOND).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        connect(pod, "203.0.113.78:443".parse().unwrap(), SECOND).expect("what was leased before goes on");
        frames.forget();
        shim.remove("send-fails");
        let name = format!("e{errno}.new.example.com");
        let again = wait_until(LIMIT, || (dig(pod, &[&name]).addresses() == [IpAddr::from(V4)]).then_some(()));
        assert!(again.is_some(), "it does not go on: {}", portreeve.log());
        assert!(shown() > 0, "the watcher sees the address when it is told");
        connect(pod, (V4, 443).into(), SECOND).expect("told and open");
        // The next round begins with a closed address.
        portreeve.swap_policies(&[("web.toml", &NEW_AND_OLD.replace("*.new.example.com", &format!("not.e{errno}.example.org")))]);
        assert!(wait_until(LIMIT, || leases::of(pod, &V4.to_string()).is_empty().then_some(())).is_some());
        portreeve.swap_policies(&[("web.toml", NEW_AND_OLD)]);
        assert!(wait_until(LIMIT, || (dig(pod, &["new.example.com"]).status == "NOERROR").then_some(())).is_some());
        frames.forget();
    }
    let said = portreeve.status();
    assert!(said["last-error"]["what"].is_string() && said["queries"]["withheld"].as_u64() >= Some(16), "status tells: {said:#}");
    assert_eq!(said["table-restored"], 0, "a table that cannot be read has not vanished: {}", portreeve.log());
}

/// The answer to the batch is lost, or also the answers to the questions that are to find out what became of it.
#[test]
fn after_a_lost_acknowledgement_nothing_is_told_that_does_not_stand() {
    let scene = scene();
    let (shim, pod) = (&scene.shim, &scene.pod);
    let portreeve = shim.load(Setup::new(pod)).policy("web.toml", NEW_AND_OLD).start();
    assert_eq!(dig(pod, &["old.example.com"]).addresses().len(), 1);
    let mut servfails = 0;
    for lost in [1, 2, 3, 4, 5, 7, 9, 1000] {
        let (name, address) = (format!("l{lost}.new.example.com"), format!("203.0.113.{}", 80 + lost % 100));
        scene.authority.a(&name, &[&address], 30);
        shim.write("acks-lost", &vec![b'-'; lost]);
        // Once with nothing of it standing, then with whatever the first left behind, after some of its time has gone.
        for pause in [Duration::ZERO, Duration::from_millis(1_500)] {
            std::thread::sleep(pause);
            let asked = Instant::now();
            let answer = dig(pod, &[&name]);
            let left = leases::of(pod, &address).first().map(|lease| lease.left + asked.elapsed());
            match answer.answers.as_slice() {
                [(_, ttl, _, _)] => {
                    assert!(
                        left >= Some(Duration::from_secs((*ttl).into())),
                        "{lost} lost: told {ttl} s, the kernel has {left:?}\n{}",
                        portreeve.log()
                    );
                    connect(pod, format!("{address}:443").parse().unwrap(), SECOND).expect("told and open");
                }
                _ => {
                    assert_eq!((answer.status.as_str(), answer.answers.len()), ("SERVFAIL", 0), "{lost} lost: {}", answer.raw);
                    servfails += 1;
                }
            }
            shim.write("acks-lost", b"");
        }
        let asked = Instant::now();
        let answer = dig(pod, &[&name]);
        let [(_, ttl, _, _)] = answer.answers.as_slice() else {
            panic!("{lost} lost, and it does not go on: {}\n{}", answer.raw, portreeve.log())
        };
        let left = leases::of(pod, &address)[0].left + asked.elapsed();
        assert!(left >= Duration::from_secs((*ttl).into()), "{lost} lost: told {ttl} s, the kernel has {left:?}");
        assert_eq!(dig(pod, &["old.example.com"]).addresses().len(), 1, "another name");
    }
    assert!(servfails > 0, "something was lost");
    portreeve.swap_policies(&[("web.toml", &NEW_AND_OLD.replace("old.example.com", "older.example.com"))]);
    assert!(
        wait_until(LIMIT, || connect(pod, "203.0.113.78:443".parse().unwrap(), SECOND).is_err().then_some(())).is_some(),
        "a reload takes it away"
    );
}

/// The kernel remembers a flow longer than the proxy keeps its socket: half a minute and more.
#[test]
fn a_question_from_a_port_that_the_proxy_has_just_given_up_is_answered() {
    let Scene { authority, pod, .. } = &scene();
    let portreeve = Setup::new(pod).policy("web.toml", &NEW_AND_OLD.replacen("ports", &format!("{BUDGET}ports"), 1)).start();
    // Asks for what nobody has asked for; gives the port that the proxy asked upstream from.
    let used = |name: &str| {
        authority.forget();
        let reply = ask(pod.namespace(), (RESOLVER, 53).into(), &format!("{name}.new.example.com"), Type::TXT, LIMIT);
        assert!(reply.is_some(), "{name}: {}", portreeve.log());
        authority.questions()[0].from.port()
    };
    let answered = |name: &str, port: u16| {
        let port = port.to_string();
        let flow = pod.command("conntrack").args(["-L", "-p", "udp", "--sport", &port]).output().expect_ok("conntrack -L");
        assert!(flow.contains(&format!("sport={port} dport=53")), "the kernel has forgotten the proxy's flow: {flow}");
        let again = dig(pod, &[&format!("{name}.new.example.com"), "-b", &format!("0.0.0.0#{port}")]);
        assert_eq!(again.addresses(), [IpAddr::from(V4)], "from port {port}: {}\n{}", again.raw, portreeve.log());
    };
    // A port is given up after some two thousand questions.
    let first = used("first");
    let next = (0..4_000).map(|n| used(&format!("n{n}"))).find(|port| *port != first);
    assert!(next.is_some(), "the proxy asks from one port for ever");
    answered("after-rotation", first);
    for n in 0..3 {
        let port = used(&format!("k{n}"));
        let old = portreeve.kill_worker();
        assert!(wait_until(LIMIT, || (portreeve.worker() != old).then_some(())).is_some(), "{}", portreeve.log());
        portreeve.expect_ready(LIMIT);
        answered(&format!("after-restart-{n}"), port);
    }
}
