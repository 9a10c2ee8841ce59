//! Promise: a real Prometheus scrapes the sidecar and finds what the pod did; the exposition is clean by promtool; the port is bounded.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use integration::clients::{connect, dig};
use integration::{Pod, Portreeve, Setup, TcpTarget, World, wait_until};
use serde_json::Value;

const SECOND: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(20);
const PORT: u16 = 9464;

const POLICY: &str = r#"
version = 1
name = "shop"
[[allow]]
name = "web"
hosts = ["*.example.com"]
ports = ["443"]
"#;

fn start(pod: &Pod) -> Portreeve<'_> {
    Setup::new(pod).policy("shop.toml", POLICY).option("--metrics", format!("0.0.0.0:{PORT}")).start()
}

/// What the port says to these bytes, from outside the pod.
fn say(world: &World, pod: &Pod, bytes: &[u8]) -> String {
    let to = SocketAddr::from((pod.v4(), PORT));
    world.outside().run(|| {
        let mut stream = TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(bytes).unwrap();
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut said = String::new();
        let _ = stream.read_to_string(&mut said);
        said
    })
}

#[test]
fn prometheus_scrapes_what_the_pod_did() {
    let world = World::new();
    let authority = world.authority();
    authority.a("api.example.com", &["198.51.100.7"], 60);
    let _web = TcpTarget::on(world.outside(), "[::]:443", "");
    let pod = world.pod("app");
    let _portreeve = start(&pod);
    let dir = world.scratch().make_dir("prometheus", 0o777);
    let config = format!(
        "global: {{ scrape_interval: 1s }}\nscrape_configs:\n- job_name: pods\n  static_configs:\n  - targets: ['{}:{PORT}']\n    labels: {{ namespace: shop, app: cart }}\n",
        pod.v4()
    );
    fs::write(dir.join("prometheus.yml"), config).unwrap();
    let prometheus = world
        .command("prometheus")
        .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", dir.join("data").display()))
        .arg("--web.listen-address=127.0.0.1:9090")
        .spawn();
    let value = |query: &str| -> Option<f64> {
        let asked =
            world.command("curl").args(["-sG", "http://127.0.0.1:9090/api/v1/query", "--data-urlencode"]).arg(format!("query={query}"));
        let told: Value = serde_json::from_str(&asked.output().stdout).ok()?;
        told["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    };
    let becomes = |query: &str, wanted: f64| {
        let found = wait_until(LIMIT, || {
            std::thread::sleep(Duration::from_millis(200));
            value(query).filter(|value| (value - wanted).abs() < 0.5)
        });
        assert!(found.is_some(), "{query}: {:?}\n{}", value(query), prometheus.stderr());
    };
    becomes("portreeve_ready", 1.0);
    assert_eq!(dig(&pod, &["api.example.com"]).status, "NOERROR");
    assert_eq!(dig(&pod, &["github.com"]).status, "NXDOMAIN");
    for _ in 0..3 {
        drop(connect(&pod, "198.51.100.7:443".parse().unwrap(), 5 * SECOND).unwrap());
        assert!(connect(&pod, "198.51.100.99:443".parse().unwrap(), 5 * SECOND).is_err());
    }
    becomes("portreeve_flows_total{verdict=\"permitted\",direction=\"outbound\",name=\"api.example.com\",rule=\"web\",port=\"443\"}", 3.0);
    becomes("portreeve_flows_total{verdict=\"refused\",cause=\"never-resolved\",name=\"198.51.100.99\"}", 3.0);
    becomes("portreeve_questions_total{verdict=\"refused\",rcode=\"NXDOMAIN\"}", 1.0);
    becomes("portreeve_refused_names_total{name=\"github.com\",reason=\"not-permitted\",verdict=\"refused\"}", 1.0);
    becomes("portreeve_leases", 1.0);
    let _ = pod.command("conntrack").args(["-D", "-p", "tcp", "--dport", "443"]).output().expect_ok("conntrack");
    // At least the three segments of each handshake.
    let bytes = "portreeve_flow_bytes_total{name=\"api.example.com\",way=\"sent\",namespace=\"shop\",app=\"cart\"}";
    assert!(wait_until(LIMIT, || value(bytes).filter(|bytes| *bytes >= 3.0 * 100.0)).is_some(), "{:?}", value(bytes));
    let exposition = say(&world, &pod, b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n");
    let text = exposition.split_once("\r\n\r\n").unwrap().1.to_owned();
    assert!(text.contains("portreeve_flows_total"));
    let checked = world.command("promtool").args(["check", "metrics"]).input(text).output();
    assert!(checked.ok() && checked.stderr.is_empty() && checked.stdout.is_empty(), "{}{}", checked.stdout, checked.stderr);
}

#[test]
fn the_port_says_what_is_so_and_nobody_holds_it_up() {
    let world = World::new();
    let authority = world.authority();
    let pod = world.pod("app");
    let portreeve = start(&pod);
    for (request, wanted) in [
        ("GET /livez HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK"),
        ("GET /readyz HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK"),
        ("HEAD /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK"),
        ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 404 "),
        ("POST /metrics HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc", "HTTP/1.1 405 "),
        ("nonsense\r\n\r\n", "HTTP/1.1 400 "),
    ] {
        let said = say(&world, &pod, request.as_bytes());
        assert!(said.starts_with(wanted), "{request}: {said}");
        assert_eq!(request.starts_with("HEAD"), said.ends_with("\r\n\r\n"), "{said}");
    }
    let long = format!("GET / HTTP/1.1\r\nx: {}", "a".repeat(20_000));
    assert!(say(&world, &pod, long.as_bytes()).starts_with("HTTP/1.1 431 "));
    // As many as are served at once say nothing: they are let go, and the next is served.
    let silent: Vec<TcpStream> = world.outside().run(|| (0..20).map(|_| TcpStream::connect((pod.v4(), PORT)).unwrap()).collect());
    assert!(say(&world, &pod, b"GET /livez HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 OK"));
    assert!(portreeve.is_ready());
    drop(silent);
    portreeve.swap_policies(&[("shop.toml", "version = 1\nnonsense = 1\n")]);
    let failed = || say(&world, &pod, b"GET /metrics HTTP/1.1\r\n\r\n").contains("portreeve_policy_load_failed 1");
    assert!(wait_until(LIMIT, || failed().then_some(())).is_some());
    drop(authority);
}

#[test]
fn an_app_that_holds_on_to_the_port_keeps_nobody_from_it() {
    let world = World::new();
    let _authority = world.authority();
    let pod = world.pod("app");
    let portreeve = start(&pod);
    // From more addresses of the loopback than there are places, and from the pod's own.
    let hold = |from: SocketAddr, to: SocketAddr| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&from.into()).unwrap();
        socket.connect(&to.into()).unwrap();
        TcpStream::from(socket)
    };
    let held: Vec<TcpStream> = pod.run(|| {
        let loopback = (1..=20).map(|n| hold(([127, 0, 0, n], 0).into(), ([127, 0, 0, 1], PORT).into()));
        let own = (0..20).map(|_| hold((pod.v4(), 0).into(), (pod.v4(), PORT).into()));
        loopback.chain(own).collect()
    });
    let begun = Instant::now();
    for page in ["livez", "readyz", "metrics"] {
        let said = say(&world, &pod, format!("GET /{page} HTTP/1.1\r\n\r\n").as_bytes());
        assert!(said.starts_with("HTTP/1.1 200 OK"), "{page}: {said}");
    }
    assert!(begun.elapsed() < SECOND, "it took {:?}", begun.elapsed());
    // Who begins to ask and goes no further has a second.
    let mut slow = world.outside().run(|| TcpStream::connect((pod.v4(), PORT)).unwrap());
    slow.set_read_timeout(Some(LIMIT)).unwrap();
    slow.write_all(b"GET /livez HTTP/1.1\r\n").unwrap();
    assert_eq!(slow.read(&mut [0; 16]).unwrap_or(0), 0);
    assert!(begun.elapsed() < 4 * SECOND, "it took {:?}", begun.elapsed());
    assert!(portreeve.is_ready());
    drop(held);
}

#[test]
fn a_resolver_that_stands_still_does_not_keep_the_port_from_saying_that_it_lives() {
    let world = World::new();
    let _authority = world.authority();
    let pod = world.pod("app");
    let portreeve = start(&pod);
    let script = include_str!("../faults/thread.py");
    let stopper = pod.command("/usr/bin/python3").args(["-I", "-c", script]).arg(portreeve.worker()).args(["resolver", "3"]).spawn();
    let stopped = || stopper.stdout().contains("stopped").then_some(());
    assert!(wait_until(LIMIT, stopped).is_some(), "{}", stopper.stderr());
    let took = |page: &str| {
        let begun = Instant::now();
        let said = say(&world, &pod, format!("GET /{page} HTTP/1.1\r\n\r\n").as_bytes());
        assert!(said.starts_with("HTTP/1.1 200 OK"), "{page}: {said}");
        begun.elapsed()
    };
    // The status asks the resolver, and waits for a second.
    let (waited, lived) = std::thread::scope(|scope| {
        let readyz = scope.spawn(|| took("readyz"));
        std::thread::sleep(Duration::from_millis(200));
        let lived = took("livez");
        (readyz.join().unwrap(), lived)
    });
    assert!(waited > Duration::from_millis(900), "the status did not wait, so nothing is shown: {waited:?}");
    assert!(lived < Duration::from_millis(500), "{lived:?}, while the status took {waited:?}");
}

#[test]
fn a_port_that_is_taken_is_said_at_the_start() {
    let world = World::new();
    let _authority = world.authority();
    let pod = world.pod("app");
    let _taken = pod.run(|| std::net::TcpListener::bind(("127.0.0.1", PORT)).unwrap());
    let mut portreeve = Setup::new(&pod).policy("shop.toml", POLICY).option("--metrics", format!("127.0.0.1:{PORT}")).launch();
    let ended = portreeve.wait(LIMIT).expect("it ends");
    assert_eq!(ended.code(), Some(78), "{}", portreeve.log());
    assert!(portreeve.log().contains("cannot serve metrics on 127.0.0.1:9464 (--metrics)"), "{}", portreeve.log());
}

/// The names of metrics in a text.
fn named(text: &str) -> std::collections::BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.starts_with("portreeve_"));
    words.map(|word| word.trim_end_matches("_bucket").to_owned()).collect()
}

