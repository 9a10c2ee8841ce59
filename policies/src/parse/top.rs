//! The top level of a file: what it is, whom it is for, and the lists of its rules.
use std::{collections::BTreeMap, ops::Range, path::Path, sync::Arc, time::Duration};

use toml::de::{DeTable, DeValue};

use super::{
    fields::{Fields, Text, wrong_type},
    report::{Report, did_you_mean},
    rules,
    value::{self, Taken},
};
use crate::{
    file::{LeaseTerms, Mode, PolicyFile, Revoke, Select, Use},
    preset::Preset,
    problem::quoted,
};

/// The version of the language that this code reads.
const VERSION: u64 = 1;
const KEYS: &[&str] = &["version", "name", "mode", "platform", "revoke", "select", "lease", "use", "allow", "deny", "limit", "expect"];

/// The whole file. `None` where something that everything hangs on is missing; the report then says so.
pub(super) fn policy_file(report: &mut Report, table: &DeTable<'_>) -> Option<PolicyFile> {
    let top = Fields::new(report, table, first_line(&report.source().text), "the file", KEYS);
    version(report, &top);
    let name = name(report, &top);
    let platform = top.boolean(report, "platform").unwrap_or(false);
    let mut taken = Taken::default();
    let allows =
        top.tables(report, "allow").into_iter().filter_map(|(table, span)| rules::allow(report, &mut taken, table, span)).collect();
    let denies = top.tables(report, "deny").into_iter().filter_map(|(table, span)| rules::deny(report, &mut taken, table, span)).collect();
    let mut limits = Vec::new();
    for (table, span) in top.tables(report, "limit") {
        if !platform {
            let hint =
                "limits hold every file that selects the pod: put `platform = true` at the top, or say it with [[allow]] and [[deny]]";
            report.error(span.clone(), "only a platform file can limit", "[[limit]] in an app's file", Some(hint.to_owned()));
        }
        limits.extend(rules::limit(report, &mut taken, table, span));
    }
    let expectations = top.tables(report, "expect").into_iter().filter_map(|(table, span)| rules::expect(report, table, span)).collect();
    let mode = top
        .string(report, "mode")
        .and_then(|text| value::choice(report, &text, "mode", &[("enforce", Mode::Enforce), ("audit", Mode::Audit)]));
    let revoke =
        top.string(report, "revoke").and_then(|text| value::choice(report, &text, "revoke", &[("cut", Revoke::Cut), ("new", Revoke::New)]));
    let select = select(report, &top);
    let lease = lease(report, &top);
    let uses = uses(report, &top);
    let (name, name_span) = name?;
    Some(PolicyFile {
        source: Arc::clone(report.source()),
        name,
        name_span,
        mode: mode.unwrap_or_default(),
        platform,
        revoke: revoke.unwrap_or_default(),
        lease,
        select,
        uses,
        allows,
        denies,
        limits,
        expectations,
    })
}

fn first_line(text: &str) -> Range<usize> {
    0..text.find('\n').unwrap_or(text.len())
}

fn version(report: &mut Report, top: &Fields<'_, '_>) {
    let Some(value) = top.value("version") else {
        top.missing(report, "version", "begin the file with `version = 1`");
        return;
    };
    let DeValue::Integer(number) = value.get_ref() else {
        wrong_type::<()>(report, value.span(), "version", "an integer", value.get_ref());
        return;
    };
    match u64::from_str_radix(number.as_str(), number.radix()) {
        Ok(VERSION) => {}
        Ok(0) | Err(_) => {
            report.error(value.span(), format!("there is no version {number}"), "not a version", Some("write `version = 1`".to_owned()))
        }
        Ok(later) => report.error(
            value.span(),
            format!("version {later} of the language is from the future: this program reads version {VERSION}"),
            "not known here",
            Some("use a newer portreeve; a file is never read in part".to_owned()),
        ),
    }
}

