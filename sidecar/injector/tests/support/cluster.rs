//! The cluster's side in tests: pods out of files, reviews around them, patches applied, and what an API server adds by itself.

use std::path::{Path, PathBuf};

use base64::Engine;
use injector::platform::Platform;
use injector::review::{Reviewer, Verdict, review};
use injector::settings::Settings;
use policies::Date;
use serde_json::{Value, json};

/// A file of `tests/pods`: the pod as its controller would create it, and under what it is judged.
pub(super) struct Case {
    pub(super) name: String,
    pub(super) object: Value,
    pub(super) pod: Value,
    pub(super) namespace: String,
    pub(super) reviewer: Reviewer,
}

/// An answer, taken apart.
pub(super) struct Answer {
    pub(super) verdict: Verdict,
    pub(super) reason: &'static str,
    pub(super) allowed: bool,
    pub(super) patch: Option<Value>,
    body: Value,
}

pub(super) fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pods")
}

/// All of them, by name.
pub(super) fn cases() -> Vec<Case> {
    let files = std::fs::read_dir(dir()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|ext| ext == "yaml")).collect();
    files.sort();
    files.iter().map(|path| case(path)).collect()
}

fn case(path: &Path) -> Case {
    let text = std::fs::read_to_string(path).unwrap();
    // `# settings: KEY = VALUE` and the like at the top.
    let head = |key: &str| {
        let prefix = format!("# {key}: ");
        let lines: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix(&prefix)).collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    };
    let object: Value = serde_saphyr::from_str(&text).unwrap();
    let settings = head("settings").map_or_else(Settings::default, |text| Settings::parse(&text).unwrap());
    let platform = Platform::parse(&head("platform").unwrap_or_default()).unwrap();
    let today = Date::new(2026, 11, 26).unwrap();
    Case {
        name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
        pod: pod_of(&object),
        object,
        namespace: head("namespace").unwrap_or_else(|| "shop".to_owned()),
        reviewer: Reviewer { settings: settings.into(), platform: platform.into(), today, enforced: head("enforced").map(Into::into) },
    }
}

/// What the workload's controller creates.
fn pod_of(object: &Value) -> Value {
    let template = match object["kind"].as_str().unwrap() {
        "Pod" => return object.clone(),
        "CronJob" => &object["spec"]["jobTemplate"]["spec"]["template"],
        _ => &object["spec"]["template"],
    };
    let mut pod = template.clone();
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["generateName"] = json!(format!("{}-", object["metadata"]["name"].as_str().unwrap()));
    pod
}

impl Case {
    /// Asks what the webhook says of this pod.
    pub(super) fn review(&self, pod: &Value) -> Answer {
        ask(&self.reviewer, &request("pods", "", "CREATE", &self.namespace, pod, &Value::Null))
    }
}

/// An AdmissionReview as the API server writes it.
pub(super) fn request(resource: &str, sub: &str, operation: &str, namespace: &str, object: &Value, old: &Value) -> Value {
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "resource": {"group": "", "version": "v1", "resource": resource},
        "subResource": sub, "operation": operation, "namespace": namespace, "userInfo": {"username": "system:admin"},
        "object": object, "oldObject": old, "dryRun": false,
    }})
}

/// Sends it; the answer must be a valid one to this very request.
pub(super) fn ask(reviewer: &Reviewer, request: &Value) -> Answer {
    let reviewed = review(reviewer, request.to_string().as_bytes());
    let body: Value = serde_json::from_slice(&reviewed.body).unwrap();
    assert_eq!((&body["apiVersion"], &body["kind"]), (&json!("admission.k8s.io/v1"), &json!("AdmissionReview")));
    assert_eq!(body["response"]["uid"], request["request"]["uid"]);
    let patch = body["response"].get("patch").map(|patch| {
        assert_eq!(body["response"]["patchType"], "JSONPatch");
        let bytes = base64::engine::general_purpose::STANDARD.decode(patch.as_str().unwrap()).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    });
    let allowed = body["response"]["allowed"].as_bool().unwrap();
    Answer { verdict: reviewed.verdict, reason: reviewed.reason, allowed, patch, body }
}

