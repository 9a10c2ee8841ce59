//! Promise: the map out of a real Prometheus is the one out of the same pods' logs; counters that began anew, came into being or stood before the
//! span are counted for what happened within it; and what cannot be drawn is said with what to do.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use integration::browser::Browser;
use integration::clients::{connect, dig};
use integration::product::{binary, portreeve};
use integration::{Finished, Pod, Portreeve, Running, Setup, TcpTarget, World, wait_until};
use serde_json::Value;

const SECOND: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(30);
const PORT: u16 = 9464;
const URL: &str = "http://127.0.0.1:9090";

const POLICY: &str = r#"
version = 1
name = "shop"
[[allow]]
name = "web"
hosts = ["*.example.com"]
ports = ["443"]
"#;

/// A Prometheus outside of all pods: what it has to scrape, and where its data are.
fn prometheus(world: &World, scrapes: &str, data: &Path) -> Running {
    let config = world.scratch().make_dir("prometheus", 0o777).join("prometheus.yml");
    fs::write(&config, format!("global: {{ scrape_interval: 1s }}\nscrape_configs:\n{scrapes}")).unwrap();
    let command = world.command("prometheus").arg(format!("--config.file={}", config.display()));
    let running = command.arg(format!("--storage.tsdb.path={}", data.display())).arg("--web.listen-address=127.0.0.1:9090").spawn();
    let up = || world.command("curl").args(["-sf", &format!("{URL}/-/ready")]).output().ok().then_some(());
    assert!(wait_until(LIMIT, up).is_some(), "{}", running.stderr());
    running
}

fn map(world: &World, more: &[&str]) -> Finished {
    world.command(&binary().display().to_string()).args(["map", "--prometheus", URL]).args(more).output()
}

fn graph(world: &World, more: &[&str]) -> Value {
    serde_json::from_str(&map(world, &[&["--format", "json"], more].concat()).expect_ok("map")).unwrap()
}

/// The edges without what only logs know: the times, and causes in words. What came in is told by metrics without who called.
fn edges(graph: &Value) -> Vec<String> {
    let told = graph["edges"].as_array().unwrap().iter().filter(|edge| edge["to"].as_str().unwrap().starts_with("t:"));
    let fields = ["from", "to", "port", "transport", "verdict", "flows", "bytes-sent", "bytes-received", "rules"];
    told.map(|edge| fields.map(|field| edge[field].to_string()).join(" ").replace('"', "")).collect()
}

fn start<'a>(pod: &'a Pod, app: &str) -> Portreeve<'a> {
    let setup = Setup::new(pod).policy("shop.toml", POLICY).namespace("shop").labels(&[("app", app)]);
    setup.option("--metrics", format!("0.0.0.0:{PORT}")).start()
}

