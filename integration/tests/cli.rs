//! Promise: the commands that ask the running sidecar show what the kernel has and what was seen, by name, and say whose view it is.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use integration::clients::{connect, dig};
use integration::{Authority, Pod, Setup, TcpTarget, World, wait_until};
use serde_json::Value;

const SECOND: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(10);

const POLICY: &str = r#"
version = 1
name = "shop"
[[allow]]
name = "web"
hosts = ["*.example.com"]
ports = ["443"]
"#;

struct Scene {
    _authority: Authority,
    _web: TcpTarget,
    pod: Pod,
    _world: World,
}

/// One name is permitted and dialled, one refused, and one address dialled that nobody resolved.
fn scene() -> Scene {
    let world = World::new();
    let authority = world.authority();
    authority.a("api.example.com", &["198.51.100.7"], 60);
    let web = TcpTarget::on(world.outside(), "[::]:443", "");
    Scene { _authority: authority, _web: web, pod: world.pod("app"), _world: world }
}

fn act(pod: &Pod) {
    let to = |address: &str| SocketAddr::new(address.parse().unwrap(), 443);
    assert_eq!(dig(pod, &["api.example.com"]).status, "NOERROR");
    assert_eq!(dig(pod, &["github.com"]).status, "NXDOMAIN");
    drop(connect(pod, to("198.51.100.7"), 5 * SECOND).unwrap());
    assert!(connect(pod, to("198.51.100.99"), 5 * SECOND).is_err());
}

/// Today by UTC, as a policy writes it.
fn today() -> String {
    let told = std::process::Command::new("date").args(["-u", "+%F"]).output().unwrap();
    String::from_utf8(told.stdout).unwrap().trim().to_owned()
}

/// The text without times, ports and white space of varying length.
fn masked(text: &str) -> Vec<String> {
    let words = |line: &str| {
        let words = line.split_whitespace().map(|word| match word {
            time if time.ends_with('Z') && time.contains('T') => "TIME",
            other => other,
        });
        words.collect::<Vec<_>>().join(" ")
    };
    text.lines().map(words).collect()
}

#[test]
fn flows_and_questions_are_shown_by_name_and_can_be_picked() {
    let scene = scene();
    let portreeve = Setup::new(&scene.pod).policy("shop.toml", POLICY).start();
    act(&scene.pod);
    portreeve.wait_flow("the refusal", LIMIT, |line| line["flow.event"] == "refused");
    portreeve.wait_flow("the question", LIMIT, |line| line["dns.question.name"] == "github.com");
    let shown = portreeve.ask(&["flows"]).expect_ok("flows");
    let mut rows = masked(&shown);
    rows[1..3].sort_unstable();
    assert_eq!(
        rows[..3],
        [
            "time what count target names by or why volume",
            "TIME permitted 1 198.51.100.7:443 api.example.com shop.web",
            "TIME refused 1 198.51.100.99:443 - never resolved: no permitted name led there",
        ],
        "{shown}"
    );
    assert!(shown.ends_with("the whole log is on its stdout)\n"), "{shown}");
    let denied = portreeve.ask(&["flows", "--denied", "--json"]).expect_ok("flows");
    let lines: Vec<Value> = denied.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().map(|line| line["destination.address"].as_str().unwrap()).collect::<Vec<_>>(), ["198.51.100.99"]);
    for (args, wanted) in [
        (vec!["--name", "*.example.com"], 1),
        (vec!["--name", "example.com"], 0),
        (vec!["--since", "1h"], 2),
        (vec!["--since", "2099-01-01T00:00:00Z"], 0),
        (vec!["--last", "1"], 1),
    ] {
        let told = portreeve.ask(&[&["flows", "--json"], args.as_slice()].concat()).expect_ok("flows");
        assert_eq!(told.lines().count(), wanted, "{args:?}: {told}");
    }
    let wrong = portreeve.ask(&["flows", "--since", "yesterday"]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.stderr.starts_with("portreeve: --since yesterday: neither a span"), "{}", wrong.stderr);
    let asked = masked(&portreeve.ask(&["dns"]).expect_ok("dns"));
    assert!(asked[1].starts_with("TIME permitted 1 A api.example.com 198.51.100.7 60 upstream shop.web"), "{asked:#?}");
    assert!(asked[2].starts_with("TIME refused 1 A github.com NXDOMAIN") && asked[2].ends_with("here not-permitted"), "{asked:#?}");
}

