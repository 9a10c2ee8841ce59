//! Which namespaces the fence policy and the webhooks reach, and where they refuse or only warn.

use serde_json::{Value, json};

use super::Binding;
use crate::settings::{Namespaces, Settings, UnsafePods};

/// The label that the API server itself gives to each namespace.
const NAME: &str = "kubernetes.io/metadata.name";

/// The namespaces that are held. kube-system and the injector's own never are: what they need must start when the webhook is down.
pub fn namespace_selector(settings: &Settings, own: &str) -> Value {
    let mut never = vec!["kube-system", own];
    never.extend(settings.excluded_namespaces.iter().map(String::as_str));
    let held = match settings.namespaces {
        Namespaces::Labelled => json!({"key": "portreeve.dev/injection", "operator": "In", "values": ["enabled"]}),
        Namespaces::All => json!({"key": "portreeve.dev/injection", "operator": "NotIn", "values": ["disabled"]}),
    };
    json!({"matchExpressions": [held, {"key": NAME, "operator": "NotIn", "values": never}]})
}

/// The bindings of one policy.
pub(super) fn bindings(settings: &Settings, policy: &str, binding: Binding) -> Vec<Value> {
    let warns = format!("{policy}-warn");
    match binding {
        Binding::Always => vec![bound(policy, policy, "Deny", None)],
        Binding::Warn => vec![bound(policy, policy, "Warn", None)],
        Binding::Unsafe | Binding::Restricted => {
            let refusing = settings.unsafe_pods == UnsafePods::Refuse;
            let differing: Vec<&String> = settings
                .namespace
                .iter()
                .filter(|(_, own)| own.unsafe_pods.is_some_and(|own| own != settings.unsafe_pods))
                .map(|(name, _)| name)
                .collect();
            let ((general, does), (other, does_there)) =
                if refusing { ((policy, "Deny"), (warns.as_str(), "Warn")) } else { ((warns.as_str(), "Warn"), (policy, "Deny")) };
            if differing.is_empty() {
                return vec![bound(policy, general, does, None)];
            }
            vec![bound(policy, general, does, Some(("NotIn", &differing))), bound(policy, other, does_there, Some(("In", &differing)))]
        }
    }
}

/// Every name that `bindings` gives, whatever the settings.
pub(super) fn binding_names(policy: &str, binding: Binding) -> Vec<String> {
    match binding {
        Binding::Always | Binding::Warn => vec![policy.to_owned()],
        Binding::Unsafe | Binding::Restricted => vec![policy.to_owned(), format!("{policy}-warn")],
    }
}

fn bound(policy: &str, name: &str, action: &str, namespaces: Option<(&str, &[&String])>) -> Value {
    let mut spec = json!({"policyName": policy, "validationActions": [action]});
    if let (Some((operator, names)), Some(spec)) = (namespaces, spec.as_object_mut()) {
        let selector = json!({"matchExpressions": [{"key": NAME, "operator": operator, "values": names}]});
        spec.insert("matchResources".to_owned(), json!({"namespaceSelector": selector}));
    }
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": spec,
    })
}
