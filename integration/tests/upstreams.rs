//! Promise: the fastest upstream that lives is asked; when it dies the others are, within one time-out of a client; and resolv.conf is followed
//! without losing an answer.
//!
//! # Limitations
//! Upstreams differ by tens of milliseconds here, so that a busy machine does not turn their order round. Renaming over a file that is bind
//! mounted cannot be seen by anybody inside: the mount goes on showing the old file.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::cell::Cell;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use integration::authority::{ResponseCode, Type};
use integration::clients::{ask, ask_here, dig};
use integration::stubs::{Libc, resolve};
use integration::world::RESOLVER;
use integration::{Authority, Behaviour, Pod, Portreeve, Setup, Watcher, World, wait_until};

const LIMIT: Duration = Duration::from_secs(20);
/// Half of glibc's first time-out, the shortest of the common ones.
const FAST: Duration = Duration::from_millis(2500);
const SERVERS: [&str; 3] = ["10.96.0.10", "10.96.0.11", "10.96.0.12"];

const POLICY: &str = r#"
version = 1
name = "web"
[[allow]]
name = "web"
hosts = ["*.example.com"]
ports = ["443"]
budget = { names = 100000, bytes = "64MiB" }
"#;

struct Scene {
    pod: Pod,
    world: World,
    /// Names are asked once, so that nothing is answered out of what is kept.
    names: Cell<u32>,
}

fn scene() -> Scene {
    let world = World::new();
    Scene { pod: world.pod("app"), world, names: Cell::new(0) }
}

fn nameservers(servers: &[&str]) -> String {
    servers.iter().map(|server| format!("nameserver {server}\n")).collect()
}

impl Scene {
    /// An authority that answers every name so much later.
    fn server(&self, address: &str, delay: u64) -> Authority {
        let authority = self.world.authority_at(&[SocketAddr::new(address.parse().unwrap(), 53)]);
        authority.a("*.example.com", &["198.51.100.7"], 60);
        be_honest(&authority, delay);
        authority
    }

    /// Asks for a new name; gives the time until its answer.
    fn ask(&self) -> Duration {
        let name = format!("n{}.example.com", self.names.replace(self.names.get() + 1));
        let asked = Instant::now();
        let reply = ask(self.pod.namespace(), (RESOLVER, 53).into(), &name, Type::A, FAST);
        let reply = reply.unwrap_or_else(|| panic!("{name} is not answered within {FAST:?}"));
        assert_eq!((reply.metadata.response_code, reply.answers.len()), (ResponseCode::NoError, 1), "{name}");
        asked.elapsed()
    }

    fn ask_often(&self, times: u32) -> Duration {
        (0..times).map(|_| self.ask()).max().unwrap()
    }

    /// How often each server is asked for so many new names.
    fn asked<const N: usize>(&self, servers: [&Authority; N], times: u32) -> [u64; N] {
        for server in servers {
            server.forget();
        }
        let _in_time = self.ask_often(times);
        servers.map(Authority::asked_in_all)
    }
}

fn be_honest(authority: &Authority, delay: u64) {
    authority.behave_always(&[Behaviour::Delay(Duration::from_millis(delay))]);
}

/// Where questions went on the wire.
fn went_to(watcher: &Watcher, server: &str) -> usize {
    let server: IpAddr = server.parse().unwrap();
    watcher.left_pod(|packet| packet.destination_port == 53 && packet.destination == server).len()
}

fn upstream<'a>(status: &'a serde_json::Value, server: &str) -> &'a serde_json::Value {
    let found = status["upstreams"].as_array().unwrap().iter().find(|one| one["address"] == format!("{server}:53"));
    found.unwrap_or_else(|| panic!("{server} is not in {status:#}"))
}

