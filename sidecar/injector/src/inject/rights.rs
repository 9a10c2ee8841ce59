//! Apps lose NET_RAW, which the runtime gives them unasked: with it they write packets that no socket would.

use serde_json::{Map, Value, json};

use crate::names::{self, CONTAINER};

/// Drops it from every container but the sidecar.
pub(super) fn without_net_raw(spec: &mut Map<String, Value>) {
    for key in ["containers", "initContainers"] {
        let containers = spec.get_mut(key).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten().filter(|container| names::name_of(container) != CONTAINER) {
            drop_net_raw(container);
        }
    }
}

/// Drops it from one container, unless it is dropped already; or asked for by name, which is told elsewhere and would contradict.
pub(crate) fn drop_net_raw(container: &mut Value) {
    let named = |list: &str, names: &[&str]| {
        let list = names::list(container, list).iter().filter_map(Value::as_str);
        list.into_iter().any(|capability| names.iter().any(|name| capability.eq_ignore_ascii_case(name)))
    };
    if named("/securityContext/capabilities/drop", &["ALL", "NET_RAW"]) || named("/securityContext/capabilities/add", &["ALL", "NET_RAW"]) {
        return;
    }
    let security = container.as_object_mut().map(|container| container.entry("securityContext").or_insert(Value::Null));
    let capabilities = security.and_then(made_object).map(|security| security.entry("capabilities").or_insert(Value::Null));
    match capabilities.and_then(made_object).map(|capabilities| capabilities.entry("drop").or_insert(Value::Null)) {
        Some(Value::Array(dropped)) => dropped.push(json!("NET_RAW")),
        Some(dropped @ Value::Null) => *dropped = json!(["NET_RAW"]),
        _ => {}
    }
}

/// The object that the value is; a null becomes one.
fn made_object(value: &mut Value) -> Option<&mut Map<String, Value>> {
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut()
}
