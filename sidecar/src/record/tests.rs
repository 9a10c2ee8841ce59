//! Lines of every kind against the schema that is checked in.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;

const SCHEMA: &str = include_str!("../../schema/flow-log-1.json");

fn schema() -> Value {
    serde_json::from_str(SCHEMA).unwrap()
}

fn validator() -> jsonschema::Validator {
    jsonschema::options().should_validate_formats(true).build(&schema()).unwrap()
}

/// Every variant, so that a new one does not compile until it is here (and then in the schema).
fn causes() -> Vec<Cause> {
    let name = "api.example.com".to_owned();
    let all = vec![
        Cause::NeverResolved,
        Cause::LeaseEnded { name: name.clone(), seconds: 3 },
        Cause::PortNotGranted { names: vec![name.clone()], ports: "443, 53/udp".to_owned() },
        Cause::PortNotGranted { names: Vec::new(), ports: "443".to_owned() },
        Cause::RefusedName { name, reason: "not-permitted".to_owned() },
        Cause::DeniedRange { range: Some("10.0.0.0/8".parse().unwrap()), policy: "platform".to_owned() },
        Cause::DeniedRange { range: None, policy: "built-in".to_owned() },
        Cause::ProtocolNotGranted,
        Cause::NoPolicy,
    ];
    for cause in &all {
        match cause {
            Cause::NeverResolved
            | Cause::LeaseEnded { .. }
            | Cause::PortNotGranted { .. }
            | Cause::RefusedName { .. }
            | Cause::DeniedRange { .. }
            | Cause::ProtocolNotGranted
            | Cause::NoPolicy => {}
        }
    }
    all
}

fn at(second: u64) -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000 + second * 1000)
}

/// A flow with every field.
fn flow() -> FlowRecord {
    FlowRecord {
        event: FlowEvent::Ended,
        verdict: Verdict::Permitted,
        mode: "enforce".to_owned(),
        direction: Direction::Outbound,
        count: 1,
        first: at(0),
        last: at(1),
        names: vec!["api.example.com".to_owned(), "www.example.com".to_owned()],
        shared_address: true,
        rule: Some("web".to_owned()),
        policy: Some("shop".to_owned()),
        cause: None,
        transport: Transport::Tcp,
        network_type: "ipv4".to_owned(),
        source: "10.77.1.2".parse().unwrap(),
        source_port: Some(51636),
        destination: "198.51.100.7".parse().unwrap(),
        destination_port: Some(443),
        uid: Some(1000),
        bytes_sent: Some(1200),
        bytes_received: Some(3400),
        packets_sent: Some(9),
        packets_received: Some(8),
        duration_ms: Some(1500),
    }
}

fn question() -> DnsRecord {
    DnsRecord {
        name: "api.example.com".to_owned(),
        rtype: "A".to_owned(),
        verdict: DnsVerdict::Permitted,
        reason: Some("why".to_owned()),
        rcode: "NOERROR".to_owned(),
        rule: Some("web".to_owned()),
        policy: Some("shop".to_owned()),
        chain: vec!["edge.example.net".to_owned()],
        addresses: vec!["198.51.100.7".parse().unwrap(), "2001:db8::7".parse().unwrap()],
        ttl: Some(60),
        source: "upstream".to_owned(),
        upstream: Some("10.96.0.10:53".to_owned()),
        duration_us: 420,
        transport: "udp".to_owned(),
        count: 2,
        first: at(0),
        last: at(1),
    }
}

