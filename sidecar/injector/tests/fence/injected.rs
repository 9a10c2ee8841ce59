//! The two halves agree: what the webhook makes passes the fence, and what the webhook refuses would not, were it let in.

use injector::review::Verdict;
use injector::settings::{Settings, UnsafePods};
use serde_json::Value;

use super::cluster::{Case, cases};
use super::evaluator::{Request, policies, refusal};

/// What the fence says of a pod in the case's namespace, under the case's settings.
fn said(case: &Case, settings: &Settings, pod: &Value) -> Option<(String, String)> {
    let mut request = Request::create(pod.clone());
    request.namespace.clone_from(&case.namespace);
    refusal(&policies(settings), &request)
}

#[test]
fn what_the_webhook_makes_passes_the_fence() {
    let mut passed = 0;
    for case in cases().iter().filter(|case| case.name.starts_with("held-")) {
        let pod = case.review(&case.pod).apply(&case.pod);
        let refused = said(case, &case.reviewer.settings, &pod);
        // Where the settings say to warn, that policy's binding does no more.
        let warned = case.reviewer.settings.unsafe_pods_in(&case.namespace) == UnsafePods::Warn;
        let refused = refused.filter(|(policy, _)| !(warned && policy == "portreeve-pods"));
        assert_eq!(refused, None, "{}", case.name);
        let bare = said(case, &case.reviewer.settings, &case.pod).unwrap_or_else(|| panic!("{} passes without a sidecar", case.name));
        assert_eq!(bare.0, "portreeve-sidecar", "{}", case.name);
        passed += 1;
    }
    assert!(passed > 20, "only {passed} pods");
}

/// What the webhook alone refuses: misspelt keys and a port taken twice, which undo nothing; Windows, which no kubelet on Linux runs; a
/// namespace whose Pod Security refuses the sidecar by itself.
const NOT_THE_FENCES: [&str; 8] = [
    "refused-inject-no",
    "refused-metrics-port",
    "refused-namespace-enforces",
    "refused-policies-wrong",
    "refused-unknown-annotation",
    "refused-unknown-label",
    "refused-windows-by-selector",
    "refused-windows",
];

#[test]
fn what_the_webhook_refuses_does_not_pass_the_fence_either() {
    let mut slipped = Vec::new();
    let mut stopped = 0;
    for mut case in cases().into_iter().filter(|case| case.name.starts_with("refused-")) {
        // As if the webhook had been told to warn, and the fence not.
        let strict = case.reviewer.settings.clone();
        let settings = std::sync::Arc::make_mut(&mut case.reviewer.settings);
        settings.unsafe_pods = UnsafePods::Warn;
        settings.namespace.values_mut().for_each(|own| own.unsafe_pods = None);
        let answer = case.review(&case.pod);
        if answer.verdict == Verdict::Refused {
            continue;
        }
        let pod = answer.apply(&case.pod);
        match said(&case, &strict, &pod) {
            Some(_) => stopped += 1,
            None => slipped.push(case.name),
        }
    }
    assert!(stopped > 15, "only {stopped} pods were stopped");
    assert_eq!(slipped, NOT_THE_FENCES);
}
