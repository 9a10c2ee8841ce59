//! The rules of a file: `[[allow]]`, `[[deny]]`, `[[limit]]` and `[[expect]]`.
use std::ops::Range;

use ipnet::IpNet;
use toml::de::{DeTable, DeValue};

use super::{
    budget,
    fields::{self, Fields, Text, wrong_type},
    host::{self, For},
    range,
    report::Report,
    top,
    value::{self, Taken},
};
use crate::{
    file::{Allow, Deny, Expectation, Expected, HttpsRecords, Limit, Private},
    host::HostPattern,
    problem::quoted,
    target::{Target, TargetError},
};

const ALLOW: &[&str] =
    &["name", "hosts", "cidrs", "ports", "private", "owner", "ticket", "expires", "https-records", "srv-targets", "budget"];
const PORTS_HINT: &str = "add `ports = [\"443\"]`, with what the app needs";

/// One `[[allow]]`.
pub(super) fn allow(report: &mut Report, taken: &mut Taken, table: &DeTable<'_>, span: Range<usize>) -> Option<Allow> {
    let fields = Fields::new(report, table, span.clone(), "[[allow]]", ALLOW);
    let name = name(report, taken, &fields);
    if fields.value("name").is_none() {
        fields.missing(report, "name", "a rule's name shows in sets, logs and metrics");
    }
    let (hosts, cidrs) = places(report, &fields, For::Allow);
    range::warn_of_everything(report, &cidrs);
    if fields.value("hosts").is_none() && fields.value("cidrs").is_none() {
        let hint = Some("add `hosts = [...]` with names, or `cidrs = [...]` with address ranges".to_owned());
        report.missing(span.clone(), "[[allow]] leads nowhere: it has neither `hosts` nor `cidrs`", "no host, no range", hint);
    }
    let ports = value::ports(report, &fields);
    if ports.is_none() {
        fields.missing(report, "ports", PORTS_HINT);
    }
    let expires = fields.value("expires");
    let choices = [("nodata", HttpsRecords::Nodata), ("strip", HttpsRecords::Strip)];
    let https_records = fields.string(report, "https-records").and_then(|text| value::choice(report, &text, "https-records", &choices));
    Some(Allow {
        private: private(report, &fields),
        owner: value::note(report, &fields, "owner"),
        ticket: value::note(report, &fields, "ticket"),
        expires: expires.and_then(|value| value::day(report, "expires", value)),
        https_records: https_records.unwrap_or_default(),
        srv_targets: fields.boolean(report, "srv-targets").unwrap_or(false),
        budget: budget::budget(report, &fields, &hosts),
        expires_span: expires.map_or(span.clone(), |value| value.span()),
        line: report.line(&span),
        name: name?,
        hosts,
        cidrs: cidrs.into_iter().map(|(range, _)| range).collect(),
        ports: ports.unwrap_or_default(),
    })
}

/// One `[[deny]]`.
pub(super) fn deny(report: &mut Report, taken: &mut Taken, table: &DeTable<'_>, span: Range<usize>) -> Option<Deny> {
    let fields = Fields::new(report, table, span.clone(), "[[deny]]", &["name", "hosts", "cidrs", "ports"]);
    let name = name(report, taken, &fields);
    let (hosts, cidrs) = places(report, &fields, For::Hold);
    if fields.value("hosts").is_none() && fields.value("cidrs").is_none() {
        let hint = Some("add `hosts = [...]` or `cidrs = [...]`; what no rule allows is refused without a deny".to_owned());
        report.missing(span.clone(), "[[deny]] denies nothing: it has neither `hosts` nor `cidrs`", "no host, no range", hint);
    }
    let ports = value::ports(report, &fields);
    range::refuse_loopback(report, &cidrs, ports.as_ref());
    let (cidrs, cidr_spans) = cidrs.into_iter().unzip();
    Some(Deny { name, hosts, cidrs, ports, line: report.line(&span), cidr_spans })
}

