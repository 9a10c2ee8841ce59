//! A container that joins a running pod (`kubectl debug`): judged like the app's, as long as the pod is held.

use serde_json::Value;

use super::answer::{Answer, sentences};
use super::request::Request;
use super::{Reviewer, patched};
use crate::inject::drop_net_raw;
use crate::names::{self, CONTAINER};
use crate::refusals::{self, App, Refusal};
use crate::settings::{PodSecurity, UnsafePods};

/// Judges the containers that were not there before, and takes NET_RAW from them.
pub(super) fn review(reviewer: &Reviewer, request: &Request) -> Answer {
    let settings = &*reviewer.settings;
    let came = &request.object;
    if !names::list(came, "/spec/initContainers").iter().any(|container| names::name_of(container) == CONTAINER) {
        return Answer::admitted("not-held", Vec::new());
    }
    if let Err(refusal) = refusals::shape(came) {
        return Answer::refused(refusal.reason().as_str(), refusal.to_string(), 403, Vec::new());
    }
    let mut wanted = came.clone();
    let mut refused = Vec::new();
    let old = &request.old_ephemeral;
    let containers = wanted.pointer_mut("/spec/ephemeralContainers").and_then(Value::as_array_mut);
    // What runs already cannot be changed, and was judged when it came.
    for container in containers.into_iter().flatten().filter(|container| !old.contains(*container)) {
        refusals::of_container(settings, came, App::ephemeral(container), &mut refused);
        drop_net_raw(container);
    }
    let hint = match settings.pod_security {
        PodSecurity::Baseline => "kubectl debug --profile=baseline asks for no rights",
        PodSecurity::Restricted => "kubectl debug --profile=restricted asks for no rights",
    };
    let lines: Vec<String> = refused.iter().map(|refusal: &Refusal| format!("{refusal} ({hint})")).collect();
    match refused.first() {
        Some(first) if settings.unsafe_pods_in(&request.namespace) == UnsafePods::Refuse => {
            Answer::refused(first.reason().as_str(), sentences(&lines), 403, Vec::new())
        }
        _ => patched(came, wanted, lines),
    }
}
