//! The answer as the API server reads it, within what kubectl shows well.

use base64::engine::general_purpose::STANDARD;
use base64::write::EncoderStringWriter;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Reviewed, Verdict};

/// The longest message: a screen of problems. What is behind it is counted.
const MOST_MESSAGE: usize = 6_000;
/// The longest warning that the API server passes on (256 characters), and how many of them it does (4,096 together).
const MOST_WARNING: usize = 256;
const MOST_WARNINGS: usize = 15;

/// What to say, before it has a uid.
#[derive(Debug)]
pub(super) struct Answer {
    verdict: Verdict,
    reason: &'static str,
    patch: Vec<Value>,
    message: Option<(u16, String)>,
    warnings: Vec<String>,
}

impl Answer {
    pub(super) fn admitted(reason: &'static str, warnings: Vec<String>) -> Self {
        Self { verdict: Verdict::Admitted, reason, patch: Vec::new(), message: None, warnings }
    }

    pub(super) fn patched(patch: Vec<Value>, warnings: Vec<String>) -> Self {
        Self { verdict: Verdict::Patched, reason: "held", patch, message: None, warnings }
    }

    pub(super) fn refused(reason: &'static str, message: String, code: u16, warnings: Vec<String>) -> Self {
        Self { verdict: Verdict::Refused, reason, patch: Vec::new(), message: Some((code, message)), warnings }
    }

    pub(super) fn malformed(message: String) -> Self {
        Self { verdict: Verdict::Malformed, reason: "malformed", patch: Vec::new(), message: Some((400, message)), warnings: Vec::new() }
    }

    pub(super) fn into_reviewed(self, uid: &str) -> Reviewed {
        let Self { verdict, reason, patch, message, warnings } = self;
        let status = message.map(|(code, message)| {
            let reason = match code {
                400 => "BadRequest",
                413 => "RequestEntityTooLarge",
                422 => "Invalid",
                _ => "Forbidden",
            };
            json!({"status": "Failure", "code": code, "reason": reason, "message": cut_lines(&message, MOST_MESSAGE)})
        });
        let encoded = (!patch.is_empty()).then(|| encoded(&patch));
        drop(patch);
        let response = Response {
            uid,
            allowed: status.is_none(),
            patch_type: encoded.is_some().then_some("JSONPatch"),
            patch: encoded,
            status,
            warnings: within(warnings),
        };
        let review = Review { api_version: "admission.k8s.io/v1", kind: "AdmissionReview", response };
        // Texts and values that were read from JSON have a form in JSON.
        Reviewed { body: serde_json::to_vec(&review).unwrap_or_default(), verdict, reason }
    }
}

/// The operations as they travel, encoded as they are written: the text in between would be one more copy.
fn encoded(patch: &[Value]) -> String {
    let mut writer = EncoderStringWriter::new(&STANDARD);
    // A String takes whatever is written to it, and values have a form in JSON.
    let _ = serde_json::to_writer(&mut writer, patch);
    writer.into_inner()
}

/// Written from where its parts are: values in between would be copies of a patch as large as its pod.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    api_version: &'a str,
    kind: &'a str,
    response: Response<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

/// Sentences as kubectl shows them: one by itself, several as a list.
pub(super) fn sentences(lines: &[String]) -> String {
    match lines {
        [line] => line.clone(),
        lines => lines.iter().map(|line| format!("\n- {line}")).collect(),
    }
}

fn within(mut warnings: Vec<String>) -> Vec<String> {
    let more = warnings.len().saturating_sub(MOST_WARNINGS);
    warnings.truncate(MOST_WARNINGS);
    let mut warnings: Vec<String> = warnings.iter().map(|warning| cut(&warning.replace('\n', " "), MOST_WARNING)).collect();
    if more > 0 {
        warnings.push(format!("and {more} more"));
    }
    warnings
}

/// The text, or as many of its characters, with a sign that it was cut.
pub(crate) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => text.chars().take(most.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// As many whole lines, and how many more there are.
fn cut_lines(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut lines = text.lines();
    for line in lines.by_ref() {
        if kept.len() + line.len() >= most {
            let rest = lines.count() + 1;
            let part = if kept.is_empty() { cut(line, most / 4) } else { String::new() };
            return format!("{kept}{part}\n... and {rest} more lines");
        }
        kept.push_str(line);
        kept.push('\n');
    }
    kept
}
