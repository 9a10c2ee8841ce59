//! AdmissionReview in, AdmissionReview out: pure, and an answer to whatever comes, since a webhook without one stops a cluster's pods.

mod answer;
mod ephemeral;
mod patch;
mod request;

use std::sync::Arc;

use policies::Date;
use serde_json::Value;

use self::answer::Answer;
use self::request::{Kind, Request};
use crate::configmaps;
use crate::inject::{Context, Decision, LeftAlone, inject};
use crate::platform::Platform;
use crate::settings::Settings;

pub(crate) use self::answer::cut;
pub use self::patch::diff;

/// The largest body that is worth reading: the object as it is and as it was, each of at most 3 MiB (the API server's own bound), and the
/// review around them.
pub const MOST_BYTES: usize = 7 << 20;
/// How deep a review may be nested (the JSON parser's own bound). The API's deepest object has less than 40 levels.
pub const MOST_DEPTH: usize = 127;

/// What reviews are judged by. Cheap to clone: the day changes between reviews, the rest does not.
#[derive(Debug, Clone)]
pub struct Reviewer {
    /// The settings.
    pub settings: Arc<Settings>,
    /// The platform's policy.
    pub platform: Arc<Platform>,
    /// The day, by UTC: rules have a last one.
    pub today: Date,
    /// What is known of the namespaces that this entry of the webhook's configuration is for: the Pod Security level that they enforce.
    /// A review does not tell it.
    pub enforced: Option<Arc<str>>,
}

/// The outcome, for metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Admitted as it came.
    Admitted,
    /// Admitted with a patch.
    Patched,
    /// Refused with a reason.
    Refused,
    /// Not understood, and therefore refused.
    Malformed,
}

impl Verdict {
    /// Its label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Patched => "patched",
            Self::Refused => "refused",
            Self::Malformed => "malformed",
        }
    }
}

/// An answer, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reviewed {
    /// The AdmissionReview to send.
    pub body: Vec<u8>,
    /// The outcome.
    pub verdict: Verdict,
    /// Why: one of a few dozen words.
    pub reason: &'static str,
}

/// Answers one review. Of body, request and answer no two are in memory for longer than one is made of the other.
pub fn review(reviewer: &Reviewer, body: impl AsRef<[u8]>) -> Reviewed {
    let read = Request::read(body.as_ref());
    drop(body);
    match read {
        Ok(mut request) => {
            let uid = std::mem::take(&mut request.uid);
            on(reviewer, request).into_reviewed(&uid)
        }
        Err(error) => Answer::malformed(error.to_string()).into_reviewed(&error.uid),
    }
}

/// Refuses a review unread, by a sentence that kubectl shows: of a bare status code the API server tells nothing but the number. Nothing
/// where the body names no request, so that no answer to it can be made.
pub fn unread(body: &[u8], sentence: String) -> Option<Reviewed> {
    request::uid(body).map(|uid| Answer::refused("unread", sentence, 413, Vec::new()).into_reviewed(&uid))
}

/// The request ends here: what came is not in memory any more when the answer is written.
fn on(reviewer: &Reviewer, request: Request) -> Answer {
    match request.kind {
        Kind::Pod => on_pod(reviewer, &request),
        Kind::EphemeralContainers => ephemeral::review(reviewer, &request),
        Kind::ConfigMap => {
            let checked = configmaps::check(&request.namespace, &request.object, &reviewer.platform, reviewer.today);
            match checked.refused {
                Some(text) => Answer::refused("policy", text, 422, checked.warnings),
                None => Answer::admitted(checked.reason, checked.warnings),
            }
        }
        Kind::Other => Answer::admitted("not-asked", Vec::new()),
    }
}

fn on_pod(reviewer: &Reviewer, request: &Request) -> Answer {
    let context = Context { namespace: &request.namespace, enforced: reviewer.enforced.as_deref(), platform: &reviewer.platform };
    match inject(&reviewer.settings, &context, &request.object) {
        Decision::LeftAlone { why, warnings } => Answer::admitted(left_alone(why), warnings),
        Decision::Held { pod, warnings } => patched(&request.object, pod, warnings),
        Decision::Refused(refused) => {
            let reason = refused.first().map_or("none", |refusal| refusal.reason().as_str());
            let lines: Vec<String> = refused.iter().map(ToString::to_string).collect();
            Answer::refused(reason, answer::sentences(&lines), 403, Vec::new())
        }
    }
}

fn patched(came: &Value, wanted: Value, warnings: Vec<String>) -> Answer {
    match diff(came, wanted) {
        operations if operations.is_empty() => Answer::admitted("as-it-should-be", warnings),
        operations => Answer::patched(operations, warnings),
    }
}

fn left_alone(why: LeftAlone) -> &'static str {
    match why {
        LeftAlone::Mirror => "mirror",
        LeftAlone::Excluded => "excluded",
        LeftAlone::OptedOut => "opted-out",
        LeftAlone::CannotBeHeld => "cannot-be-held",
    }
}
