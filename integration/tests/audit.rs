//! Promise: in audit nothing is blocked and everything is told as it would have been; one file that does not say audit holds the pod; and
//! enforced again, the next packet of what nothing opens is refused.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use integration::clients::{connect, dig, echo};
use integration::{Authority, Pod, Setup, TcpTarget, UdpTarget, World, wait_until};
use serde_json::{Value, json};

const SECOND: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(10);

fn policy(mode: &str) -> String {
    format!(
        "version = 1\nname = \"shop\"\nmode = \"{mode}\"\n[[allow]]\nname = \"web\"\nhosts = [\"*.example.com\"]\nports = [\"443\"]\n\
         budget = {{ names = 2 }}\n[[deny]]\nname = \"bad\"\nhosts = [\"bad.example.com\"]\ncidrs = [\"203.0.113.0/24\"]\n"
    )
}

struct Scene {
    authority: Authority,
    _targets: (Vec<TcpTarget>, UdpTarget),
    pod: Pod,
    _world: World,
}

fn scene() -> Scene {
    let world = World::new();
    let authority = world.authority();
    let tcp = ["[::]:443", "[::]:22", "169.254.169.254:80"].map(|address| TcpTarget::on(world.outside(), address, ""));
    let udp = UdpTarget::on(world.outside(), "198.51.100.9:9000");
    for (name, address) in [
        ("api.example.com", "198.51.100.7"),
        ("bad.example.com", "198.51.100.8"),
        ("github.com", "198.51.100.9"),
        ("inner.example.com", "10.96.7.7"),
        ("one.example.com", "198.51.100.11"),
        ("two.example.com", "198.51.100.12"),
    ] {
        authority.a(name, &[address], 60);
    }
    Scene { authority, _targets: (tcp.into(), udp), pod: world.pod("app"), _world: world }
}