#[test]
fn alerts_and_dashboard_speak_of_metrics_that_are_there() {
    let world = World::new();
    let authority = world.authority();
    authority.a("api.example.com", &["198.51.100.7"], 60);
    let _web = TcpTarget::on(world.outside(), "[::]:443", "");
    let pod = world.pod("app");
    let portreeve = start(&pod);
    assert_eq!(dig(&pod, &["api.example.com"]).status, "NOERROR");
    drop(connect(&pod, "198.51.100.7:443".parse().unwrap(), 5 * SECOND).unwrap());
    portreeve.wait_flow("the beginning", LIMIT, |line| line["flow.event"] == "began");
    let _ = pod.command("conntrack").args(["-D", "-p", "tcp", "--dport", "443"]).output().expect_ok("conntrack");
    portreeve.wait_flow("the end", LIMIT, |line| line["flow.event"] == "ended");
    assert_eq!(dig(&pod, &["github.com"]).status, "NXDOMAIN");
    for name in ["api.example.com", "github.com"] {
        portreeve.wait_flow("the question", LIMIT, |line| line["dns.question.name"] == name);
    }
    let there = named(&say(&world, &pod, b"GET /metrics HTTP/1.1\r\n\r\n"));
    let images = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("images");
    let mut used = std::collections::BTreeSet::new();
    for file in ["grafana-dashboard.json", "prometheus-rules.yaml"] {
        let found = named(&fs::read_to_string(images.join(file)).unwrap());
        let missing: Vec<_> = found.difference(&there).collect();
        assert!(found.len() >= 8 && missing.is_empty(), "{file} speaks of {missing:?}, and there is {there:?}");
        used.extend(found);
    }
    let unused: Vec<_> = there.difference(&used).collect();
    assert!(unused.len() <= 3, "neither drawn nor watched: {unused:?}");
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(images.join("grafana-dashboard.json")).unwrap()).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() >= 10);
    for (act, file) in [("check", "prometheus-rules.yaml"), ("test", "prometheus-rules-test.yaml")] {
        let checked = world.command("promtool").args([act, "rules"]).arg(images.join(file).display()).output();
        assert!(checked.ok(), "{file}: {}{}", checked.stdout, checked.stderr);
    }
}
