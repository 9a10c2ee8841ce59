use super::*;
use crate::record::{Cause, Timestamp, Transport};

fn flow(name: &str, port: u16) -> FlowRecord {
    FlowRecord {
        event: FlowEvent::Began,
        verdict: Verdict::Permitted,
        mode: "enforce".to_owned(),
        direction: Direction::Outbound,
        count: 3,
        first: Timestamp::from_millis(0),
        last: Timestamp::from_millis(0),
        names: vec![name.to_owned()],
        shared_address: false,
        rule: Some("web".to_owned()),
        policy: Some("shop".to_owned()),
        cause: None,
        transport: Transport::Tcp,
        network_type: "ipv4".to_owned(),
        source: [10, 0, 0, 2].into(),
        source_port: None,
        destination: [198, 51, 100, 7].into(),
        destination_port: Some(port),
        uid: None,
        bytes_sent: None,
        bytes_received: None,
        packets_sent: None,
        packets_received: None,
        duration_ms: None,
    }
}

fn status() -> Status {
    serde_json::from_value(serde_json::json!({
        "pid": 1, "version": "0", "ready": true, "mode": "enforce", "generation": "0", "policies": [], "rules": 1, "leases": 2,
        "upstreams": [{"address": "10.96.0.10:53", "answers": true, "round-trip-us": 250}], "loads": 1, "table-restored": 0, "raw-guard": true,
        "queries": {"received": 0, "refused": 0, "servfail": 0, "dropped": 0, "withheld": 0},
    }))
    .unwrap()
}

