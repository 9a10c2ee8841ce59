//! `portreeve dns`: what was asked of the resolver and what it answered.

use crate::ask::lines::{self, Wanted};
use crate::ask::table::{Table, tame};
use crate::cli::DnsArgs;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::record::{DnsRecord, DnsVerdict, Line, Record};

/// Runs it.
pub fn run(args: &DnsArgs) -> Result<Exit, Failure> {
    let wanted = Wanted::new(args.denied, args.name.as_deref(), args.since.as_deref())?;
    let (control, json) = (&args.running.control, args.running.json);
    if args.follow {
        lines::each(control, "dns follow", true, |text, line| match wanted.takes(&line) {
            true if json => output::line(text),
            true => output::line(&cells(&line).join("  ")),
            false => Ok(()),
        })?;
        output::complain("portreeve: the sidecar has ended, or this command did not keep up with it");
        return Ok(Exit::Refused);
    }
    let mut found = Vec::new();
    lines::each(control, "dns", false, |text, line| {
        if wanted.takes(&line) {
            found.push((text.to_owned(), line));
        }
        Ok(())
    })?;
    found.drain(..found.len().saturating_sub(args.last.unwrap_or(usize::MAX)));
    if json {
        return found.iter().try_for_each(|(text, _)| output::line(text)).map(|()| Exit::Success);
    }
    output::line(&render(found.iter().map(|(_, line)| line)))?;
    Ok(Exit::Success)
}

/// The table, and whose view it is.
pub fn render<'a>(lines: impl Iterator<Item = &'a Line>) -> String {
    let mut table = Table::new(&["time", "verdict", "count", "type", "name", "answer", "ttl", "from", "by or why"]);
    let mut any = false;
    for line in lines {
        any = true;
        table.row(cells(line));
    }
    let whose = "(as the sidecar remembers it: the last half mebibyte; the whole log is on its stdout)";
    if any { format!("{}\n{whose}", table.render()) } else { format!("no questions\n{whose}") }
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