impl Answer {
    /// The object with the patch, applied by another implementation than ours.
    pub(super) fn apply(&self, object: &Value) -> Value {
        let mut object = object.clone();
        if let Some(patch) = &self.patch {
            let patch: json_patch::Patch = serde_json::from_value(patch.clone()).unwrap();
            json_patch::patch(&mut object, &patch).unwrap();
        }
        object
    }

    pub(super) fn message(&self) -> &str {
        self.body["response"]["status"]["message"].as_str().unwrap_or("")
    }

    pub(super) fn warnings(&self) -> Vec<&str> {
        self.body["response"]["warnings"].as_array().into_iter().flatten().map(|warning| warning.as_str().unwrap()).collect()
    }

    /// All of it as text.
    pub(super) fn told(&self) -> String {
        let mut text = format!("{} ({})\n", self.verdict.as_str(), self.reason);
        if !self.message().is_empty() {
            text.push_str(&format!("{}: {}\n", self.body["response"]["status"]["code"], self.message()));
        }
        for warning in self.warnings() {
            text.push_str(&format!("warning: {warning}\n"));
        }
        if let Some(patch) = &self.patch {
            text.push_str(&serde_saphyr::to_string(patch).unwrap());
        }
        text
    }
}

/// What an API server makes of a pod after the webhook: defaults, the service account's token, a LimitRange, tolerations.
pub(super) fn default_and_add(pod: &mut Value) {
    let spec = pod["spec"].as_object_mut().unwrap();
    for (key, value) in
        [("dnsPolicy", json!("ClusterFirst")), ("restartPolicy", json!("Always")), ("schedulerName", json!("default-scheduler"))]
    {
        spec.entry(key).or_insert(value);
    }
    spec.insert("tolerations".to_owned(), json!([{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}]));
    let token = "/var/run/secrets/kubernetes.io/serviceaccount";
    let volumes = spec["volumes"].as_array_mut().unwrap();
    if !volumes.iter().any(|volume| volume["name"].as_str().unwrap().starts_with("kube-api-access-")) {
        volumes.push(json!({"name": "kube-api-access-x7k2p", "projected": {"defaultMode": 420, "sources": []}}));
    }
    let mut containers: Vec<&mut Value> = Vec::new();
    for (key, list) in spec.iter_mut() {
        if ["containers", "initContainers"].contains(&key.as_str()) {
            containers.extend(list.as_array_mut().unwrap());
        }
    }
    for container in containers {
        let container = container.as_object_mut().unwrap();
        for (key, value) in [
            ("imagePullPolicy", json!("Always")),
            ("terminationMessagePath", json!("/dev/termination-log")),
            ("terminationMessagePolicy", json!("File")),
            ("resources", json!({})),
        ] {
            container.entry(key).or_insert(value);
        }
        let resources = container["resources"].as_object_mut().unwrap();
        for side in ["requests", "limits"] {
            // A LimitRange's default, and the API's own way to write quantities.
            let side = resources.entry(side).or_insert(json!({})).as_object_mut().unwrap();
            side.insert("ephemeral-storage".to_owned(), json!("1Gi"));
            for quantity in side.values_mut() {
                let canonical = match quantity.as_str().unwrap() {
                    "0.5" => "500m",
                    "1024Mi" => "1Gi",
                    other => other,
                };
                *quantity = json!(canonical);
            }
        }
        container.insert(
            "resizePolicy".to_owned(),
            json!([{"resourceName": "cpu", "restartPolicy": "NotRequired"}, {"resourceName": "memory", "restartPolicy": "NotRequired"}]),
        );
        if let Some(security) = container.get_mut("securityContext").and_then(Value::as_object_mut) {
            security.entry("procMount").or_insert(json!("Default"));
        }
        let mounts = container.entry("volumeMounts").or_insert(json!([])).as_array_mut().unwrap();
        // The plugin leaves a container alone that has something mounted there.
        if !mounts.iter().any(|mount| mount["mountPath"] == token) {
            mounts.push(json!({"name": "kube-api-access-x7k2p", "mountPath": token, "readOnly": true}));
        }
    }
}