fn records() -> Vec<Record> {
    let mut all = vec![Record::Flow(flow())];
    // The same with nothing that may be absent, by every transport.
    let bare = FlowRecord {
        event: FlowEvent::Began,
        names: Vec::new(),
        shared_address: false,
        rule: None,
        policy: None,
        source_port: None,
        destination_port: None,
        uid: None,
        bytes_sent: None,
        bytes_received: None,
        packets_sent: None,
        packets_received: None,
        duration_ms: None,
        ..flow()
    };
    for transport in [Transport::Tcp, Transport::Udp, Transport::Icmp, Transport::Other(132)] {
        for direction in [Direction::Outbound, Direction::Inbound] {
            all.push(Record::Flow(FlowRecord { transport, direction, ..bare.clone() }));
        }
    }
    for cause in causes() {
        let (cause, address) = (Some(cause), "2001:db8::7".parse().unwrap());
        let refused = FlowRecord { event: FlowEvent::Refused, verdict: Verdict::Refused, cause: cause.clone(), ..bare.clone() };
        all.push(Record::Flow(refused));
        let (mode, network_type) = ("audit".to_owned(), "ipv6".to_owned());
        let audited = FlowRecord { verdict: Verdict::WouldDeny, mode, network_type, cause, ..bare.clone() };
        all.push(Record::Flow(FlowRecord { source: address, destination: address, ..audited }));
    }
    for verdict in [DnsVerdict::Permitted, DnsVerdict::Refused, DnsVerdict::WouldDeny, DnsVerdict::Failed] {
        all.push(Record::Dns(DnsRecord { verdict, ..question() }));
        let (chain, addresses) = (Vec::new(), Vec::new());
        let short =
            DnsRecord { verdict, reason: None, rule: None, policy: None, chain, addresses, ttl: None, upstream: None, ..question() };
        for source in ["cache", "stale", "here"] {
            all.push(Record::Dns(DnsRecord { source: source.to_owned(), rcode: "RCODE16".to_owned(), ..short.clone() }));
        }
    }
    let what = [
        LostWhat::RefusedPackets,
        LostWhat::FirstPackets,
        LostWhat::EndedFlows,
        LostWhat::Questions,
        LostWhat::Records,
        LostWhat::ForgedPackets,
        LostWhat::RawFrames,
    ];
    for what in what {
        for why in [LostWhy::OverLimit, LostWhy::NotReadInTime, LostWhy::QueueFull, LostWhy::NotWritten, LostWhy::NeverTold] {
            all.push(Record::Lost(LostRecord { what, why, count: 3 }));
        }
    }
    all
}

fn lines() -> Vec<Value> {
    let whose = |text: &str| Some(text.to_owned());
    let (namespace, pod, node) = (whose("shop"), whose("cart-7"), whose("node-1"));
    let origin = Origin { namespace, pod, node, service_account: whose("cart"), app: whose("cart") };
    let mut lines = Vec::new();
    for record in records() {
        for origin in [Origin::default(), origin.clone()] {
            let line = Line { time: at(2), schema_version: SCHEMA_VERSION, origin, record: record.clone() };
            lines.push(serde_json::to_value(&line).unwrap());
        }
    }
    lines
}

#[test]
fn every_line_that_can_be_written_keeps_to_the_schema() {
    let validator = validator();
    for line in lines() {
        let faults: Vec<String> = validator.iter_errors(&line).map(|fault| fault.to_string()).collect();
        assert!(faults.is_empty(), "{line:#}\n{faults:#?}");
    }
}

#[test]
fn what_is_no_line_of_the_log_does_not() {
    let validator = validator();
    let lines = lines();
    let of = |name: &str| lines.iter().find(|line| line["event.name"] == name).unwrap().clone();
    let changed = |name: &str, key: &str, value: Value| {
        let mut line = of(name);
        line[key] = value;
        line
    };
    let mut without = of("portreeve.flow");
    without.as_object_mut().unwrap().remove("destination.address");
    let mut half = of("portreeve.flow");
    half.as_object_mut().unwrap().remove("flow.policy");
    let wrong = [
        changed("portreeve.flow", "a-field-of-nobody", json!(1)),
        changed("portreeve.dns", "a-field-of-nobody", json!(1)),
        changed("portreeve.lost", "a-field-of-nobody", json!(1)),
        changed("portreeve.flow", "event.name", json!("portreeve.other")),
        changed("portreeve.flow", "schema.version", json!(2)),
        changed("portreeve.flow", "flow.count", json!(0)),
        changed("portreeve.flow", "destination.port", json!("443")),
        changed("portreeve.flow", "destination.address", json!("example.com")),
        changed("portreeve.flow", "flow.cause", json!({ "type": "never-resolved" })),
        changed("portreeve.flow", "flow.verdict", json!("refused")),
        changed("portreeve.flow", "time", json!("2026-11-26 08:00:00")),
        changed("portreeve.lost", "lost.what", json!("everything")),
        without,
        half,
    ];
    for line in wrong {
        assert!(!validator.is_valid(&line), "{line:#}");
    }
}

/// A field that no line above has would be one that nobody writes, or that the lines above leave out.
#[test]
fn every_field_of_the_schema_is_written_and_described() {
    let (schema, lines) = (schema(), lines());
    for (kind, name) in [("flow", "portreeve.flow"), ("dns", "portreeve.dns"), ("lost", "portreeve.lost")] {
        let own = lines.iter().filter(|line| line["event.name"] == name);
        let written: BTreeSet<&str> = own.flat_map(|line| line.as_object().unwrap().keys().map(String::as_str)).collect();
        let fields = schema["$defs"][kind]["properties"].as_object().unwrap();
        assert_eq!(written, fields.keys().map(String::as_str).collect(), "{kind}");
        for (field, of) in fields {
            assert!(of["description"].as_str().is_some_and(|text| text.ends_with('.')), "{kind} {field}");
        }
    }
}
