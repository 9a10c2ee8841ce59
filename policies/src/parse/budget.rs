//! The `budget` of a rule with wildcards.
use std::ops::RangeInclusive;

use toml::de::DeValue;

use super::{
    fields::{Fields, wrong_type},
    report::Report,
};
use crate::{budget::BudgetTerms, host::HostPattern, problem::quoted};

const NAMES: RangeInclusive<u64> = 1..=1_000_000;
/// The longest name must fit, or the budget would hold names that nobody counted.
const BYTES: RangeInclusive<u64> = 255..=64 * 1024 * 1024;
const LABEL: RangeInclusive<u64> = 1..=63;

/// What the rule says, with the default for what it does not; `None` for a rule without a wildcard, where none may be said.
pub(super) fn budget(report: &mut Report, fields: &Fields<'_, '_>, hosts: &[HostPattern]) -> Option<BudgetTerms> {
    let default = BudgetTerms::default();
    let zones = || hosts.iter().filter(|host| matches!(host, HostPattern::Below(_)));
    let wild = zones().next().map(|_| default);
    let Some((table, span)) = fields.table(report, "budget") else { return wild };
    // A star that is no wildcard, or that cannot be read, has been told.
    if wild.is_none() && !has_star(fields) {
        let hint = "take `budget` out: only a wildcard leaves the choice of names to the app";
        report.error(span.clone(), "`budget` in a rule without a wildcard", "nothing to count", Some(hint.to_owned()));
    }
    let fields = Fields::new(report, table, span, "budget", &["names", "bytes", "label"]);
    let names = number(report, &fields, "names", NAMES).and_then(|names| u32::try_from(names).ok());
    let bytes = number(report, &fields, "bytes", BYTES).and_then(|bytes| u32::try_from(bytes).ok());
    let label = number(report, &fields, "label", LABEL).and_then(|label| u8::try_from(label).ok());
    let longest = zones().flat_map(|zone| zone.name().labels().map(move |label| (label.len(), zone))).max_by_key(|(octets, _)| *octets);
    if let (Some(most), Some((octets, zone)), Some(value)) = (label, longest, fields.value("label"))
        && octets > usize::from(most)
    {
        let hint = Some(format!("write {octets} or more, or leave `label` out"));
        report.error(value.span(), format!("{zone} itself has a label of {octets} octets"), "no name could be asked for", hint);
    }
    wild.map(|_| BudgetTerms {
        names: names.unwrap_or(default.names),
        bytes: bytes.unwrap_or(default.bytes),
        label: label.unwrap_or(default.label),
    })
}

fn has_star(fields: &Fields<'_, '_>) -> bool {
    let star = |value: &DeValue<'_>| matches!(value, DeValue::String(text) if text.contains('*'));
    fields
        .value("hosts")
        .is_some_and(|hosts| matches!(hosts.get_ref(), DeValue::Array(list) if list.iter().any(|host| star(host.get_ref()))))
}

/// A number, or for octets also a size: `"64KiB"`.
fn number(report: &mut Report, fields: &Fields<'_, '_>, key: &str, bounds: RangeInclusive<u64>) -> Option<u64> {
    let value = fields.value(key)?;
    let wanted = if key == "bytes" { "a number or a size" } else { "a number" };
    let number = match value.get_ref() {
        DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
        DeValue::String(text) if key == "bytes" => {
            let Some(size) = size(text) else {
                let hint = Some("write \"64KiB\", \"1MiB\", or the number of octets without quotes".to_owned());
                report.error(value.span(), format!("{} is no size", quoted(text)), "cannot be read", hint);
                return None;
            };
            Some(size)
        }
        other => return wrong_type(report, value.span(), key, wanted, other),
    };
    // What is too large or negative to be read is out of bounds too.
    let number = number.filter(|number| bounds.contains(number));
    if number.is_none() {
        report.error(value.span(), format!("`{key}` must be between {} and {}", bounds.start(), bounds.end()), "out of bounds", None);
    }
    number
}

/// Octets with their unit. A size that is too large for a `u64` is as good as the largest.
fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text.get(digits.len()..)?.trim_start() {
        "B" | "" => 1,
        "KiB" => 1024,
        "MiB" => 1024 * 1024,
        _ => return None,
    };
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().unwrap_or(u64::MAX).saturating_mul(unit))
}
