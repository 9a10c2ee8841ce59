//! Which namespaces the fence policy and the webhooks reach, and where they refuse or only warn.

use serde_json::{Value, json};

use super::Binding;
use crate::settings::{Namespaces, PodSecurity, Settings, UnsafePods};

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

/// Where a binding counts, of the namespaces that its policy reaches.
#[derive(Debug, Clone, Copy)]
enum There<'a> {
    Everywhere,
    In(&'a [&'a String]),
    NotIn(&'a [&'a String]),
    Nowhere,
}

/// The bindings of one policy: the same ones for all settings. `kubectl apply` takes nothing away, so one that no longer counts must say so itself.
pub(super) fn bindings(settings: &Settings, policy: &str, binding: Binding) -> Vec<Value> {
    match binding {
        Binding::Always => vec![bound(policy, policy, "Deny", There::Everywhere)],
        Binding::Warn => vec![bound(policy, policy, "Warn", There::Everywhere)],
        Binding::Unsafe | Binding::Restricted => {
            let differing: Vec<&String> = settings
                .namespace
                .iter()
                .filter(|(_, own)| own.unsafe_pods.is_some_and(|own| own != settings.unsafe_pods))
                .map(|(name, _)| name)
                .collect();
            let general = if differing.is_empty() { There::Everywhere } else { There::NotIn(&differing) };
            let other = if differing.is_empty() { There::Nowhere } else { There::In(&differing) };
            let (deny, warn) = match settings.unsafe_pods {
                _ if binding == Binding::Restricted && settings.pod_security != PodSecurity::Restricted => (There::Nowhere, There::Nowhere),
                UnsafePods::Refuse => (general, other),
                UnsafePods::Warn => (other, general),
            };
            vec![bound(policy, policy, "Deny", deny), bound(policy, &format!("{policy}-warn"), "Warn", warn)]
        }
    }
}

/// Every name that `bindings` gives.
pub(super) fn binding_names(policy: &str, binding: Binding) -> Vec<String> {
    match binding {
        Binding::Always | Binding::Warn => vec![policy.to_owned()],
        Binding::Unsafe | Binding::Restricted => vec![policy.to_owned(), format!("{policy}-warn")],
    }
}

fn bound(policy: &str, name: &str, action: &str, there: There<'_>) -> Value {
    let mut spec = json!({"policyName": policy, "validationActions": [action]});
    let namespaces = match there {
        There::Everywhere => None,
        There::In(names) => Some(json!({"key": NAME, "operator": "In", "values": names})),
        There::NotIn(names) => Some(json!({"key": NAME, "operator": "NotIn", "values": names})),
        // Each namespace has the label.
        There::Nowhere => Some(json!({"key": NAME, "operator": "DoesNotExist"})),
    };
    if let (Some(namespaces), Some(spec)) = (namespaces, spec.as_object_mut()) {
        spec.insert("matchResources".to_owned(), json!({"namespaceSelector": {"matchExpressions": [namespaces]}}));
    }
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name},
        "spec": spec,
    })
}