#[test]
fn two_pods_scraped_make_the_graph_that_their_logs_make() {
    let world = World::new();
    let authority = world.authority();
    authority.a("api.example.com", &["198.51.100.7"], 60);
    authority.a("img.example.com", &["198.51.100.8"], 60);
    authority.a("alias.example.com", &["198.51.100.8"], 60);
    let _web = TcpTarget::on(world.outside(), "[::]:443", "");
    let (cart, pay) = (world.pod("cart"), world.pod("pay"));
    let sidecars = [start(&cart, "cart"), start(&pay, "pay")];
    let scrapes: String = [("cart", &cart), ("pay", &pay)]
        .map(|(app, pod)| {
            let target = format!("  - targets: ['{}:{PORT}']\n    labels: {{ namespace: shop, app: {app}, pod: {app}-1 }}\n", pod.v4());
            format!("- job_name: {app}\n  static_configs:\n{target}")
        })
        .concat();
    let prometheus = prometheus(&world, &scrapes, &world.scratch().make_dir("data", 0o777));
    for name in ["api.example.com", "img.example.com", "alias.example.com"] {
        assert_eq!(dig(&cart, &[name]).status, "NOERROR");
    }
    assert_eq!(dig(&pay, &["api.example.com"]).status, "NOERROR");
    let call = |pod: &Pod, to: &str, times: usize| (0..times).filter(|_| connect(pod, to.parse().unwrap(), 5 * SECOND).is_ok()).count();
    assert_eq!((call(&cart, "198.51.100.7:443", 3), call(&cart, "198.51.100.8:443", 2), call(&pay, "198.51.100.7:443", 1)), (3, 2, 1));
    assert_eq!((call(&cart, "198.51.100.99:443", 2), call(&pay, "198.51.100.7:22", 1)), (0, 0));
    for pod in [&cart, &pay] {
        let _ = pod.command("conntrack").args(["-D", "-p", "tcp", "--dport", "443"]).output().expect_ok("conntrack");
    }
    // All of it is in the logs: three kinds that began, two refused, and the same three ended.
    let logs = world.scratch().make_dir("logs", 0o777);
    let from_logs = || {
        let paths = [0, 1].map(|n| logs.join(format!("{n}.jsonl")));
        for (path, sidecar) in paths.iter().zip(&sidecars) {
            fs::write(path, sidecar.flow_log().iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        }
        let paths = paths.map(|path| path.display().to_string());
        let told = portreeve(&cart).args(["map", "--format", "json"]).args(&paths).output();
        serde_json::from_str::<Value>(&told.expect_ok("map of logs")).unwrap()
    };
    let whole = |graph: &Value| {
        let flows: u64 = graph["edges"].as_array().unwrap().iter().filter_map(|edge| edge["flows"].as_u64()).sum();
        let volumes = graph["edges"].as_array().unwrap().iter().filter(|edge| edge["bytes-sent"].is_u64()).count();
        (flows >= 9 && volumes >= 3).then_some(())
    };
    assert!(wait_until(LIMIT, || whole(&from_logs())).is_some(), "{:#}", from_logs());
    // What was refused is folded for seconds, and a scrape follows.
    let same = || {
        let drawn = serde_json::from_str(&map(&world, &["--since", "1h", "--format", "json"]).stdout).ok()?;
        (edges(&drawn) == edges(&from_logs())).then_some(())
    };
    let found = wait_until(LIMIT, same);
    let (wanted, drawn) = (from_logs(), graph(&world, &["--since", "1h"]));
    assert!(found.is_some(), "{:#?}\n{:#?}\n{}", edges(&wanted), edges(&drawn), prometheus.stderr());
    assert!(
        edges(&drawn).len() == 5
            && edges(&drawn).iter().any(|edge| edge.starts_with("w:shop/cart t:alias.example.com or img.example.com 443 tcp permitted 2 "))
    );
    assert_eq!(drawn["source"], serde_json::json!({"kind": "prometheus", "span-seconds": 3600}));
    assert_eq!(drawn["lost"], wanted["lost"]);
    // And the page.
    let page = world.scratch().path().join("map.html");
    let _ = map(&world, &["--since", "1h", "-o", &page.display().to_string()]).expect_ok("map");
    let browser = Browser::start(&world);
    browser.open(&page, "");
    assert_eq!(browser.run("return document.querySelectorAll('#table tbody tr').length"), edges(&drawn).len());
    let said = browser.run("return document.querySelector('h1').textContent");
    assert!(said.as_str().unwrap().contains("1 h of Prometheus"), "{said}");
    assert_eq!(browser.complaints(), Vec::<Value>::new());
}

/// Samples a minute apart, the last of them five minutes ago.
fn series(text: &mut String, labels: &str, samples: &[Option<u32>]) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    for (n, value) in samples.iter().enumerate() {
        let at = now - 60 * u64::try_from(samples.len() - n).unwrap() - 120;
        let sample =
            value.map(|value| format!("portreeve_flows_total{{direction=\"outbound\",verdict=\"permitted\",{labels}}} {value} {at}\n"));
        text.push_str(&sample.unwrap_or_default());
    }
}

