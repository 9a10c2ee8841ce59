//! Promise: nothing leaves unless a policy permits it: not with no policy, not with a broken one, not after it died, however it died.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::net::SocketAddr;
use std::time::Duration;

use integration::clients::{connect, dig, echo, getent};
use integration::{Authority, Pod, Portreeve, Setup, TcpTarget, UdpTarget, Watcher, World};

const SECOND: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(10);

const POLICY: &str = r#"
version = 1
name = "web"
[[allow]]
name = "api"
hosts = ["api.example.com"]
ports = ["443"]
"#;

const BROKEN: &str = "version = 1\nname = \"web\"\n[[allow]]\nname = \"api\"\nhosts = [\"a*.example.com\"]\nports = [\"443\"]\n";

struct Scene {
    authority: Authority,
    web: TcpTarget,
    _others: (TcpTarget, UdpTarget),
    pod: Pod,
    _world: World,
}

fn scene() -> Scene {
    let world = World::new();
    let authority = world.authority();
    authority.a("api.example.com", &["198.51.100.7"], 60);
    authority.a("other.example.com", &["203.0.113.9"], 60);
    let web = TcpTarget::on(world.outside(), "198.51.100.7:443", "");
    let others = (TcpTarget::on(world.outside(), "203.0.113.9:443", ""), UdpTarget::on(world.outside(), "203.0.113.9:9000"));
    Scene { authority, web, _others: others, pod: world.pod("app"), _world: world }
}

/// Tries what is not permitted, in several ways, and looks at the wire.
fn expect_held(scene: &Scene, watcher: &Watcher, when: &str) {
    watcher.forget();
    let pod = &scene.pod;
    for address in ["203.0.113.9:443", "203.0.113.9:853", "[2001:db8:ffff::9]:443"] {
        let tried = connect(pod, address.parse::<SocketAddr>().unwrap(), SECOND);
        assert!(tried.is_err(), "{when}: connected to {address}");
    }
    assert!(echo(pod, "203.0.113.9:9000".parse().unwrap(), b"hello", SECOND / 5).is_err(), "{when}: UDP came back");
    let _held_or_refused = dig(pod, &["@203.0.113.9", "other.example.com", "+time=1"]);
    let _held_or_refused = dig(pod, &["other.example.com", "+time=1"]);
    watcher.expect_silence(when);
    assert_eq!(scene.authority.asked("other.example.com", integration::authority::Type::A), 0, "{when}: the question left");
}

fn expect_permitted(scene: &Scene, portreeve: &Portreeve<'_>, when: &str) {
    assert_eq!(getent(&scene.pod, "api.example.com").len(), 1, "{when}: {}", portreeve.log());
    connect(&scene.pod, scene.web.address(), SECOND).unwrap_or_else(|cause| panic!("{when}: {cause}\n{}", portreeve.log()));
}

#[test]
fn the_attempts_do_leave_where_nothing_holds_them() {
    let scene = scene();
    let watcher = scene.pod.watch();
    connect(&scene.pod, "203.0.113.9:443".parse().unwrap(), SECOND).expect("not held");
    assert!(echo(&scene.pod, "203.0.113.9:9000".parse().unwrap(), b"hello", SECOND).is_ok());
    assert_eq!(dig(&scene.pod, &["other.example.com"]).addresses().len(), 1);
    assert!(!watcher.leaks().is_empty());
}

#[test]
fn with_an_empty_policy_directory() {
    let scene = scene();
    let watcher = scene.pod.watch();
    let portreeve = Setup::new(&scene.pod).start();
    expect_held(&scene, &watcher, "with an empty directory");
    assert!(getent(&scene.pod, "api.example.com").is_empty(), "{}", portreeve.log());
    watcher.expect_silence("with an empty directory");
}

#[test]
fn with_a_broken_file_at_start_and_until_it_is_mended() {
    let scene = scene();
    let watcher = scene.pod.watch();
    let portreeve = Setup::new(&scene.pod).policy("web.toml", BROKEN).launch();
    assert!(portreeve.wait_for_log("web.toml", LIMIT), "it says which file is broken: {}", portreeve.log());
    // The fence stands although it is not ready.
    let fenced = integration::wait_until(LIMIT, || connect(&scene.pod, scene.web.address(), SECOND).is_err().then_some(()));
    assert!(fenced.is_some(), "no fence: {}", portreeve.log());
    expect_held(&scene, &watcher, "with a broken file");
    assert!(!portreeve.is_ready());
    portreeve.swap_policies(&[("web.toml", POLICY)]);
    portreeve.expect_ready(LIMIT);
    expect_permitted(&scene, &portreeve, "mended");
}

#[test]
fn a_broken_file_on_reload_changes_nothing() {
    let scene = scene();
    let portreeve = Setup::new(&scene.pod).policy("web.toml", POLICY).start();
    expect_permitted(&scene, &portreeve, "before");
    portreeve.swap_policies(&[("web.toml", BROKEN)]);
    let told = integration::wait_until(LIMIT, || (!portreeve.status()["last-error"].is_null()).then_some(()));
    assert!(told.is_some(), "status tells of it: {:#}\n{}", portreeve.status(), portreeve.log());
    expect_permitted(&scene, &portreeve, "with a broken file");
    expect_held(&scene, &scene.pod.watch(), "with a broken file on reload");
}

#[test]
fn after_sigkill_and_after_sigterm() {
    for clean in [false, true] {
        let scene = scene();
        let watcher = scene.pod.watch();
        let mut portreeve = Setup::new(&scene.pod).policy("web.toml", POLICY).start();
        expect_permitted(&scene, &portreeve, "before");
        if clean {
            let status = portreeve.terminate(LIMIT).unwrap_or_else(|| panic!("SIGTERM does not end it: {}", portreeve.log()));
            assert_eq!(status.code(), Some(0), "{}", portreeve.log());
        } else {
            portreeve.kill();
        }
        connect(&scene.pod, scene.web.address(), SECOND).expect("what is leased goes on");
        expect_held(&scene, &watcher, if clean { "after SIGTERM" } else { "after SIGKILL" });
        portreeve.relaunch();
        portreeve.expect_ready(LIMIT);
        expect_permitted(&scene, &portreeve, "started again");
        expect_held(&scene, &watcher, "started again");
    }
}

#[test]
fn while_the_worker_is_killed_and_restarted() {
    let scene = scene();
    let watcher = scene.pod.watch();
    let portreeve = Setup::new(&scene.pod).policy("web.toml", POLICY).start();
    expect_permitted(&scene, &portreeve, "before");
    let old = portreeve.kill_worker();
    expect_held(&scene, &watcher, "the worker was killed");
    let new = integration::wait_until(LIMIT, || Some(portreeve.worker()).filter(|pid| *pid != old));
    assert!(new.is_some(), "{}", portreeve.log());
    portreeve.expect_ready(LIMIT);
    expect_permitted(&scene, &portreeve, "a new worker");
    expect_held(&scene, &watcher, "a new worker");
}
