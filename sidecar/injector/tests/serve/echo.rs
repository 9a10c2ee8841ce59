//! A reviewer that allows everything, and says by which settings.

use std::error::Error;

use injector::serve::{Path, Review, Reviewed, Reviewers};
use injector::settings::Settings;
use serde_json::{Value, json};

struct Echo {
    port: u16,
    platform: Option<String>,
}

impl Review for Echo {
    fn review(&self, path: Path, body: Vec<u8>) -> Reviewed {
        let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
        let path = if path == Path::Pods { "pods" } else { "configmaps" };
        let response = json!({"uid": asked["request"]["uid"], "allowed": true, "path": path, "port": self.port, "platform": self.platform});
        let answer = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
        Reviewed { body: answer.to_string().into_bytes(), verdict: "admitted", reason: "" }
    }

    fn unread(&self, _: &[u8], _: String) -> Option<Reviewed> {
        None
    }
}

/// Echoes; a platform's policy that is "broken" cannot be used.
pub(crate) fn reviewers() -> Reviewers {
    Box::new(|settings: Settings, platform: Option<String>| -> Result<Box<dyn Review>, Box<dyn Error + Send + Sync>> {
        if platform.as_deref() == Some("broken") {
            return Err("the platform's policy is broken".into());
        }
        Ok(Box::new(Echo { port: settings.port, platform }))
    })
}

/// A review of a pod as the API server sends it, in the essentials.
pub(crate) fn question(uid: &str) -> Vec<u8> {
    let pod =
        json!({"metadata": {"name": "a", "namespace": "shop"}, "spec": {"containers": [{"name": "app", "image": "example.com/app:1"}]}});
    let request = json!({"uid": uid, "operation": "CREATE", "namespace": "shop", "object": pod});
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).to_string().into_bytes()
}