#[test]
fn who_follows_gets_what_comes() {
    let scene = scene();
    let portreeve = Setup::new(&scene.pod).policy("shop.toml", POLICY).start();
    let mut stream = UnixStream::connect(portreeve.control()).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.write_all(b"flows follow\n").unwrap();
    act(&scene.pod);
    let mut events = Vec::new();
    for line in BufReader::new(stream).lines().take(2) {
        let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
        events.push(line["flow.event"].as_str().unwrap().to_owned());
    }
    // Each is told as soon as it is known: which is known first is the kernel's affair.
    events.sort_unstable();
    assert_eq!(events, ["began", "refused"]);
    // Four may follow, and others are still answered.
    let follow = || {
        let mut stream = UnixStream::connect(portreeve.control()).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(b"flows follow\n").unwrap();
        let mut line = String::new();
        let _ = BufReader::new(stream.try_clone().unwrap()).read_line(&mut line);
        (stream, line)
    };
    let all: Vec<_> = (0..6).map(|_| follow()).collect();
    assert!(all.iter().any(|(_, line)| line.contains("follow already")), "{all:?}");
    assert!(portreeve.is_ready());
    drop(all);
    assert!(wait_until(LIMIT, || (!follow().1.contains("follow already")).then_some(())).is_some(), "who has gone leaves a place");
}

#[test]
fn who_follows_sees_the_last_ones_first_and_whose_view_it_is() {
    let scene = scene();
    let portreeve = Setup::new(&scene.pod).policy("shop.toml", POLICY).start();
    for name in ["one.example.org", "two.example.org", "three.example.org"] {
        assert_eq!(dig(&scene.pod, &[name]).status, "NXDOMAIN");
        portreeve.wait_flow(name, LIMIT, |line| line["dns.question.name"] == name);
    }
    let binary = integration::product::binary().display().to_string();
    let command = scene.pod.command(&binary).args(["dns", "--follow", "--last", "1", "--denied", "--control"]);
    let following = command.arg(portreeve.control().display()).spawn();
    assert!(wait_until(LIMIT, || following.stdout().contains("three.example.org").then_some(())).is_some(), "{}", following.stderr());
    assert_eq!(dig(&scene.pod, &["four.example.org"]).status, "NXDOMAIN");
    assert!(wait_until(LIMIT, || following.stdout().contains("four.example.org").then_some(())).is_some(), "{}", following.stderr());
    let shown = following.stdout();
    let rows = masked(&shown);
    assert_eq!(rows[0], "(as the sidecar tells it from here on; the whole log is on its stdout)", "{shown}");
    assert!(rows[1].starts_with("time verdict count type name"), "{shown}");
    let names: Vec<&str> = rows[2..].iter().filter_map(|row| row.split(' ').nth(4)).collect();
    assert_eq!(names, ["three.example.org", "four.example.org"], "{shown}");
    // Column stands below column.
    let at = |name: &str| shown.lines().find_map(|line| line.find(name)).unwrap();
    assert_eq!(at("three.example.org"), at("four.example.org"), "{shown}");
}

#[test]
fn leases_are_those_of_the_kernel_with_their_names() {
    let scene = scene();
    let portreeve = Setup::new(&scene.pod).policy("shop.toml", POLICY).start();
    assert_eq!(masked(&portreeve.ask(&["leases"]).expect_ok("leases"))[0], "no address is open by lease");
    act(&scene.pod);
    let shown = portreeve.ask(&["leases"]).expect_ok("leases");
    let row = masked(&shown)[1].clone();
    assert!(row.starts_with("198.51.100.7 443 ") && row.ends_with("s yes api.example.com shop.web both"), "{shown}");
    // A look does not disturb what is leased next.
    assert_eq!(dig(&scene.pod, &["api.example.com"]).status, "NOERROR");
    let told: Value = serde_json::from_str(&portreeve.ask(&["leases", "--json"]).expect_ok("leases")).unwrap();
    let kernel = integration::leases::leases(&scene.pod);
    assert_eq!(told["leases"].as_array().unwrap().len(), kernel.len());
    let seconds = told["leases"][0]["kernel-seconds"].as_u64().unwrap();
    assert!(kernel[0].left.as_secs().abs_diff(seconds) <= 2, "{told} {kernel:?}");
}

#[test]
fn explain_says_what_was_seen_and_what_would_have_to_change() {
    let scene = scene();
    let portreeve = Setup::new(&scene.pod).policy("shop.toml", POLICY).start();
    act(&scene.pod);
    portreeve.wait_flow("the refusal", LIMIT, |line| line["flow.event"] == "refused");
    portreeve.wait_flow("the question", LIMIT, |line| line["dns.question.name"] == "github.com");
    let permitted = portreeve.ask(&["explain", "api.example.com:443"]);
    assert_eq!(permitted.code, 0, "{}", permitted.stderr);
    for part in ["permitted: api.example.com:443/tcp", "(by the policy in force)", "198.51.100.7", "shop.web"] {
        assert!(permitted.stdout.contains(part), "{part}: {}", permitted.stdout);
    }
    let refused = portreeve.ask(&["explain", "github.com:22"]);
    assert_eq!(refused.code, 1);
    for part in ["refused: github.com:22/tcp", "hosts = [\"github.com\"]", "not-permitted", "no address is open by lease"] {
        assert!(refused.stdout.contains(part), "{part}: {}", refused.stdout);
    }
    let address = portreeve.ask(&["explain", "198.51.100.99:443", "--json"]);
    assert_eq!(address.code, 1);
    let told: Value = serde_json::from_str(&address.stdout).unwrap();
    assert_eq!(told["recent"][0]["flow.cause"]["type"], "never-resolved", "{told}");
    let wrong = portreeve.ask(&["explain", "a..b"]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.stderr.starts_with("portreeve: a..b is not HOST|IP[:PORT[/PROTO]]"), "{}", wrong.stderr);
}