#[test]
fn the_fastest_is_asked_and_its_death_is_felt_for_less_than_a_time_out() {
    let scene = scene();
    let (slow, mut fast, middle) = (scene.server(SERVERS[0], 90), scene.server(SERVERS[1], 0), scene.server(SERVERS[2], 30));
    scene.pod.set_resolv_conf(&nameservers(&SERVERS));
    let portreeve = Setup::new(&scene.pod).policy("web.toml", POLICY).start();
    let _in_time = scene.ask_often(10);
    let [to_slow, to_fast, to_middle] = scene.asked([&slow, &fast, &middle], 30);
    assert!(to_fast >= 28 && to_slow + to_middle <= 6, "{to_slow} {to_fast} {to_middle}");
    // The slowest may not have answered yet.
    let measured = |status: &serde_json::Value| SERVERS.iter().all(|server| upstream(status, server)["round-trip-us"].is_u64());
    let status = portreeve.wait_status("all measured", Duration::from_secs(5), measured);
    let round_trip = |server| upstream(&status, server)["round-trip-us"].as_u64().unwrap();
    assert!(round_trip(SERVERS[1]) < round_trip(SERVERS[2]) && round_trip(SERVERS[2]) < round_trip(SERVERS[0]), "{status:#}");

    // It falls silent; then it is not even there (ICMP says so).
    for gone in [false, true] {
        if gone {
            drop(fast);
            fast = scene.world.authority_at(&[SocketAddr::from(([203, 0, 113, 53], 53))]);
        } else {
            fast.behave_always(&[Behaviour::Drop]);
        }
        let worst = scene.ask_often(10);
        assert!(worst < FAST, "gone: {gone}: {worst:?}");
        assert_eq!(resolve(&scene.pod, Libc::Glibc, &format!("glibc-{gone}.example.com")).addresses.len(), 1);
        let [to_slow, to_middle] = scene.asked([&slow, &middle], 10);
        assert!(to_middle >= 9 && to_slow <= 3, "gone: {gone}: the next best is asked: {to_slow} {to_middle}");
        let said = portreeve.wait_status("it is down", LIMIT, |status| {
            let _more_tries = scene.ask();
            upstream(status, SERVERS[1])["answers"] == false
        });
        assert_eq!((&upstream(&said, SERVERS[0])["answers"], &upstream(&said, SERVERS[2])["answers"]), (&true.into(), &true.into()));
        assert!(portreeve.ask(&["status", "--ready"]).stdout.contains("not answering: 10.96.0.11:53"));

        if gone {
            drop(fast);
            fast = scene.server(SERVERS[1], 0);
        } else {
            be_honest(&fast, 0);
        }
        // Few questions: of many, one would be drawn to measure it, and find it alive by that.
        let back = (0..40).find(|_| {
            std::thread::sleep(Duration::from_millis(400));
            scene.asked([&fast], 2) == [2]
        });
        assert!(back.is_some(), "gone: {gone}: it is not asked again: {:#}", portreeve.status());
        assert_eq!(upstream(&portreeve.status(), SERVERS[1])["answers"], true);
    }
}

#[test]
fn a_server_that_answers_with_an_error_is_not_down_and_the_next_is_asked() {
    let scene = scene();
    let (first, second) = (scene.server(SERVERS[0], 0), scene.server(SERVERS[1], 20));
    scene.pod.set_resolv_conf(&nameservers(&SERVERS[..2]));
    let portreeve = Setup::new(&scene.pod).policy("web.toml", POLICY).start();
    for code in [ResponseCode::ServFail, ResponseCode::Refused] {
        first.behave_always(&[Behaviour::Code(code)]);
        let [to_first, to_second] = scene.asked([&first, &second], 20);
        // After three errors in a row it is asked behind the other, so of the second code it may have no occasion.
        assert!((to_first >= 1 || code == ResponseCode::Refused) && to_second >= 20, "{code}: {to_first} {to_second}");
        let status = portreeve.status();
        assert_eq!(upstream(&status, SERVERS[0])["answers"], true, "{code}: {status:#}");
        assert!(!portreeve.ask(&["status", "--ready"]).stdout.contains("not answering"));
    }
    // All of them: the client hears of it at once.
    second.behave_always(&[Behaviour::Code(ResponseCode::ServFail)]);
    let asked = Instant::now();
    let failed = dig(&scene.pod, &["all.example.com"]);
    assert!(failed.status == "SERVFAIL" && asked.elapsed() < FAST, "{}", failed.raw);
    assert_eq!(failed.ede[0].0, 22);
    // It is asked again once it can help.
    be_honest(&first, 0);
    be_honest(&second, 60);
    let back = wait_until(LIMIT, || {
        let [again] = scene.asked([&first], 5);
        (again >= 4).then_some(())
    });
    assert!(back.is_some(), "{:#}", portreeve.status());
}

