//! `portreeve flows`: who the pod talked to, permitted or not, by name.

use crate::ask::lines::View;
use crate::ask::table::tame;
use crate::cli::LinesArgs;
use crate::exit::{Exit, Failure};
use crate::record::{Cause, Direction, FlowEvent, FlowRecord, Line, LostRecord, Record, Transport, Verdict};

/// Runs it.
pub fn run(args: &LinesArgs) -> Result<Exit, Failure> {
    VIEW.show(args)
}

const VIEW: View =
    View { question: "flows", head: &["time", "what", "count", "target", "names", "by or why", "volume"], cells, none: "no flows" };

/// The table, and whose view it is.
pub fn render<'a>(lines: impl Iterator<Item = &'a Line>) -> String {
    VIEW.render(lines)
}

fn cells(line: &Line) -> Vec<String> {
    match &line.record {
        Record::Flow(flow) => of_flow(flow),
        Record::Lost(lost) => of_lost(line, lost),
        Record::Dns(_) => Vec::new(),
    }
}

fn of_flow(flow: &FlowRecord) -> Vec<String> {
    let what = match (flow.event, flow.verdict, flow.direction) {
        (FlowEvent::Ended, _, _) => "ended",
        (_, Verdict::Permitted, Direction::Outbound) => "permitted",
        (_, Verdict::Permitted, Direction::Inbound) => "came in",
        (_, Verdict::Refused, _) => "refused",
        (_, Verdict::WouldDeny, _) => "would deny",
    };
    let (host, port) = match flow.direction {
        Direction::Outbound => (flow.destination, flow.destination_port),
        Direction::Inbound => (flow.source, flow.destination_port),
    };
    let target = match (host, port) {
        (std::net::IpAddr::V6(host), Some(port)) => format!("[{host}]:{port}"),
        (host, Some(port)) => format!("{host}:{port}"),
        (host, None) => host.to_string(),
    };
    let target = if flow.transport == Transport::Tcp { target } else { format!("{target}/{}", flow.transport) };
    let names = if flow.shared_address { format!("{} (one of them)", flow.names.join(" ")) } else { flow.names.join(" ") };
    let why = match (&flow.cause, &flow.rule, &flow.policy) {
        (Some(cause), _, _) => because(cause),
        (None, Some(rule), Some(policy)) => format!("{policy}.{rule}"),
        _ => String::new(),
    };
    let volume = match (flow.bytes_sent, flow.bytes_received) {
        (Some(sent), Some(received)) => format!("{sent} B out, {received} B in"),
        _ => String::new(),
    };
    let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { tame(&text) };
    vec![flow.last.to_string(), what.to_owned(), flow.count.to_string(), target, or_dash(names), or_dash(why), volume]
}

/// A cause in words.
pub fn because(cause: &Cause) -> String {
    match cause {
        Cause::NeverResolved => "never resolved: no permitted name led there".to_owned(),
        Cause::LeaseEnded { name, seconds } => format!("the lease of {name} ended {seconds} s before"),
        Cause::PortNotGranted { names, ports } if names.is_empty() => format!("open on {ports} only"),
        Cause::PortNotGranted { names, ports } => format!("{} is permitted on {ports} only", names.join(", ")),
        Cause::RefusedName { name, reason } => format!("{name} is refused ({reason})"),
        Cause::DeniedRange { range: Some(range), policy } => format!("{range} is denied by {policy}"),
        Cause::DeniedRange { range: None, policy } => format!("denied by {policy}"),
        Cause::ProtocolNotGranted => "no rule can open this protocol".to_owned(),
        Cause::NoPolicy => "no policy selects this pod".to_owned(),
    }
}

fn of_lost(line: &Line, lost: &LostRecord) -> Vec<String> {
    let name =
        |value: serde_json::Result<serde_json::Value>| value.ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default();
    let why = format!("{}: {}", name(serde_json::to_value(lost.what)), name(serde_json::to_value(lost.why)));
    vec![line.time.to_string(), "lost".to_owned(), lost.count.to_string(), "-".to_owned(), "-".to_owned(), why, String::new()]
}
