//! The fence policy: ValidatingAdmissionPolicies that state what a held pod must be, filled in with what the settings say.

mod given;
mod reach;

use serde::Deserialize;
use serde_json::{Value, json};
use thiserror::Error;

pub use reach::namespace_selector;

use crate::settings::Settings;
use given::Need;

/// One text for the chart and for `install`, so that the two cannot say different things.
const SOURCE: &str = include_str!("../../../images/chart/files/fence.yaml");

/// Why the policies could not be made.
#[derive(Debug, Error)]
pub enum MakeFenceError {
    /// The text that was compiled in does not read: a fault of the build.
    #[error("cannot read the fence policy that is compiled in")]
    Read(#[source] serde_saphyr::Error),
    /// A settings value has no written form.
    #[error("cannot write a setting into the fence policy")]
    Write(#[source] serde_json::Error),
}

#[derive(Debug, Deserialize)]
struct Source {
    policies: Vec<Policy>,
}

/// One policy as the shared text has it.
#[derive(Debug, Deserialize)]
struct Policy {
    name: String,
    binding: Binding,
    needs: Vec<Need>,
    spec: Spec,
}

/// What becomes of an object that a policy refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Binding {
    /// It is refused.
    Always,
    /// It is refused, or only warned about where the settings say so.
    Unsafe,
    /// The same, where the settings ask for the level.
    Restricted,
    /// Whoever sent it is warned.
    Warn,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    match_constraints: Value,
    #[serde(default)]
    match_conditions: Vec<Value>,
    #[serde(default)]
    variables: Vec<Value>,
    validations: Vec<Value>,
}

/// The policies and their bindings for these settings; `own` is the namespace that the injector runs in.
pub fn policies(settings: &Settings, own: &str) -> Result<Vec<Value>, MakeFenceError> {
    let source: Source = serde_saphyr::from_str(SOURCE).map_err(MakeFenceError::Read)?;
    let mut objects = Vec::new();
    for policy in source.policies {
        let bindings = reach::bindings(settings, &policy.name, policy.binding);
        objects.push(policy.filled_in(settings, own)?);
        objects.extend(bindings);
    }
    Ok(objects)
}

/// The names of every policy and every binding, the same whatever the settings: what `uninstall` takes away.
pub fn names() -> Result<Vec<(String, Vec<String>)>, MakeFenceError> {
    let source: Source = serde_saphyr::from_str(SOURCE).map_err(MakeFenceError::Read)?;
    Ok(source.policies.into_iter().map(|policy| (policy.name.clone(), reach::binding_names(&policy.name, policy.binding))).collect())
}

impl Policy {
    fn filled_in(self, settings: &Settings, own: &str) -> Result<Value, MakeFenceError> {
        let Spec { match_constraints, match_conditions, variables, validations } = self.spec;
        let mut constraints = match_constraints;
        if let Some(constraints) = constraints.as_object_mut() {
            constraints.insert("namespaceSelector".to_owned(), namespace_selector(settings, own));
            constraints.insert("matchPolicy".to_owned(), json!("Equivalent"));
        }
        let mut conditions = given::conditions(settings, &self.needs).map_err(MakeFenceError::Write)?;
        conditions.extend(match_conditions);
        let mut known = given::variables(settings, &self.needs).map_err(MakeFenceError::Write)?;
        known.extend(variables);
        let mut spec = json!({"failurePolicy": "Fail", "matchConstraints": constraints, "validations": validations});
        for (key, list) in [("matchConditions", conditions), ("variables", known)] {
            if let (false, Some(spec)) = (list.is_empty(), spec.as_object_mut()) {
                spec.insert(key.to_owned(), Value::Array(list));
            }
        }
        Ok(json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": self.name},
            "spec": spec,
        }))
    }
}
