//! Evaluates the fence policy as the API server does: rules, conditions, variables, then every validation until one refuses.
//!
//! # Limitations
//! Types are not checked, cost is not counted, variables are not lazy (one that fails counts even where nothing asks it), and
//! `authorizer` is a stand-in: the crate has the strings extension, but none of Kubernetes' own libraries.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use cel::extractors::This;
use cel::{Context, Env, Program, Value, extensions};
use injector::settings::Settings;
use serde_json::{Value as Json, json};

/// A request as the API server would see it.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) operation: &'static str,
    pub(crate) resource: &'static str,
    pub(crate) namespace: String,
    pub(crate) object: Json,
    pub(crate) old: Json,
    pub(crate) namespace_object: Json,
    /// What the requester may do, as the stand-in for the authorizer writes it.
    pub(crate) permitted: &'static str,
}

impl Request {
    pub(crate) fn create(pod: Json) -> Request {
        Request { operation: "CREATE", resource: "pods", object: pod, ..Request::nothing() }
    }

    pub(crate) fn update(resource: &'static str, old: Json, pod: Json) -> Request {
        Request { operation: "UPDATE", resource, object: pod, old, ..Request::nothing() }
    }

    pub(crate) fn nothing() -> Request {
        Request {
            operation: "CREATE",
            resource: "pods",
            namespace: "shop".to_owned(),
            object: Json::Null,
            old: Json::Null,
            namespace_object: json!({"metadata": {"name": "shop"}}),
            permitted: "",
        }
    }
}

/// The policies that `fence` makes of these settings and that a binding has count in some namespace, without the bindings.
pub(crate) fn policies(settings: &Settings) -> Vec<Json> {
    let objects = injector::fence::policies(settings, "portreeve-system").unwrap();
    let counts = |policy: &Json| {
        objects.iter().any(|object| {
            object["spec"]["policyName"] == policy["metadata"]["name"]
                && object["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"][0]["operator"] != "DoesNotExist"
        })
    };
    objects.iter().filter(|object| object["kind"] == "ValidatingAdmissionPolicy" && counts(object)).cloned().collect()
}

/// The first refusal: policy and message.
pub(crate) fn refusal(policies: &[Json], request: &Request) -> Option<(String, String)> {
    policies
        .iter()
        .find_map(|policy| evaluate(policy, request).map(|message| (policy["metadata"]["name"].as_str().unwrap().to_owned(), message)))
}

fn evaluate(policy: &Json, request: &Request) -> Option<String> {
    let spec = &policy["spec"];
    let rules = spec["matchConstraints"]["resourceRules"].as_array().unwrap();
    if !rules.iter().any(|rule| has(&rule["operations"], request.operation) && has(&rule["resources"], request.resource)) {
        return None;
    }
    let mut env = Env::stdlib();
    env.add_extension(extensions::strings).unwrap();
    let env = Arc::new(env);
    let mut context = Context::with_env(Arc::clone(&env));
    authorizer(&mut context, request.permitted);
    for (name, value) in [("object", &request.object), ("oldObject", &request.old), ("namespaceObject", &request.namespace_object)] {
        context.add_variable_from_value(name, cel_value(value));
    }
    let sub_resource = request.resource.split_once('/').map_or("", |(_, sub)| sub);
    let told = json!({"operation": request.operation, "namespace": request.namespace, "subResource": sub_resource});
    context.add_variable_from_value("request", cel_value(&told));
    let ask = |context: &Context, expression: &Json| {
        let source = expression.as_str().unwrap();
        compiled(&env, source).execute(context).unwrap_or_else(|why| panic!("{}: {source}\n{why}", policy["metadata"]["name"]))
    };
    let none = Vec::new();
    if spec["matchConditions"]
        .as_array()
        .unwrap_or(&none)
        .iter()
        .any(|condition| ask(&context, &condition["expression"]) != Value::Bool(true))
    {
        return None;
    }
    let mut variables = HashMap::new();
    for variable in spec["variables"].as_array().unwrap_or(&none) {
        context.add_variable_from_value("variables", Value::from(variables.clone()));
        variables.insert(variable["name"].as_str().unwrap().to_owned(), ask(&context, &variable["expression"]));
    }
    context.add_variable_from_value("variables", Value::from(variables));
    let refused = spec["validations"].as_array().unwrap().iter().find(|it| ask(&context, &it["expression"]) != Value::Bool(true))?;
    match refused.get("messageExpression").map(|expression| ask(&context, expression)) {
        Some(Value::String(message)) => {
            assert!(!message.contains('\n') && message.len() < 5 * 1024, "the API server would not take this message: {message}");
            Some(message.to_string())
        }
        Some(other) => panic!("{other:?} is no message"),
        None => Some(refused["message"].as_str().unwrap().to_owned()),
    }
}

thread_local! {
    /// Compiling is most of the time, and the same expressions come again with each case.
    static COMPILED: RefCell<HashMap<String, Rc<Program>>> = RefCell::default();
}

fn compiled(env: &Env, source: &str) -> Rc<Program> {
    COMPILED.with_borrow_mut(|known| {
        let compile = || Rc::new(env.compile(source).unwrap_or_else(|why| panic!("{source}\n{why}")));
        Rc::clone(known.entry(source.to_owned()).or_insert_with(compile))
    })
}

fn has(list: &Json, word: &str) -> bool {
    list.as_array().unwrap().iter().any(|item| item == word)
}

/// Each step of the check is written down, and `allowed` compares the whole with what is permitted.
fn authorizer(context: &mut Context, permitted: &'static str) {
    context.add_variable_from_value("authorizer", Value::from(String::new()));
    for step in ["group", "resource", "namespace", "name", "check"] {
        context.add_function(step, move |This(so_far): This<Arc<String>>, word: Arc<String>| format!("{so_far}{step}={word} ")).unwrap();
    }
    context.add_function("allowed", move |This(question): This<Arc<String>>| question.trim() == permitted).unwrap();
}

/// Kubernetes' numbers are signed.
fn cel_value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(it) => Value::Bool(*it),
        Json::Number(it) => Value::Int(it.as_i64().unwrap()),
        Json::String(it) => Value::from(it.clone()),
        Json::Array(items) => Value::from(items.iter().map(cel_value).collect::<Vec<Value>>()),
        Json::Object(fields) => {
            Value::from(fields.iter().map(|(key, value)| (key.clone(), cel_value(value))).collect::<HashMap<String, Value>>())
        }
    }
}