/// How resolv.conf is changed.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// Written in place.
    InPlace,
    /// Another file takes its name.
    Rename,
    /// Written behind a bind mount, as container runtimes mount it.
    Mounted,
}

/// New names asked one after the other, each of which must be answered, until it is stopped.
struct Stream {
    stop: Arc<AtomicBool>,
    asker: std::thread::JoinHandle<(u32, Vec<String>)>,
}

impl Stream {
    fn start(pod: &Pod, label: &'static str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let asker = pod.namespace().thread(move || {
            let (mut number, mut lost) = (0, Vec::new());
            while !stopped.load(Ordering::Acquire) {
                let name = format!("{label}-{number}.example.com");
                match ask_here((RESOLVER, 53).into(), &name, Type::A, FAST) {
                    Ok(reply) if reply.answers.len() == 1 => {}
                    Ok(reply) => lost.push(format!("{name}: {}", reply.metadata.response_code)),
                    Err(cause) => lost.push(format!("{name}: {cause}")),
                }
                number += 1;
            }
            (number, lost)
        });
        Self { stop, asker }
    }

    fn stop(self) -> (u32, Vec<String>) {
        self.stop.store(true, Ordering::Release);
        self.asker.join().unwrap()
    }
}

#[test]
fn resolv_conf_is_followed_however_it_is_changed_and_no_answer_is_lost() {
    for (change, label) in [(Change::InPlace, "in-place"), (Change::Rename, "rename"), (Change::Mounted, "mounted")] {
        let scene = scene();
        let (old, new) = (scene.server(SERVERS[0], 5), scene.server(SERVERS[1], 5));
        let directory = scene.pod.files().join("resolver");
        fs::create_dir(&directory).unwrap();
        let path = match change {
            Change::Mounted => scene.pod.files().join("resolv.conf"),
            Change::InPlace | Change::Rename => directory.join("resolv.conf"),
        };
        fs::write(&path, nameservers(&SERVERS[..1])).unwrap();
        let setup = Setup::new(&scene.pod).policy("web.toml", POLICY);
        let setup = if matches!(change, Change::Mounted) { setup } else { setup.option("--resolv-conf", path.display()) };
        let portreeve = setup.start();
        let rules = || scene.pod.command("nft").args(["list", "ruleset"]).output().expect_ok("nft list ruleset");
        assert!(rules().contains(SERVERS[0]) && !rules().contains(SERVERS[1]), "{}", rules());

        let stream = Stream::start(&scene.pod, label);
        assert!(wait_until(LIMIT, || (old.asked_in_all() >= 20).then_some(())).is_some());
        match change {
            Change::InPlace | Change::Mounted => fs::write(&path, nameservers(&SERVERS[1..2])).unwrap(),
            Change::Rename => {
                fs::write(directory.join("new"), nameservers(&SERVERS[1..2])).unwrap();
                fs::rename(directory.join("new"), &path).unwrap();
            }
        }
        let asked = wait_until(LIMIT, || (new.asked_in_all() >= 20).then_some(()));
        assert!(asked.is_some(), "{change:?}: the new one is not asked\n{}", portreeve.log());
        let watcher = scene.pod.watch();
        std::thread::sleep(Duration::from_millis(300));
        let (asked, lost) = stream.stop();
        assert!(lost.is_empty(), "{change:?}: {} of {asked} were lost, the first: {}", lost.len(), lost[0]);
        assert!(asked >= 40 && went_to(&watcher, SERVERS[1]) >= 10, "{change:?}: {asked}");
        assert_eq!(went_to(&watcher, SERVERS[0]), 0, "{change:?}: the old one is asked still");
        assert!(rules().contains(SERVERS[1]) && !rules().contains(SERVERS[0]), "{change:?}: {}", rules());
        let status = portreeve.status();
        assert_eq!(status["upstreams"].as_array().unwrap().len(), 1, "{status:#}");
        upstream(&status, SERVERS[1]);
    }
}