#[test]
fn counters_of_every_life_are_counted_for_what_happened_within_the_span() {
    let world = World::new();
    let mut text = "# TYPE portreeve_flows counter\n".to_owned();
    let labels = |pod: &str, name: &str| {
        format!("namespace=\"shop\",app=\"cart\",pod=\"{pod}\",name=\"{name}\",protocol=\"tcp\",port=\"443\",policy=\"shop\",rule=\"web\"")
    };
    let two_hours = |value: &dyn Fn(usize) -> Option<u32>| (0..120).map(value).collect::<Vec<_>>();
    // There before the span, which begins about 58 samples from the end: from 100 to 105 within it.
    series(&mut text, &labels("a", "before.example.com"), &two_hours(&|n| Some(if n < 90 { 100 } else { 105 })));
    // Comes into being with 7 and stays: `increase()` says 0.
    series(&mut text, &labels("a", "new.example.com"), &two_hours(&|n| (n >= 100).then_some(7)));
    // Of a pod that lived a few minutes within the span.
    series(&mut text, &labels("job", "job.example.com"), &two_hours(&|n| (80..84).contains(&n).then(|| u32::try_from(n).unwrap() - 79)));
    // Nothing happened within the span.
    series(&mut text, &labels("a", "quiet.example.com"), &two_hours(&|_| Some(40)));
    // The worker crashed within the span: 50 to 53, then 0 to 10.
    series(
        &mut text,
        &labels("b", "crash.example.com"),
        &two_hours(&|n| {
            Some(if n < 70 {
                50
            } else if n < 90 {
                53
            } else if n < 100 {
                0
            } else {
                10
            })
        }),
    );
    text.push_str("# EOF\n");
    let (file, data) = (world.scratch().path().join("history.txt"), world.scratch().make_dir("data", 0o777));
    fs::write(&file, text).unwrap();
    let made = world.command("promtool").args(["tsdb", "create-blocks-from", "openmetrics"]).arg(file.display()).arg(data.display());
    let _ = made.output().expect_ok("promtool");
    let _prometheus = prometheus(&world, "", &data);
    let drawn = graph(&world, &["--since", "1h"]);
    let told: Vec<(String, u64)> = drawn["edges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|edge| (edge["to"].as_str().unwrap().trim_start_matches("t:").to_owned(), edge["flows"].as_u64().unwrap()))
        .collect();
    let count = |name: &str| told.iter().find(|(to, _)| to == name).map(|(_, flows)| *flows);
    assert_eq!((count("before.example.com"), count("new.example.com"), count("job.example.com")), (Some(5), Some(7), Some(4)), "{told:?}");
    assert_eq!(count("quiet.example.com"), None, "{told:?}");
    // What a reset leaves to be reckoned is about 13: the span begins between two samples.
    assert!(count("crash.example.com").is_some_and(|flows| (13..=14).contains(&flows)), "{told:?}");
    assert!(drawn["edges"][0].get("bytes-sent").is_none(), "a volume that nobody told: {drawn:#}");
}

#[test]
fn what_cannot_be_drawn_is_said_with_what_to_do() {
    let world = World::new();
    let _authority = world.authority();
    let said = |more: &[&str]| {
        let finished = map(&world, more);
        assert_eq!((finished.code, finished.stdout.as_str()), (2, ""), "{}", finished.stderr);
        finished.stderr
    };
    let nobody = said(&[]);
    assert!(nobody.contains("cannot reach http://127.0.0.1:9090") && nobody.contains("port-forward"), "{nobody}");
    let pod = world.pod("app");
    let sidecar = start(&pod, "cart");
    let scrapes = format!("- job_name: pods\n  static_configs:\n  - targets: ['{}:{PORT}']\n", pod.v4());
    let data = world.scratch().make_dir("data", 0o777);
    drop(prometheus(&world, "", &data));
    let empty = prometheus(&world, "", &data);
    let none = said(&["--since", "10m"]);
    assert!(none.contains("http://127.0.0.1:9090 has no metric of Portreeve within 10m: `portreeve run --metrics`"), "{none}");
    let refused = said(&["--since", "900years"]);
    assert!(refused.contains("did not answer the question: ") && refused.contains("a shorter --since"), "{refused}");
    drop(empty);
    let _scraping = prometheus(&world, &scrapes, &data);
    let quiet = || said(&["--since", "10m"]).contains("has metrics of 1 sidecars within 10m, and no flow in them").then_some(());
    assert!(wait_until(LIMIT, quiet).is_some(), "{}", said(&["--since", "10m"]));
    // A row that no scrape gave a workload is drawn, and that is said.
    assert!(connect(&pod, "198.51.100.99:443".parse().unwrap(), SECOND).is_err());
    let anonymous = || {
        let finished = map(&world, &["--since", "10m"]);
        (finished.ok() && finished.stderr.contains("the scrape must add the labels namespace and app")).then_some(())
    };
    assert!(wait_until(LIMIT, anonymous).is_some(), "{}", sidecar.log());
    // The metrics port itself is no Prometheus; TLS is not spoken.
    let other = |url: &str| {
        let finished = world.command(&binary().display().to_string()).args(["map", "--prometheus", url]).output();
        assert_eq!(finished.code, 2);
        finished.stderr
    };
    assert!(other(&format!("http://{}:{PORT}", pod.v4())).contains("is no Prometheus"));
    assert!(other("https://127.0.0.1:9090").contains("kubectl -n monitoring port-forward"));
}
