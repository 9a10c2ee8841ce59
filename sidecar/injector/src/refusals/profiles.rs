//! The profiles of a security context, of a pod or of a container: seccomp, AppArmor, SELinux, Windows.

use serde_json::Value;

use crate::names::text;

/// The SELinux types that are a container's.
const SELINUX_TYPES: &[&str] = &["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

/// Each field that baseline refuses, and why.
pub(super) fn wrong(security: Option<&Value>) -> Vec<(String, &'static str)> {
    let Some(security) = security else { return Vec::new() };
    let mut wrong = Vec::new();
    for field in ["seccompProfile", "appArmorProfile"] {
        let kind = text(security, &format!("/{field}/type"));
        if let Some(kind) = kind.filter(|kind| !["RuntimeDefault", "Localhost"].contains(kind)) {
            wrong.push((format!("{field}.type: {kind}"), "switches the runtime's default off; use RuntimeDefault"));
        }
    }
    if let Some(kind) = text(security, "/seLinuxOptions/type").filter(|kind| !SELINUX_TYPES.contains(kind)) {
        wrong.push((format!("seLinuxOptions.type: {kind}"), "is no type of a container; use container_t, or take it out"));
    }
    for field in ["user", "role"] {
        if let Some(value) = text(security, &format!("/seLinuxOptions/{field}")).filter(|value| !value.is_empty()) {
            wrong.push((format!("seLinuxOptions.{field}: {value}"), "may not be set; take it out"));
        }
    }
    if security.pointer("/windowsOptions/hostProcess").and_then(Value::as_bool) == Some(true) {
        wrong.push(("windowsOptions.hostProcess: true".to_owned(), "gives it the whole node; take it out"));
    }
    wrong
}
