//! Promise: the map is one file that loads nothing, shows who uses what by name, port and verdict, at five names and at five hundred, and can
//! be used by keyboard alone; names that anybody chose do no harm in it.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::path::PathBuf;

use integration::World;
use integration::browser::Browser;
use integration::product::portreeve;
use serde_json::{Value, json};

const TAB: &str = "\u{e004}";
const ENTER: &str = "\u{e007}";
const ESCAPE: &str = "\u{e00c}";

fn flow(app: &str, source: &str, name: Option<&str>, address: &str, port: u16, count: u64) -> Value {
    let mut line = json!({
        "time": "2026-11-26T08:00:00.000Z", "schema.version": 1, "k8s.namespace.name": "shop", "service.name": app,
        "event.name": "portreeve.flow", "flow.event": if name.is_some() { "began" } else { "refused" },
        "flow.verdict": if name.is_some() { "permitted" } else { "refused" }, "flow.mode": "enforce", "flow.direction": "outbound",
        "flow.count": count, "flow.first": "2026-11-26T08:00:00.000Z", "flow.last": "2026-11-26T09:00:00.000Z",
        "network.transport": "tcp", "network.type": "ipv4", "source.address": source, "destination.address": address, "destination.port": port,
    });
    match name {
        Some(name) => {
            line["flow.names"] = json!([name]);
            (line["flow.rule"], line["flow.policy"]) = (json!("web"), json!("shop"));
        }
        None => line["flow.cause"] = json!({"type": "never-resolved"}),
    }
    line
}

fn inbound(app: &str, source: &str, own: &str, port: u16) -> Value {
    let mut line = flow(app, source, Some("x"), own, port, 3);
    (line["flow.direction"], line["flow.names"], line["k8s.namespace.name"]) = (json!("inbound"), json!([]), json!("data"));
    line
}

