//! Which lines of the log are about a name or an address: also those that only their cause names, and those that came in from there.

use std::net::IpAddr;

use policies::TargetHost;

use crate::record::{Cause, Direction, Line, Record};

/// What is asked about, and the addresses that are leased for it.
#[derive(Debug)]
pub struct About<'a> {
    host: &'a TargetHost,
    text: String,
    leased: &'a [IpAddr],
}

impl<'a> About<'a> {
    /// A name or an address, with what is leased for it now.
    pub fn new(host: &'a TargetHost, leased: &'a [IpAddr]) -> Self {
        About { host, text: host.to_string(), leased }
    }

    /// Whether a line is about it.
    pub fn takes(&self, line: &Line) -> bool {
        match &line.record {
            Record::Dns(dns) => match self.host {
                TargetHost::Name(_) => dns.name == self.text,
                TargetHost::Address(address) => dns.addresses.contains(address),
            },
            Record::Flow(flow) => {
                let came_from = flow.direction == Direction::Inbound && self.is(flow.source);
                came_from
                    || self.is(flow.destination)
                    || flow.names.contains(&self.text)
                    || flow.cause.as_ref().is_some_and(|cause| self.names(cause))
            }
            Record::Lost(_) => false,
        }
    }

    fn is(&self, address: IpAddr) -> bool {
        matches!(self.host, TargetHost::Address(own) if *own == address) || self.leased.contains(&address)
    }

    /// A refused flow has no name of its own once the lease has ended: the cause says whose it was.
    fn names(&self, cause: &Cause) -> bool {
        match cause {
            Cause::LeaseEnded { name, .. } | Cause::RefusedName { name, .. } => *name == self.text,
            Cause::PortNotGranted { names, .. } => names.contains(&self.text),
            Cause::NeverResolved | Cause::DeniedRange { .. } | Cause::ProtocolNotGranted | Cause::NoPolicy => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        let head = r#"{"time":"2026-11-26T08:00:00.000Z","schema.version":1"#;
        serde_json::from_str(&format!("{head},{text}}}")).unwrap()
    }

    fn flow(more: &str) -> Line {
        line(&format!(
            r#""event.name":"portreeve.flow","flow.event":"refused","flow.verdict":"refused","flow.mode":"enforce","flow.count":1,
            "flow.first":"2026-11-26T08:00:00.000Z","flow.last":"2026-11-26T08:00:00.000Z","network.transport":"tcp","network.type":"ipv4",
            {more}"#
        ))
    }

    fn about(host: &str, line: &Line) -> bool {
        let host: policies::Target = host.parse().unwrap();
        About::new(&host.host, &[]).takes(line)
    }

    #[test]
    fn a_refused_flow_is_found_by_the_name_whose_lease_ended() {
        let ends = r#""flow.direction":"outbound","source.address":"10.0.0.2","destination.address":"198.51.100.7""#;
        let ended = flow(&format!(r#"{ends},"flow.cause":{{"type":"lease-ended","name":"api.example.com","seconds":3}}"#));
        assert!(about("api.example.com", &ended) && about("198.51.100.7:443", &ended));
        assert!(!about("www.example.com", &ended));
        let ports = flow(&format!(r#"{ends},"flow.cause":{{"type":"port-not-granted","names":["api.example.com"],"ports":"443"}}"#));
        assert!(about("api.example.com:22", &ports) && !about("example.com", &ports));
    }

    #[test]
    fn a_flow_that_came_in_is_found_by_who_began_it() {
        let ends = r#""source.address":"10.0.0.9","destination.address":"10.0.0.2""#;
        assert!(about("10.0.0.9", &flow(&format!(r#"{ends},"flow.direction":"inbound""#))));
        // Of what the pod began its own address says nothing.
        assert!(!about("10.0.0.9", &flow(&format!(r#"{ends},"flow.direction":"outbound""#))));
    }
}
