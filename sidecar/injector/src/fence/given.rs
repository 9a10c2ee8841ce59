//! What the settings give to the fence policy's expressions: lists and numbers as CEL writes them, and the opt-out.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Error, Value, json, to_string, to_value};

use crate::inject::container::KEPT_RESOLV_CONF;
use crate::settings::Settings;

/// What a policy asks of the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Need {
    /// The admitted images of the sidecar.
    Images,
    /// The sidecar's environment where it is the same in every pod.
    Env,
    /// The sidecar's uid.
    Uid,
    /// The resolvers that the sidecar must ask, as its variable has them; an empty text where it asks the pod's.
    Resolvers,
    /// Pods that say no are left alone, where they may.
    OptOut,
}

/// The variables that come before the policy's own. JSON's lists, maps and strings are CEL's too.
pub(super) fn variables(settings: &Settings, needs: &[Need]) -> Result<Vec<Value>, Error> {
    let mut variables = Vec::new();
    for need in needs {
        let (name, expression) = match need {
            Need::Images => ("images", to_string(&images(settings))?),
            Need::Env => ("env", to_string(&env(settings)?)?),
            Need::Uid => ("uid", settings.uid.to_string()),
            Need::Resolvers => ("resolvers", resolvers(settings)?),
            Need::OptOut => continue,
        };
        variables.push(json!({"name": name, "expression": expression}));
    }
    Ok(variables)
}

/// The conditions that come before the policy's own.
pub(super) fn conditions(settings: &Settings, needs: &[Need]) -> Result<Vec<Value>, Error> {
    if !needs.contains(&Need::OptOut) {
        return Ok(Vec::new());
    }
    let says_no = "has(object.metadata.labels) && 'portreeve.dev/inject' in object.metadata.labels && object.metadata.labels['portreeve.dev/inject'] == 'false'";
    let differing: Vec<&String> = settings
        .namespace
        .iter()
        .filter(|(_, own)| own.opt_out.is_some_and(|counts| counts != settings.opt_out))
        .map(|(name, _)| name)
        .collect();
    let where_it_counts = match (settings.opt_out, differing.is_empty()) {
        (false, true) => return Ok(Vec::new()),
        (true, true) => String::new(),
        (false, false) => format!("request.namespace in {} && ", to_string(&differing)?),
        (true, false) => format!("!(request.namespace in {}) && ", to_string(&differing)?),
    };
    Ok(vec![json!({"name": "not-opted-out", "expression": format!("!({where_it_counts}{says_no})")})])
}

fn images(settings: &Settings) -> Vec<&String> {
    std::iter::once(&settings.image).chain(&settings.more_images).collect()
}

fn resolvers(settings: &Settings) -> Result<String, Error> {
    let general = to_string(&settings.resolvers.join(","))?;
    let own = settings.namespace.iter().filter_map(|(name, own)| Some((name, own.resolvers.as_ref()?.join(","))));
    let own: BTreeMap<&String, String> = own.collect();
    if own.is_empty() {
        return Ok(general);
    }
    let own = to_string(&own)?;
    Ok(format!("request.namespace in {own} ? {own}[request.namespace] : {general}"))
}

/// Each variable with the values it may have.
fn env(settings: &Settings) -> Result<BTreeMap<&'static str, Vec<Value>>, Error> {
    let mut env = BTreeMap::from([
        ("PORTREEVE_KEPT_RESOLV_CONF", vec![json!(KEPT_RESOLV_CONF)]),
        ("PORTREEVE_FLOW_LOG", vec![to_value(settings.flow_log)?]),
        ("PORTREEVE_LISTEN", vec![json!(format!("127.0.0.1:{}", settings.port))]),
        ("PORTREEVE_LOG", vec![json!("error"), json!("warn"), json!("info"), json!("debug")]),
        ("PORTREEVE_RAW_GUARD", vec![to_value(settings.raw_guard)?]),
        ("PORTREEVE_UID", vec![json!(settings.uid.to_string())]),
    ]);
    if let Some(port) = settings.metrics_port {
        env.insert("PORTREEVE_METRICS", vec![json!(format!("0.0.0.0:{port}")), json!(format!("[::]:{port}"))]);
    }
    Ok(env)
}
