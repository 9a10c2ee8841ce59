//! The reviews that the server answers: judged by the settings and the platform's policy of the moment, and by the day.

use std::error::Error;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use policies::Date;

use crate::platform::Platform;
use crate::review::{self, Reviewer, review, unread};
use crate::serve::{Path, Review, Reviewed, Reviewers};

/// What `enforced` says of the namespaces behind `/pods-under-pod-security`: the entry's selector takes either.
pub const ENFORCED: &str = "baseline or restricted";

/// Makes the one who answers, for each change of settings or platform policy.
pub fn reviewers() -> Reviewers {
    Box::new(|settings, text| {
        let platform = Arc::new(Platform::parse(&text.unwrap_or_default())?);
        let plain = Reviewer { settings: Arc::new(settings), platform, today: today(), enforced: None };
        let answering = Answering { enforced: Reviewer { enforced: Some(ENFORCED.into()), ..plain.clone() }, plain };
        Ok::<Box<dyn Review>, Box<dyn Error + Send + Sync>>(Box::new(answering))
    })
}

struct Answering {
    plain: Reviewer,
    enforced: Reviewer,
}

impl Review for Answering {
    fn review(&self, path: Path, body: Vec<u8>) -> Reviewed {
        let reviewer = match path {
            Path::EnforcedPods => &self.enforced,
            Path::Pods | Path::ConfigMaps => &self.plain,
        };
        // The day is no setting: rules end by it while the server runs.
        counted(review(&Reviewer { today: today(), ..reviewer.clone() }, body))
    }

    fn unread(&self, body: &[u8], sentence: String) -> Option<Reviewed> {
        unread(body, sentence).map(counted)
    }
}

fn counted(answer: review::Reviewed) -> Reviewed {
    Reviewed { body: answer.body, verdict: answer.verdict.as_str(), reason: answer.reason }
}

fn today() -> Date {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Date::from_unix_seconds(seconds)
}
