//! `portreeve dns`: what was asked of the resolver and what it answered.

use crate::ask::lines::View;
use crate::ask::table::tame;
use crate::cli::LinesArgs;
use crate::exit::{Exit, Failure};
use crate::record::{DnsRecord, DnsVerdict, Line, Record};

/// Runs it.
pub fn run(args: &LinesArgs) -> Result<Exit, Failure> {
    VIEW.show(args)
}

const VIEW: View = View {
    question: "dns",
    head: &["time", "verdict", "count", "type", "name", "answer", "ttl", "from", "by or why"],
    cells,
    none: "no questions",
};

/// The table, and whose view it is.
pub fn render<'a>(lines: impl Iterator<Item = &'a Line>) -> String {
    VIEW.render(lines)
}

fn cells(line: &Line) -> Vec<String> {
    match &line.record {
        Record::Dns(dns) => of_question(dns),
        Record::Lost(lost) => vec![line.time.to_string(), "lost".to_owned(), lost.count.to_string()],
        Record::Flow(_) => Vec::new(),
    }
}

fn of_question(dns: &DnsRecord) -> Vec<String> {
    let verdict = match dns.verdict {
        DnsVerdict::Permitted => "permitted",
        DnsVerdict::Refused => "refused",
        DnsVerdict::WouldDeny => "would deny",
        DnsVerdict::Failed => "failed",
    };
    let addresses = dns.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let answer = match (dns.chain.is_empty(), addresses.is_empty()) {
        (_, true) => dns.rcode.clone(),
        (true, false) => addresses,
        (false, false) => format!("{} > {addresses}", dns.chain.join(" > ")),
    };
    let why = match (&dns.reason, &dns.rule, &dns.policy) {
        (Some(reason), Some(rule), Some(policy)) => format!("{reason} ({policy}.{rule})"),
        (Some(reason), _, _) => reason.clone(),
        (None, Some(rule), Some(policy)) => format!("{policy}.{rule}"),
        _ => "-".to_owned(),
    };
    vec![
        dns.last.to_string(),
        verdict.to_owned(),
        dns.count.to_string(),
        dns.rtype.clone(),
        tame(&dns.name),
        tame(&answer),
        dns.ttl.map_or_else(|| "-".to_owned(), |ttl| ttl.to_string()),
        dns.source.clone(),
        tame(&why),
    ]
}