/// The page of these lines, and the graph.
fn map(world: &World, name: &str, lines: &[Value]) -> (PathBuf, Value) {
    let pod = world.pod(name);
    let (log, page) = (pod.files().join("flows.jsonl"), pod.files().join("map.html"));
    std::fs::write(&log, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let (log, out) = (log.display().to_string(), page.display().to_string());
    let _ = portreeve(&pod).args(["map", &log, "-o", &out]).output().expect_ok("map");
    let graph = portreeve(&pod).args(["map", "--format", "json", &log]).output().expect_ok("map");
    (page, serde_json::from_str(&graph).unwrap())
}

fn small() -> Vec<Value> {
    let mut ended = flow("cart", "10.0.0.2", Some("api.stripe.com"), "198.51.100.7", 443, 10);
    (ended["flow.event"], ended["flow.bytes.sent"], ended["flow.bytes.received"]) = (json!("ended"), json!(1000), json!(5000));
    vec![
        flow("cart", "10.0.0.2", Some("api.stripe.com"), "198.51.100.7", 443, 10),
        ended,
        flow("cart", "10.0.0.2", Some("github.com"), "198.51.100.8", 22, 2),
        flow("pay", "10.0.0.3", Some("api.stripe.com"), "198.51.100.7", 443, 5),
        flow("pay", "10.0.0.3", None, "203.0.113.9", 25, 7),
        // One flow, told by both of its pods.
        flow("cart", "10.0.0.2", Some("db.data.svc"), "10.0.0.9", 5432, 3),
        inbound("db", "10.0.0.2", "10.0.0.9", 5432),
    ]
}

#[test]
fn the_graph_joins_two_pods_logs_into_one_edge_and_counts_right() {
    let world = World::new();
    let (_, graph) = map(&world, "small", &small());
    let edges: Vec<String> = graph["edges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|edge| format!("{} {} {} {} {}", edge["from"], edge["to"], edge["port"], edge["verdict"], edge["flows"]).replace('"', ""))
        .collect();
    let wanted = [
        "w:shop/cart t:api.stripe.com 443 permitted 10",
        "w:shop/cart t:github.com 22 permitted 2",
        "w:shop/cart w:data/db 5432 permitted 3",
        "w:shop/pay t:203.0.113.9 25 refused 7",
        "w:shop/pay t:api.stripe.com 443 permitted 5",
    ];
    assert_eq!(edges, wanted);
    assert_eq!((&graph["edges"][0]["bytes-sent"], &graph["edges"][0]["bytes-received"]), (&json!(1000), &json!(5000)));
    assert_eq!(graph["edges"][0]["rules"], json!(["shop.web"]));
}

#[test]
fn calls_of_several_pods_of_one_app_are_counted_once_each_and_by_protocol() {
    let world = World::new();
    let calls = |app: &str, source: &str, own: &str, port: u16, count: u64| {
        let out = flow(app, source, Some("db.data.svc"), own, port, count);
        let mut back = inbound("db", source, own, port);
        back["flow.count"] = json!(count);
        [out, back]
    };
    let mut lines = [calls("cart", "10.0.0.2", "10.0.0.9", 5432, 3), calls("pay", "10.0.0.3", "10.0.0.10", 5432, 5)].concat();
    // The caller's log tells of UDP alone: what came by TCP is known from the other side.
    let mut datagrams = flow("cart", "10.0.0.2", Some("db.data.svc"), "10.0.0.9", 53, 2);
    datagrams["network.transport"] = json!("udp");
    let mut stream = inbound("db", "10.0.0.2", "10.0.0.9", 53);
    stream["flow.count"] = json!(4);
    lines.extend([datagrams, stream]);
    for run in 0..8 {
        let (_, graph) = map(&world, &format!("replicas{run}"), &lines);
        let edges: Vec<String> = graph["edges"]
            .as_array()
            .unwrap()
            .iter()
            .map(|edge| {
                format!("{} {} {} {} {}", edge["from"], edge["to"], edge["port"], edge["transport"], edge["flows"]).replace('"', "")
            })
            .collect();
        let wanted = [
            "w:shop/cart w:data/db 53 tcp 4",
            "w:shop/cart w:data/db 53 udp 2",
            "w:shop/cart w:data/db 5432 tcp 3",
            "w:shop/pay w:data/db 5432 tcp 5",
        ];
        assert_eq!(edges, wanted, "run {run}");
    }
}

#[test]
fn an_address_that_another_pod_got_is_whose_it_was_at_the_time() {
    let world = World::new();
    let at = |mut line: Value, minute: u32| {
        let time = format!("2026-11-26T08:{minute:02}:00.000Z");
        (line["flow.first"], line["flow.last"]) = (json!(time), json!(time));
        line
    };
    // 10.0.0.2 was cart's, then pay's; db tells who called, and pay's and cart's logs stand after and before its own.
    let lines = [
        at(flow("pay", "10.0.0.2", Some("api.stripe.com"), "198.51.100.7", 443, 1), 30),
        at(flow("pay", "10.0.0.2", Some("api.stripe.com"), "198.51.100.7", 443, 1), 50),
        at(inbound("db", "10.0.0.2", "10.0.0.9", 5432), 5),
        at(inbound("db", "10.0.0.2", "10.0.0.9", 5432), 10),
        at(inbound("db", "10.0.0.2", "10.0.0.9", 5432), 40),
        at(flow("cart", "10.0.0.2", Some("api.stripe.com"), "198.51.100.7", 443, 1), 1),
        at(flow("cart", "10.0.0.2", Some("api.stripe.com"), "198.51.100.7", 443, 1), 20),
    ];
    let (_, graph) = map(&world, "reused", &lines);
    let calls = graph["edges"].as_array().unwrap().iter().filter(|edge| edge["to"] == "w:data/db");
    let calls: Vec<_> = calls.map(|edge| (edge["from"].as_str().unwrap(), edge["flows"].as_u64().unwrap())).collect();
    assert_eq!(calls, [("w:shop/cart", 6), ("w:shop/pay", 3)]);
}

#[test]
fn names_are_grouped_by_registrable_domain_and_forty_on_one_address_fit_a_box() {
    let world = World::new();
    let mut lines = small();
    for (n, name) in
        ["www.shop.co.uk", "cdn.shop.co.uk", "www.other.co.uk", "a.data.svc.cluster.local", "b.data.svc.cluster.local"].iter().enumerate()
    {
        lines.push(flow("cart", "10.0.0.2", Some(name), &format!("198.51.100.{}", 20 + n), 443, 1));
    }
    let mut crowd = flow("cart", "10.0.0.2", Some("x"), "198.51.100.40", 443, 1);
    let names: Vec<String> = (10..50).map(|n| format!("customer-number-{n}.content-network.example")).collect();
    (crowd["flow.names"], crowd["flow.shared-address"]) = (json!(names), json!(true));
    lines.push(crowd);
    let long = format!("{}.example.org", ["a-label-of-thirty-octets-length"; 5].join("."));
    lines.push(flow("pay", "10.0.0.3", Some(&long), "198.51.100.41", 443, 1));
    let (page, graph) = map(&world, "domains", &lines);
    let node = |label: &str| {
        graph["nodes"].as_array().unwrap().iter().find(|node| node["label"] == label).unwrap_or_else(|| panic!("{label}: {graph:#}"))
    };
    assert_eq!(node("www.shop.co.uk")["domain"], "shop.co.uk");
    let crowd = node("customer-number-10.content-network.example and 39 more");
    assert_eq!((crowd["names"].as_array().unwrap().len(), &crowd["domain"]), (40, &json!("content-network.example")));
    let browser = Browser::start(&world);
    browser.open(&page, "");
    let texts = |selector: &str| {
        let found = browser.run(&format!("return [...document.querySelectorAll({selector:?})].map(e => e.textContent)"));
        found.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let widest = browser.run("return Math.max(...[...document.querySelectorAll('.node rect')].map(e => e.getBoundingClientRect().width))");
    assert!(widest.as_f64().unwrap() < 400.0, "{widest}");
    // No text is wider than its box.
    let cut = "return [...document.querySelectorAll('.node')].filter(e => e.querySelector('text').getBBox().width + 10 > e.querySelector('rect').getBBox().width).length";
    assert_eq!(browser.run(cut), 0);
    let title = texts(".node title").into_iter().find(|title| title.contains("customer")).unwrap();
    assert!(names.iter().all(|name| title.contains(name)), "{title}");
    assert!(texts("#table td.uses").contains(&names.join(" or ")) && texts("#table td.uses").contains(&long));
    let _null = browser.run("const g = document.getElementById('group'); g.checked = true; g.dispatchEvent(new Event('change'))");
    let boxes = texts(".node.name text:first-child, .node.name text");
    for wanted in ["*.shop.co.uk", "www.other.co.uk", "*.data.svc.cluster.local"] {
        assert!(boxes.iter().any(|text| text == wanted), "{wanted}: {boxes:?}");
    }
    assert!(!boxes.iter().any(|text| text == "*.co.uk"), "{boxes:?}");
    // Somebody else's name is found among forty.
    let _null = browser.run("const e = document.getElementById('name'); e.value = 'number-49'; e.dispatchEvent(new Event('input'))");
    assert_eq!(texts("#table tbody tr").len(), 1);
    assert_eq!(browser.complaints(), Vec::<Value>::new());
}

#[test]
fn a_browser_shows_it_and_loads_nothing() {
    let world = World::new();
    let mut lines = small();
    let hostile = "</script><img src=http://198.51.100.66/x onerror=alert(1)>.example";
    lines.push(flow("cart", "10.0.0.2", Some(hostile), "198.51.100.66", 443, 1));
    let (page, _) = map(&world, "small", &lines);
    let browser = Browser::start(&world);
    browser.open(&page, "");
    let count = |selector: &str| browser.run(&format!("return document.querySelectorAll({selector:?}).length"));
    assert_eq!((count(".node.workload"), count(".node.name"), count(".node.address")), (json!(3), json!(3), json!(1)));
    assert_eq!((count(".edge"), count(".edge.refused"), count("#table tbody tr")), (json!(6), json!(1), json!(6)));
    assert_eq!(count("img, iframe, link"), 0, "a name made elements");
    let text = browser.run("return [...document.querySelectorAll('.node title')].map(t => t.textContent)");
    assert!(text.as_array().unwrap().iter().any(|label| label == hostile), "{text}");
    // Filters.
    let filter = |id: &str, value: &str| {
        browser.run(&format!("const e = document.getElementById({id:?}); e.value = {value:?}; e.dispatchEvent(new Event(e.type === 'search' ? 'input' : 'change'))"))
    };
    let _null = filter("verdict", "refused");
    assert_eq!((count(".edge"), count("#table tbody tr")), (json!(1), json!(1)));
    let _null = filter("verdict", "");
    let _null = filter("name", "STRIPE");
    assert_eq!(count(".edge"), 2);
    let _null = filter("name", "");
    let _null = filter("namespace", "data");
    assert_eq!(count(".edge"), 1, "the edge between two workloads is of both namespaces");
    let _null = filter("namespace", "");
    // By keyboard alone: the first line is reached, chosen, and let go.
    let _null = browser.run("document.getElementById('group').focus()");
    browser.press(TAB);
    browser.press(ENTER);
    let chosen = browser.run(
        "return [document.querySelectorAll('.dim').length, document.querySelector('#details h2')?.textContent || '', location.hash.length]",
    );
    assert!(chosen[0].as_u64().unwrap() > 0 && !chosen[1].as_str().unwrap().is_empty() && chosen[2].as_u64().unwrap() > 1, "{chosen}");
    browser.press(ESCAPE);
    assert_eq!(count(".dim"), 0);
    // What is told besides colour, and to who cannot see.
    assert_eq!(browser.run("return getComputedStyle(document.querySelector('.edge.refused path')).strokeDasharray !== 'none'"), true);
    assert_eq!(browser.run("return [...document.querySelectorAll('[role=button]')].every(e => e.getAttribute('aria-label'))"), true);
    // The table says what it is, of what each cell is, and what is not known; the first key leads to it.
    assert_eq!(count("#table caption, #table thead th[scope=col], #table tbody th[scope=row]"), 1 + 8 + 6);
    let volumes = browser.run("return [...document.querySelectorAll('#table tbody tr')].map(r => r.children[5].textContent).sort()");
    assert_eq!(volumes, json!(["1.0 kB", "\u{2013}", "\u{2013}", "\u{2013}", "\u{2013}", "\u{2013}"]));
    browser.open(&page, "");
    browser.press(TAB);
    let skip = "const e = document.activeElement; return [e.id, e.getBoundingClientRect().left >= 0]";
    assert_eq!(browser.run(skip), json!(["skip", true]));
    browser.press(ENTER);
    assert_eq!(browser.run("return document.activeElement.id"), "table");
    // A link to what was chosen.
    browser.open(&page, "#w%3Ashop%2Fpay");
    let chosen = "return document.querySelector('#details h2')?.textContent || ''";
    assert_eq!(browser.run(chosen), "shop/pay");
    let _null = browser.run("location.reload()");
    assert_eq!(browser.run(chosen), "shop/pay");
    // One that is none harms nothing.
    browser.open(&page, "#%");
    let _null = browser.run("location.reload()");
    assert_eq!((browser.run(chosen), count(".edge")), (json!(""), json!(6)));
    assert_eq!(browser.run("return performance.getEntriesByType('resource').length"), 0, "something was loaded");
    assert_eq!(browser.complaints(), Vec::<Value>::new());
}

#[test]
fn at_five_hundred_names_it_is_boxes_by_domain_and_all_of_them_in_the_table() {
    let world = World::new();
    let lines: Vec<Value> = (0..500_u16)
        .map(|n| {
            let name = format!("host{n}.zone{}.example", n % 12);
            let app = ["cart", "pay", "etl"][usize::from(n % 3)];
            flow(app, &format!("10.0.0.{}", n % 3), Some(&name), &format!("198.51.{}.{}", n / 250, n % 250), 443, 1 + u64::from(n))
        })
        .collect();
    let (page, graph) = map(&world, "large", &lines);
    assert_eq!(graph["edges"].as_array().unwrap().len(), 500);
    let browser = Browser::start(&world);
    browser.open(&page, "");
    let count = |selector: &str| browser.run(&format!("return document.querySelectorAll({selector:?}).length"));
    assert_eq!((count(".node.workload"), count(".node.name"), count("#table tbody tr")), (json!(3), json!(12), json!(500)));
    // No two boxes lie on each other.
    let overlaps = browser.run(
        "const r = [...document.querySelectorAll('.node rect')].map(e => e.getBoundingClientRect()); let n = 0; \
         r.forEach((a, i) => r.slice(i + 1).forEach(b => { if (a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom) n++; })); return n",
    );
    assert_eq!(overlaps, 0);
    let _null = browser.run("const g = document.getElementById('group'); g.checked = false; g.dispatchEvent(new Event('change'))");
    assert_eq!(count(".node.name"), 500);
    assert_eq!(browser.complaints(), Vec::<Value>::new());
}