/// One `[[limit]]`.
pub(super) fn limit(report: &mut Report, taken: &mut Taken, table: &DeTable<'_>, span: Range<usize>) -> Option<Limit> {
    let fields = Fields::new(report, table, span.clone(), "[[limit]]", &["name", "hosts", "cidrs", "use", "ports"]);
    let name = name(report, taken, &fields);
    let (hosts, cidrs) = places(report, &fields, For::Hold);
    let presets = fields.strings(report, "use").unwrap_or_default();
    let presets = top::presets(report, &presets);
    let ports = value::ports(report, &fields);
    if ["hosts", "cidrs", "use", "ports"].iter().all(|key| fields.value(key).is_none()) {
        let hint = Some("add `hosts`, `cidrs`, `use` or `ports`: what a grant must lie in to count".to_owned());
        report.missing(span.clone(), "[[limit]] holds nothing", "empty", hint);
    }
    Some(Limit {
        name,
        hosts,
        cidrs: cidrs.into_iter().map(|(range, _)| range).collect(),
        presets: presets.into_iter().map(|(preset, _)| preset).collect(),
        ports,
        line: report.line(&span),
    })
}

/// One `[[expect]]`.
pub(super) fn expect(report: &mut Report, table: &DeTable<'_>, span: Range<usize>) -> Option<Expectation> {
    let fields = Fields::new(report, table, span.clone(), "[[expect]]", &["allow", "deny"]);
    let (expected, key) = match (fields.value("allow"), fields.value("deny")) {
        (Some(_), None) => (Expected::Allow, "allow"),
        (None, Some(_)) => (Expected::Deny, "deny"),
        (both, _) => {
            let message = if both.is_some() { "[[expect]] has both `allow` and `deny`" } else { "[[expect]] expects nothing" };
            let hint = Some("write `allow = \"github.com:22\"` or `deny = \"github.com:22\"`, one in each [[expect]]".to_owned());
            report.missing(span, message, "one of `allow` and `deny`", hint);
            return None;
        }
    };
    let text = fields.string(report, key)?;
    let target = target(report, &text)?;
    Some(Expectation { expected, target, line: report.line(&span) })
}

fn target(report: &mut Report, text: &Text<'_>) -> Option<Target> {
    let hint = "write a host or an address with its port: \"github.com:22\", \"198.51.100.7:53/udp\", \"[2001:db8::1]:443\"";
    let message = match text.text.parse::<Target>() {
        Ok(Target { port: None, .. }) => format!("{} has no port", quoted(text.text)),
        Ok(target) => return Some(target),
        Err(TargetError::Host(error)) => format!("{} has no host that can be asked for: {error}", quoted(text.text)),
        Err(error) => format!("{} cannot be tried: {error}", quoted(text.text)),
    };
    report.error(text.span.clone(), message, "not a target", Some(hint.to_owned()));
    None
}

fn name(report: &mut Report, taken: &mut Taken, fields: &Fields<'_, '_>) -> Option<String> {
    let text = fields.string(report, "name")?;
    let name = value::name(report, &text)?;
    taken.take(report, &name, &text.span);
    Some(name)
}

type Ranges = Vec<(IpNet, Range<usize>)>;

fn places(report: &mut Report, fields: &Fields<'_, '_>, purpose: For) -> (Vec<HostPattern>, Ranges) {
    for key in ["hosts", "cidrs"] {
        if let Some(value) = fields.value(key)
            && matches!(value.get_ref(), DeValue::Array(list) if list.is_empty())
        {
            report.error(value.span(), format!("`{key}` is empty"), "nothing in it", Some(format!("fill it, or leave `{key}` out")));
        }
    }
    let hosts = fields.strings(report, "hosts").unwrap_or_default();
    let cidrs = fields.strings(report, "cidrs").unwrap_or_default();
    (host::hosts(report, &hosts, purpose), range::ranges(report, &cidrs))
}

fn private(report: &mut Report, fields: &Fields<'_, '_>) -> Private {
    let Some(value) = fields.value("private") else { return Private::No };
    match value.get_ref() {
        DeValue::Boolean(true) => Private::Yes,
        DeValue::Boolean(false) => Private::No,
        DeValue::Array(_) => {
            let texts = fields::strings(report, "private", value);
            Private::Ranges(range::ranges(report, &texts).into_iter().map(|(range, _)| range).collect())
        }
        other => wrong_type(report, value.span(), "private", "true, false or an array of ranges", other).unwrap_or_default(),
    }
}