fn to(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

fn is_flow(line: &Value, event: &str, address: &str, port: u16) -> bool {
    line["flow.event"] == event && line["destination.address"] == address && line["destination.port"] == port
}

#[test]
fn in_audit_nothing_is_blocked_and_all_of_it_is_told() {
    let scene = scene();
    let portreeve = Setup::new(&scene.pod).policy("shop.toml", &policy("audit")).start();
    assert_eq!(portreeve.status()["mode"], "audit");
    assert!(portreeve.wait_for_log("nothing is held", LIMIT), "{}", portreeve.log());
    // Names: permitted, denied, of no rule, with a private address, over the budget; a name that does not exist is upstream's to say.
    for (name, address, verdict, reason) in [
        ("api.example.com", "198.51.100.7", "permitted", None),
        ("bad.example.com", "198.51.100.8", "would-deny", Some("denied")),
        ("github.com", "198.51.100.9", "would-deny", Some("not-permitted")),
        ("inner.example.com", "10.96.7.7", "permitted", None),
        ("one.example.com", "198.51.100.11", "would-deny", Some("over-budget")),
    ] {
        let answer = dig(&scene.pod, &[name]);
        assert_eq!(answer.addresses(), [address.parse::<std::net::IpAddr>().unwrap()], "{name}: {}", answer.raw);
        assert!(answer.answers.iter().all(|(_, ttl, _, _)| *ttl >= 50), "{name}: {}", answer.raw);
        let told = portreeve.wait_flow(name, LIMIT, |line| line["dns.question.name"] == name);
        assert_eq!((&told["dns.verdict"], told.get("dns.reason")), (&json!(verdict), reason.map(Value::from).as_ref()), "{told}");
    }
    // From what was kept, it is told as what it was.
    let again = dig(&scene.pod, &["github.com"]);
    assert_eq!(again.status, "NOERROR");
    // Addresses: of a refused name, of another port, of nobody, in a denied range, a cloud's metadata; UDP and IPv6 too.
    for (address, port, cause) in [
        ("198.51.100.9", 443, json!({"type": "refused-name", "name": "github.com", "reason": "not-permitted"})),
        ("198.51.100.7", 22, json!({"type": "port-not-granted", "names": ["api.example.com"], "ports": "443"})),
        ("198.51.100.99", 443, json!({"type": "never-resolved"})),
        ("2001:db8:ffff::99", 443, json!({"type": "never-resolved"})),
        ("203.0.113.5", 443, json!({"type": "denied-range", "range": "203.0.113.0/24", "policy": "shop"})),
    ] {
        drop(connect(&scene.pod, to(address, port), 5 * SECOND).unwrap_or_else(|error| panic!("{address}:{port} is blocked: {error}")));
        let told = portreeve.wait_flow("the flow", LIMIT, |line| is_flow(line, "began", address, port));
        assert_eq!(
            (&told["flow.verdict"], &told["flow.mode"], &told["flow.cause"]),
            (&json!("would-deny"), &json!("audit"), &cause),
            "{told}"
        );
    }
    drop(connect(&scene.pod, to("169.254.169.254", 80), 5 * SECOND).unwrap());
    assert_eq!(echo(&scene.pod, to("198.51.100.9", 9000), b"hello", 5 * SECOND).unwrap(), b"hello");
    let told = portreeve.wait_flow("the datagram", LIMIT, |line| is_flow(line, "began", "198.51.100.9", 9000));
    assert_eq!((&told["flow.names"], &told["network.transport"]), (&json!(["github.com"]), &json!("udp")));
    // What is permitted is told as that.
    drop(connect(&scene.pod, to("198.51.100.7", 443), 5 * SECOND).unwrap());
    let told = portreeve.wait_flow("the permitted one", LIMIT, |line| is_flow(line, "began", "198.51.100.7", 443));
    assert_eq!((&told["flow.verdict"], &told["flow.rule"]), (&json!("permitted"), &json!("web")));
    let log = portreeve.flow_log();
    assert!(log.iter().all(|line| line["flow.event"] != "refused" && line["dns.verdict"] != "refused"), "{log:#?}");
}

#[test]
fn enforced_again_the_next_packet_is_refused_and_no_answer_of_the_audit_is_told() {
    let scene = scene();
    let portreeve = Setup::new(&scene.pod).policy("shop.toml", &policy("audit")).start();
    assert_eq!(dig(&scene.pod, &["github.com"]).status, "NOERROR");
    assert_eq!(dig(&scene.pod, &["api.example.com"]).status, "NOERROR");
    let (mut denied, _) = connect(&scene.pod, to("198.51.100.9", 443), 5 * SECOND).unwrap();
    let (mut permitted, _) = connect(&scene.pod, to("198.51.100.7", 443), 5 * SECOND).unwrap();
    portreeve.swap_policies(&[("shop.toml", &policy("enforce"))]);
    portreeve.wait_status("enforced", LIMIT, |status| status["mode"] == "enforce");
    assert_eq!(dig(&scene.pod, &["github.com"]).status, "NXDOMAIN", "what was kept in audit is not told");
    let refused = || connect(&scene.pod, to("198.51.100.9", 443), 5 * SECOND).is_err();
    assert!(refused());
    let cut = wait_until(LIMIT, || denied.write(b"x").is_err().then_some(()));
    assert!(cut.is_some(), "the connection that nothing opens goes on");
    permitted.write_all(b"x").unwrap();
    std::thread::sleep(Duration::from_millis(200));
    permitted.write_all(b"x").expect("what is permitted goes on");
    // And back.
    portreeve.swap_policies(&[("shop.toml", &policy("audit"))]);
    portreeve.wait_status("audited", LIMIT, |status| status["mode"] == "audit");
    assert_eq!(dig(&scene.pod, &["github.com"]).status, "NOERROR");
    assert!(!refused());
    // A file with an error changes nothing; and after a crash it is as before.
    let _ = portreeve.kill_worker();
    portreeve.expect_ready(LIMIT);
    assert!(!refused());
}

#[test]
fn one_file_that_does_not_say_audit_holds_the_pod_and_no_file_at_all_holds_it_too() {
    let scene = scene();
    let platform = "version = 1\nname = \"platform\"\nplatform = true\n[[deny]]\nhosts = [\"example.org\"]\n";
    let files = [("shop.toml", policy("audit")), ("platform.toml", platform.to_owned())];
    let portreeve = Setup::new(&scene.pod).policy("shop.toml", &files[0].1).policy("platform.toml", &files[1].1).start();
    assert_eq!(portreeve.status()["mode"], "enforce");
    assert_eq!(dig(&scene.pod, &["github.com"]).status, "NXDOMAIN");
    assert!(connect(&scene.pod, to("198.51.100.9", 443), 5 * SECOND).is_err());
    portreeve.swap_policies(&[]);
    portreeve.wait_status("no file", LIMIT, |status| status["policies"].as_array().is_some_and(Vec::is_empty));
    assert_eq!(portreeve.status()["mode"], "enforce");
    assert!(connect(&scene.pod, to("198.51.100.9", 443), 5 * SECOND).is_err());
    drop(scene.authority);
}