#[test]
fn what_is_recorded_is_counted_under_its_name() {
    let metrics = Metrics::new().unwrap();
    metrics.record(&Record::Flow(flow("api.example.com", 443)));
    let ended = FlowRecord { event: FlowEvent::Ended, bytes_sent: Some(100), bytes_received: Some(9), ..flow("api.example.com", 443) };
    metrics.record(&Record::Flow(ended));
    metrics.record(&Record::Lost(LostRecord { what: LostWhat::RefusedPackets, why: LostWhy::OverLimit, count: 7 }));
    let text = metrics.text(&status(), false).unwrap();
    for line in [
        "portreeve_flows_total{cause=\"\",direction=\"outbound\",name=\"api.example.com\",policy=\"shop\",port=\"443\",protocol=\"tcp\",rule=\"web\",verdict=\"permitted\"} 3",
        "portreeve_flow_bytes_total{direction=\"outbound\",name=\"api.example.com\",port=\"443\",protocol=\"tcp\",way=\"sent\"} 100",
        "portreeve_lost_total{what=\"refused-packets\",why=\"over-limit\"} 7",
        "portreeve_leases 2",
        "portreeve_upstream_up{upstream=\"10.96.0.10:53\"} 1",
        "portreeve_upstream_round_trip_seconds{upstream=\"10.96.0.10:53\"} 0.00025",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn no_flood_of_names_and_ports_makes_more_series_than_there_is_room_for() {
    let metrics = Metrics::new().unwrap();
    for n in 0..2_000_u16 {
        metrics.record(&Record::Flow(flow(&format!("n{n}.example.com"), 443)));
        let refused = FlowRecord {
            verdict: Verdict::Refused,
            names: Vec::new(),
            rule: None,
            policy: None,
            destination: std::net::IpAddr::from((0xc612_0000 + u32::from(n)).to_be_bytes()),
            cause: Some(Cause::NeverResolved),
            ..flow("", n + 1)
        };
        metrics.record(&Record::Flow(refused));
    }
    let text = metrics.text(&status(), false).unwrap();
    let series = text.lines().filter(|line| line.starts_with("portreeve_flows_total")).count();
    // 50 names and `other`, and of `other` each of 20 ports and `other`.
    assert!(series <= 51 + 21, "{series}");
    assert!(text.contains("name=\"other\""));
}

#[test]
fn no_product_of_labels_makes_more_series_either_and_what_is_permitted_keeps_its_room() {
    let metrics = Metrics::new().unwrap();
    for n in 0..60_u8 {
        for (port, rule) in (1..=25_u16).flat_map(|port| (0..3).map(move |rule| (port, rule))) {
            let destination = std::net::IpAddr::from([198, 18, 0, n]);
            let refused = FlowRecord {
                verdict: Verdict::Refused,
                names: Vec::new(),
                cause: Some(Cause::NeverResolved),
                destination,
                ..flow("", port)
            };
            metrics.record(&Record::Flow(FlowRecord { rule: None, policy: None, ..refused }));
            let permitted = FlowRecord { rule: Some(format!("r{rule}")), ..flow(&format!("n{n}.example.com"), port) };
            metrics.record(&Record::Flow(FlowRecord { event: FlowEvent::Ended, bytes_sent: Some(1), ..permitted.clone() }));
            metrics.record(&Record::Flow(permitted));
        }
    }
    for n in 0..60 {
        for (verdict, reason) in
            [(DnsVerdict::Refused, "not-permitted"), (DnsVerdict::Refused, "denied"), (DnsVerdict::WouldDeny, "denied")]
        {
            metrics.record(&question(&format!("n{n}.example.net"), verdict, reason));
        }
    }
    let text = metrics.text(&status(), false).unwrap();
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    assert!(series <= 400, "{series}");
    let total: u64 = text
        .lines()
        .filter(|line| line.starts_with("portreeve_flows_total"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(total, 2 * 3 * 60 * 25 * 3, "what is beyond the bound is counted as other, not lost");

    let metrics = Metrics::new().unwrap();
    for n in 0..200_u8 {
        let refused = FlowRecord { verdict: Verdict::Refused, names: Vec::new(), destination: [198, 18, 0, n].into(), ..flow("", 443) };
        metrics.record(&Record::Flow(refused));
    }
    metrics.record(&Record::Flow(flow("api.example.com", 443)));
    assert!(metrics.text(&status(), false).unwrap().contains("name=\"api.example.com\""), "a flood of refusals hides what is permitted");
}

#[test]
fn scans_from_inside_and_outside_leave_room_for_the_ports_and_rows_of_what_is_permitted() {
    let metrics = Metrics::new().unwrap();
    for (n, port) in (0..30_u8).flat_map(|n| (1..=60_u16).map(move |port| (n, port))) {
        let nameless = FlowRecord { names: Vec::new(), rule: None, policy: None, destination: [198, 18, 0, n].into(), ..flow("", port) };
        let refused = FlowRecord { verdict: Verdict::Refused, cause: Some(Cause::NeverResolved), ..nameless.clone() };
        metrics.record(&Record::Flow(refused.clone()));
        let audited = FlowRecord { verdict: Verdict::WouldDeny, event: FlowEvent::Ended, bytes_sent: Some(1), ..refused };
        metrics.record(&Record::Flow(audited));
        for transport in [Transport::Tcp, Transport::Udp, Transport::Icmp] {
            let inbound = FlowRecord { direction: Direction::Inbound, transport, ..nameless.clone() };
            metrics.record(&Record::Flow(FlowRecord { event: FlowEvent::Ended, bytes_sent: Some(1), ..inbound.clone() }));
            metrics.record(&Record::Flow(inbound));
        }
    }
    metrics.record(&Record::Flow(flow("api.example.com", 8443)));
    metrics.record(&Record::Flow(FlowRecord { event: FlowEvent::Ended, bytes_sent: Some(7), ..flow("api.example.com", 8443) }));
    let text = metrics.text(&status(), false).unwrap();
    for line in [
        "portreeve_flows_total{cause=\"\",direction=\"outbound\",name=\"api.example.com\",policy=\"shop\",port=\"8443\",protocol=\"tcp\",rule=\"web\",verdict=\"permitted\"} 3",
        "portreeve_flow_bytes_total{direction=\"outbound\",name=\"api.example.com\",port=\"8443\",protocol=\"tcp\",way=\"sent\"} 7",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn a_pod_that_uses_ten_names_has_some_eighty_series() {
    let metrics = Metrics::new().unwrap();
    for n in 0..10 {
        let began = flow(&format!("n{n}.example.com"), 443);
        metrics.record(&Record::Flow(FlowRecord { event: FlowEvent::Ended, bytes_sent: Some(1), ..began.clone() }));
        metrics.record(&Record::Flow(began));
    }
    metrics.record(&question("github.com", DnsVerdict::Refused, "not-permitted"));
    let text = metrics.text(&status(), false).unwrap();
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    assert!((60..=90).contains(&series), "{series}");
}

#[test]
fn losses_are_there_before_the_first_so_that_an_increase_is_seen() {
    let text = Metrics::new().unwrap().text(&status(), false).unwrap();
    let at_zero = text.lines().filter(|line| line.starts_with("portreeve_lost_total") && line.ends_with(" 0")).count();
    assert_eq!(at_zero, LOSSES.len(), "{text}");
}

fn question(name: &str, verdict: DnsVerdict, reason: &str) -> Record {
    let told = serde_json::json!({
        "dns.question.name": name, "dns.question.type": "A", "dns.verdict": verdict, "dns.reason": reason, "dns.response_code": "NXDOMAIN",
        "dns.source": "here", "dns.duration.us": 1, "network.transport": "udp", "dns.count": 2,
        "dns.first": Timestamp::from_millis(0), "dns.last": Timestamp::from_millis(0),
    });
    Record::Dns(serde_json::from_value(told).unwrap())
}

#[test]
fn refused_names_are_told_as_many_as_there_is_room_for() {
    let metrics = Metrics::new().unwrap();
    metrics.record(&question("github.com", DnsVerdict::Refused, "not-permitted"));
    metrics.record(&question("api.example.com", DnsVerdict::Permitted, ""));
    for n in 0..500 {
        metrics.record(&question(&format!("n{n}.example.net"), DnsVerdict::Refused, "not-permitted"));
        metrics.record(&question(&format!("n{n}.example.org"), DnsVerdict::WouldDeny, "denied"));
    }
    let text = metrics.text(&status(), false).unwrap();
    let rows: Vec<&str> = text.lines().filter(|line| line.starts_with("portreeve_refused_names_total")).collect();
    assert!(
        rows.contains(&"portreeve_refused_names_total{name=\"github.com\",reason=\"not-permitted\",verdict=\"refused\"} 2"),
        "{rows:?}"
    );
    assert!(!text.contains("name=\"api.example.com\""));
    // 20 of them, and `other` for each verdict and reason.
    assert_eq!(rows.len(), 22, "{rows:?}");
    let sum: u64 = rows.iter().map(|row| row.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(sum, 2 * 1_001);
}

#[test]
fn a_shared_address_is_counted_once_and_takes_no_room_of_single_names() {
    let metrics = Metrics::new().unwrap();
    let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let shared = |list: &[&str]| Record::Flow(FlowRecord { names: names(list), shared_address: true, ..flow("", 443) });
    metrics.record(&shared(&["a.example.com", "b.example.com"]));
    metrics.record(&shared(&["a.example.com", "b.example.com", "c.example.com", "d.example.com"]));
    for n in 0..200 {
        metrics.record(&shared(&[&format!("n{n}.example.net"), "z.example.net"]));
    }
    for n in 0..34 {
        metrics.record(&Record::Flow(flow(&format!("single{n}.example.com"), 443)));
    }
    let text = metrics.text(&status(), false).unwrap();
    for name in ["a.example.com or b.example.com", "a.example.com and others", "single33.example.com"] {
        assert!(text.contains(&format!("name=\"{name}\"")), "{name}: {text}");
    }
    let total: u64 = text
        .lines()
        .filter(|line| line.starts_with("portreeve_flows_total"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(total, 3 * (2 + 200 + 34), "each flow once");
}

#[test]
fn what_only_grows_is_a_counter_and_what_was_is_told_no_more() {
    let metrics = Metrics::new().unwrap();
    let mut now = status();
    now.generation = "00aa".to_owned();
    now.renewals.asked = 5;
    let _ = metrics.text(&now, false).unwrap();
    (now.generation, now.loads, now.queries.over_budget, now.renewals.asked) = ("00bb".to_owned(), 3, 4, 9);
    let text = metrics.text(&now, false).unwrap();
    for line in [
        "# TYPE portreeve_policy_loads_total counter",
        "portreeve_policy_loads_total 3",
        "# TYPE portreeve_answers_withheld_total counter",
        "# TYPE portreeve_table_restored_total counter",
        "portreeve_over_budget_total 4",
        "portreeve_renewals_total{what=\"asked\"} 9",
        "portreeve_policy_info{generation=\"00bb\"} 1",
        concat!("portreeve_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(!text.contains("00aa"));
}