#[test]
fn the_doctor_finds_what_is_wrong_and_says_where_to_read_on() {
    let scene = scene();
    let files = scene.pod.files();
    std::fs::write(files.join("hosts"), "127.0.0.1 localhost\n198.51.100.50 db.example.org # of an operator\n").unwrap();
    std::fs::write(files.join("resolv.conf"), "nameserver 10.96.0.10\nsearch shop.svc.cluster.local\n").unwrap();
    let [hosts, resolv] = ["hosts", "resolv.conf"].map(|file| files.join(file).display().to_string());
    let policy = format!("{POLICY}[[allow]]\nname = \"soon\"\nhosts = [\"b.example\"]\nports = [\"443\"]\nexpires = {}\n", today());
    let portreeve = Setup::new(&scene.pod).policy("shop.toml", &policy).option("--metrics", "0.0.0.0:9153").start();
    act(&scene.pod);
    let look = |args: &[&str]| portreeve.ask(&[&["doctor", "--hosts", &hosts, "--resolv-conf", &resolv], args].concat());
    let well = look(&[]);
    assert_eq!(well.code, 0, "{}{}", well.stdout, well.stderr);
    for part in [
        "ok       sidecar: ready",
        "ok       policy: 1 files select this pod, 2 rules in force",
        "ok       ruleset: 1 leases, by the kernel and by the sidecar",
        "ok       resolver: 10.96.0.10:53 answers",
        "ok       resolv.conf: 1 resolvers, 1 search domains",
        "ok       kernel: connections are counted",
        "ok       version: ",
        "ok       flow log: NFLOG groups 7 and 8 are read",
        "ok       metrics: 127.0.0.1:9153 answers",
        "warning  policy: ",
        // The sidecar has a PID namespace of its own here: its pid is somebody else's, who is not to be judged for it.
        "warning  rights: the worker cannot be seen from here",
        "shop.toml:12: rule `soon` expires today",
        "warning  hosts: db.example.org is 198.51.100.50",
        "hint: open the address with cidrs, or take the line out (sidecar/README.md#hosts-file)",
    ] {
        assert!(well.stdout.contains(part), "{part}:\n{}", well.stdout);
    }
    // A broken policy, no resolver for apps, and nobody who answers.
    portreeve.swap_policies(&[("shop.toml", "version = 1\nnonsense = 1\n")]);
    portreeve.wait_status("an error", LIMIT, |status| status["last-error"].is_object());
    std::fs::write(files.join("resolv.conf"), "search shop.svc.cluster.local\n").unwrap();
    let ill = look(&["--json"]);
    assert_eq!(ill.code, 1, "{}", ill.stdout);
    let findings: Vec<Value> = serde_json::from_str(&ill.stdout).unwrap();
    let of = |about: &str, weight: &str| findings.iter().any(|finding| finding["about"] == about && finding["weight"] == weight);
    assert!(of("resolv.conf", "problem") && of("sidecar", "warning"), "{}", ill.stdout);
    let nobody =
        scene.pod.command(&integration::product::binary().display().to_string()).args(["doctor", "--control", "/nowhere"]).output();
    assert!(nobody.code == 1 && nobody.stdout.starts_with("PROBLEM  sidecar: no sidecar answers at /nowhere"), "{}", nobody.stdout);
}

#[test]
fn every_anchor_that_the_doctor_names_is_in_the_readme() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let files = std::fs::read_dir(root.join("sidecar/src/ask/doctor")).unwrap().map(|entry| entry.unwrap().path());
    let source: String = files.filter(|path| !path.ends_with("tests.rs")).map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let readme = std::fs::read_to_string(root.join("sidecar/README.md")).unwrap();
    let anchors: std::collections::BTreeSet<&str> = source.split('"').filter_map(|text| text.strip_prefix('#')).collect();
    assert!(anchors.len() > 18, "{anchors:?}");
    for anchor in anchors {
        let heading = readme.lines().any(|line| line.strip_prefix("## ").is_some_and(|title| title.to_lowercase() == anchor));
        assert!(heading || readme.contains(&format!("<a id=\"{anchor}\">")), "#{anchor}");
    }
}