/// The name that is given, or the stem of the file's own.
fn name(report: &mut Report, top: &Fields<'_, '_>) -> Option<(String, Range<usize>)> {
    if let Some(value) = top.value("name") {
        let text = top.string(report, "name")?;
        return value::name(report, &text).map(|name| (name, value.span()));
    }
    let path = report.source().path.clone();
    let stem = Path::new(&path).file_stem().and_then(|stem| stem.to_str()).unwrap_or("");
    let fits = !stem.is_empty() && stem.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if fits && !stem.starts_with('-') {
        let text = Text { text: stem, span: top.span.clone() };
        return value::name(report, &text).map(|name| (name, top.span.clone()));
    }
    top.missing(report, "name", "add `name = \"...\"`: the file's own name is not made of a-z, 0-9 and -");
    None
}

fn select(report: &mut Report, top: &Fields<'_, '_>) -> Select {
    let Some((table, span)) = top.table(report, "select") else { return Select::default() };
    let fields = Fields::new(report, table, span, "[select]", &["namespaces", "labels"]);
    let namespaces = fields.strings(report, "namespaces");
    if namespaces.as_ref().is_some_and(Vec::is_empty)
        && let Some(value) = fields.value("namespaces")
    {
        let hint = Some("leave the key out to select every namespace".to_owned());
        report.error(value.span(), "`namespaces` is empty: no pod would be selected", "no namespace", hint);
    }
    let labels = fields.table(report, "labels").map(|(labels, _)| Fields::entries(report, labels));
    let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    Select {
        namespaces: namespaces.unwrap_or_default().iter().map(|text| text.text.to_owned()).collect(),
        labels: labels.unwrap_or_default().into_iter().map(owned).collect::<BTreeMap<_, _>>(),
    }
}

fn lease(report: &mut Report, top: &Fields<'_, '_>) -> LeaseTerms {
    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let default = LeaseTerms::default();
    let Some((table, span)) = top.table(report, "lease") else { return default };
    let fields = Fields::new(report, table, span, "[lease]", &["min", "max", "grace"]);
    let mut read = |key: &str, least: Duration, most: Duration| {
        fields.string(report, key).and_then(|text| value::duration(report, &text, key, least..=most))
    };
    let (min, max) = (read("min", Duration::from_secs(1), DAY), read("max", Duration::from_secs(1), DAY));
    let grace = read("grace", Duration::ZERO, HOUR).unwrap_or(default.grace);
    // One bound alone moves the other's default out of its way.
    let lease = match (min, max) {
        (None, None) => LeaseTerms { grace, ..default },
        (Some(min), None) => LeaseTerms { min, max: default.max.max(min), grace },
        (None, Some(max)) => LeaseTerms { min: default.min.min(max), max, grace },
        (Some(min), Some(max)) => LeaseTerms { min, max, grace },
    };
    if lease.min > lease.max
        && let Some(value) = fields.value("min")
    {
        report.error(value.span(), "the shortest lease is longer than the longest", "greater than `max`", None);
    }
    lease
}

fn uses(report: &mut Report, top: &Fields<'_, '_>) -> Vec<Use> {
    let texts = top.strings(report, "use").unwrap_or_default();
    let presets = presets(report, &texts);
    presets.into_iter().map(|(preset, span)| Use { preset, line: report.line(&span), span }).collect()
}

/// The presets of an array; what is none is told and left out.
pub(super) fn presets(report: &mut Report, texts: &[Text<'_>]) -> Vec<(Preset, Range<usize>)> {
    let mut presets: Vec<(Preset, Range<usize>)> = Vec::new();
    for text in texts {
        let Some(preset) = Preset::by_name(text.text) else {
            let names = Preset::ALL.map(Preset::name);
            let hint = did_you_mean(text.text, names).unwrap_or_else(|| format!("the presets are {}", names.join(", ")));
            report.error(text.span.clone(), format!("there is no preset {}", quoted(text.text)), "not a preset", Some(hint));
            continue;
        };
        if presets.iter().any(|(other, _)| *other == preset) {
            report.warning(text.span.clone(), format!("{preset} stands here twice"), "already in this list", None);
        } else {
            presets.push((preset, text.span.clone()));
        }
    }
    presets
}
