//! Quantities as the API writes them: `500m`, `96Mi`, `0.5`.

/// A quantity in billionths, the finest that the API knows.
pub(crate) fn nanos(text: &str) -> Option<u128> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if number.len() > 24 || fraction.len() > 9 || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let scale = match unit {
        "n" => 1,
        "u" => 1_000,
        "m" => 1_000_000,
        _ => units(unit)?.checked_mul(1_000_000_000)?,
    };
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let scaled = digits.checked_mul(scale)?;
    Some(scaled / 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?)
}

fn units(unit: &str) -> Option<u128> {
    // Also 1e3, by the power itself; a bare E is exa.
    if let Some(power) = unit.strip_prefix(['e', 'E']).and_then(|digits| digits.parse().ok()) {
        return 10_u128.checked_pow(power);
    }
    let power = |letters: &str| ["", "k", "M", "G", "T", "P", "E"].iter().position(|known| *known == letters);
    match unit.strip_suffix('i') {
        Some("K") => Some(1024),
        Some(letter) => 1024_u128.checked_pow(u32::try_from(power(letter).filter(|power| *power > 1)?).ok()?),
        None => 1000_u128.checked_pow(u32::try_from(power(unit)?).ok()?),
    }
}
