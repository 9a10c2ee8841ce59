//! One request: what is refused before anybody reads it, its body within bounds of size and time, and the answer.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::places::Activity;
use super::{Path, Shared};

/// The API server takes objects of 3 MiB and stores 1.5 MiB. An update brings the object before and after, and a policy in JSON is a
/// string whose line ends and quotes take two bytes: 2 × 1.5 MiB × 2, and some.
const MOST_BODY: usize = 8 * 1024 * 1024;
/// Of all requests together. The usual body has some 10 KiB.
pub(super) const MOST_BODIES: usize = 24 * 1024 * 1024;
/// What grows in memory is not a body's bytes but its values, of some 100 bytes each; an object takes seven times that, an empty one
/// nothing, a list twice. The review has each twice, as it came and as it is wanted: some 10 MiB at this bound. A pod of a thousand lines
/// weighs some 5,000, and as much again by its managed fields.
const MOST_WEIGHT: usize = 48_000;
/// The webhook configurations wait 5 s: an answer after that is for nobody.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why a request was refused, unread.
#[derive(Debug, Clone, Copy)]
enum Refusal {
    NotFound,
    Method,
    ContentType,
    TooLarge,
    TooMany,
    TooSlow,
    Busy,
    Broken,
}

impl Refusal {
    /// Status, the metric's label, and a sentence.
    fn told(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Refusal::NotFound => (StatusCode::NOT_FOUND, "not-found", "there are /pods and /configmaps"),
            Refusal::Method => (StatusCode::METHOD_NOT_ALLOWED, "method", "an AdmissionReview comes with POST"),
            Refusal::ContentType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type", "an AdmissionReview comes as application/json"),
            Refusal::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "an AdmissionReview has 8 MiB at the most"),
            Refusal::TooMany => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "too-many",
                "an AdmissionReview has as many values as weigh 48,000 at the most (objects 7, lists 2, others 1)",
            ),
            Refusal::TooSlow => (StatusCode::REQUEST_TIMEOUT, "too-slow", "the body did not come within 5 s"),
            Refusal::Busy => (StatusCode::SERVICE_UNAVAILABLE, "busy", "too many bytes are on their way at once"),
            Refusal::Broken => (StatusCode::BAD_REQUEST, "broken", "the body broke off"),
        }
    }
}

/// Answers a request of the webhook's port.
pub(super) async fn answer(
    shared: Arc<Shared>,
    activity: Arc<Activity>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let _busy = activity.begin();
    let came = Instant::now();
    let path = match admitted(&request) {
        Ok(path) => path,
        Err(refusal) => return Ok(refuse(&shared, refusal)),
    };
    let body = match timeout(PATIENCE, read(request.into_body(), &shared.room)).await {
        Ok(Ok(body)) => body,
        Ok(Err(refusal)) => return Ok(refuse(&shared, refusal)),
        Err(_) => return Ok(refuse(&shared, Refusal::TooSlow)),
    };
    let Read { bytes, _room } = body;
    let weight = weight(&bytes);
    let reviewed = if weight > MOST_WEIGHT {
        let refused = refuse(&shared, Refusal::TooMany);
        match shared.reviewer.load().unread(&bytes, too_many(weight)) {
            Some(reviewed) => reviewed,
            None => return Ok(refused),
        }
    } else {
        shared.reviewer.load().review(path, bytes)
    };
    shared.metrics.reviewed(path, &reviewed, came.elapsed());
    let mut response = Response::new(Full::new(Bytes::from(reviewed.body)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// What who made the object can do about it.
fn too_many(weight: usize) -> String {
    format!(
        "it has too many values to be read: with its managed fields they weigh {weight}, of {MOST_WEIGHT} (an object 7, a list 2, anything else 1); \
         take variables from a ConfigMap by envFrom, mount fewer volumes, or make several of one"
    )
}

/// What a head alone tells. The API server adds `?timeout=5s`.
fn admitted(request: &Request<Incoming>) -> Result<Path, Refusal> {
    let path = match request.uri().path() {
        "/pods" => Path::Pods,
        "/pods-under-pod-security" => Path::EnforcedPods,
        "/configmaps" => Path::ConfigMaps,
        _ => return Err(Refusal::NotFound),
    };
    if request.method() != Method::POST {
        return Err(Refusal::Method);
    }
    let kind = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/json") {
        return Err(Refusal::ContentType);
    }
    // A body that says it is too long is not read at all.
    if request.body().size_hint().lower() > MOST_BODY as u64 {
        return Err(Refusal::TooLarge);
    }
    Ok(path)
}

/// A body, with the room it takes.
struct Read {
    bytes: Vec<u8>,
    _room: Option<OwnedSemaphorePermit>,
}

/// Reads the body. Its room is taken as it comes, so that a length that is only claimed takes none.
async fn read(mut body: Incoming, room: &Arc<Semaphore>) -> Result<Read, Refusal> {
    let (mut bytes, mut taken): (Vec<u8>, Option<OwnedSemaphorePermit>) = (Vec::new(), None);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Refusal::Broken)?.into_data() else { continue };
        if bytes.len() + data.len() > MOST_BODY {
            return Err(Refusal::TooLarge);
        }
        let more = u32::try_from(data.len()).map_err(|_| Refusal::TooLarge)?;
        let more = room.clone().try_acquire_many_owned(more).map_err(|_| Refusal::Busy)?;
        match &mut taken {
            Some(taken) => taken.merge(more),
            none => *none = Some(more),
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Read { bytes, _room: taken })
}

/// What the values of a body weigh: commas, colons, brackets and braces outside of strings. Whether it is JSON at all is not asked.
fn weight(body: &[u8]) -> usize {
    let (mut weight, mut quoted, mut escaped, mut opened) = (0, false, false, false);
    for byte in body {
        // An object costs with the first thing in it.
        if opened && !byte.is_ascii_whitespace() {
            weight += if *byte == b'}' { 0 } else { 6 };
            opened = false;
        }
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b',' | b':' if !quoted => weight += 1,
            b'[' if !quoted => weight += 2,
            b'{' if !quoted => (weight, opened) = (weight + 1, true),
            _ => {}
        }
    }
    weight
}

fn refuse(shared: &Shared, refusal: Refusal) -> Response<Full<Bytes>> {
    let (status, word, sentence) = refusal.told();
    shared.metrics.refused.with_label_values(&[word]).inc();
    let mut response = plain(status, format!("{sentence}\n"));
    if matches!(refusal, Refusal::Method) {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    }
    response
}

/// A line of text.
pub(super) fn plain(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_weigh_outside_of_strings() {
        assert_eq!(weight(br#"{"a": [1, 2], "b,": "\",{[:", "c": "\\"}"#), 7 + 3 + 2 + 1 + 2);
        assert_eq!(weight(br#"{ "a": {}, "b": { } }"#), 7 + 2 + 2 + 1);
        assert_eq!(weight(b""), 0);
    }
}