#[test]
fn a_resolv_conf_that_names_nobody_changes_nothing_and_is_said() {
    let scene = scene();
    let server = scene.server(SERVERS[0], 0);
    let other = scene.server(SERVERS[1], 0);
    scene.pod.set_resolv_conf(&nameservers(&SERVERS[..1]));
    let portreeve = Setup::new(&scene.pod).policy("web.toml", POLICY).start();
    for (text, said) in
        [("", "names none"), ("nameserver nobody\n", "the resolvers stay as they are"), ("search a.example\n", "names none")]
    {
        scene.pod.set_resolv_conf(text);
        let told = |status: &serde_json::Value| status["last-error"]["what"].as_str().is_some_and(|what| what.contains(said));
        let status = portreeve.wait_status(&format!("{text:?} is told"), LIMIT, told);
        assert_eq!(status["ready"], true);
        upstream(&status, SERVERS[0]);
        let [to_server] = scene.asked([&server], 5);
        assert_eq!(to_server, 5, "{text:?}");
        assert!(portreeve.ask(&["status", "--ready"]).stdout.contains(said));
    }
    // And on with the next good one, which also ends the complaint.
    scene.pod.set_resolv_conf(&nameservers(&SERVERS[1..2]));
    portreeve.wait_status("it is followed again", LIMIT, |status| status["upstreams"][0]["address"] == "10.96.0.11:53");
    let [to_other] = scene.asked([&other], 5);
    assert_eq!(to_other, 5);
    let text = portreeve.ask(&["status", "--ready"]).stdout;
    assert!(!text.contains("last error"), "{text}");
}

#[test]
fn what_an_app_writes_into_resolv_conf_is_not_believed_where_the_first_word_is_kept() {
    let scene = scene();
    let (server, evil) = (scene.server(SERVERS[0], 0), scene.server(SERVERS[1], 0));
    evil.a("*.example.com", &["203.0.113.66"], 60);
    let kept = scene.pod.world().scratch().make_dir("kept", 0o755).join("resolv.conf");
    scene.pod.set_resolv_conf(&nameservers(&SERVERS[..1]));
    let mut portreeve = Setup::new(&scene.pod).policy("web.toml", POLICY).option("--kept-resolv-conf", kept.display()).start();
    // As root of a container does, into whose root the runtime mounts the pod's file.
    let write = format!("printf 'nameserver {}\\n' >/etc/resolv.conf", SERVERS[1]);
    let _nothing = scene.pod.command("sh").args(["-c", &write]).output().expect_ok("an app writes");
    let told = |status: &serde_json::Value| status["last-error"]["what"].as_str().is_some_and(|what| what.contains("is not followed"));
    let status = portreeve.wait_status("it is told", LIMIT, told);
    assert_eq!(status["ready"], true);
    let watcher = scene.pod.watch();
    for ended in ["not at all", "the worker", "the sidecar"] {
        match ended {
            "the worker" => drop(portreeve.kill_worker()),
            "the sidecar" => {
                portreeve.kill();
                portreeve.relaunch();
            }
            _ => {}
        }
        portreeve.expect_ready(LIMIT);
        let [to_server, to_evil] = scene.asked([&server, &evil], 5);
        assert_eq!((to_server, to_evil), (5, 0), "ended: {ended}\n{}", portreeve.log());
    }
    assert_eq!(went_to(&watcher, SERVERS[1]), 0, "the other one was asked");
}

#[test]
fn a_resolver_with_a_link_local_address_is_asked() {
    let scene = scene();
    let local = "169.254.25.10";
    let _nothing =
        scene.world.command("ip").args(["route", "add", "local", &format!("{local}/32"), "dev", "lo"]).output().expect_ok("ip route");
    let server = scene.server(local, 0);
    scene.pod.set_resolv_conf(&nameservers(&[local]));
    let portreeve: Portreeve<'_> = Setup::new(&scene.pod).policy("web.toml", POLICY).start();
    for libc in Libc::ALL {
        let name = format!("{libc:?}.example.com").to_lowercase();
        assert_eq!(
            resolve(&scene.pod, libc, &name).addresses,
            ["198.51.100.7".parse::<IpAddr>().unwrap()],
            "{libc:?}\n{}",
            portreeve.log()
        );
    }
    assert_eq!(server.asked("glibc.example.com", Type::A), 1);
    // The app itself does not get there but by asking.
    let direct = integration::clients::connect(&scene.pod, format!("{local}:80").parse().unwrap(), FAST);
    assert_eq!(direct.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    let watcher = scene.pod.watch();
    let answer = dig(&scene.pod, &[&format!("@{local}"), "evil.example.org"]);
    assert_eq!(answer.status, "NXDOMAIN");
    watcher.expect_silence("a refused name");
}
