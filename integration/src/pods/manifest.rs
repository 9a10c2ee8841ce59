//! What podman 4.3 is given for a pod that was written for a kubelet: each difference is made here, and said.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

/// The node that downward API fields tell of.
const NODE: (&str, &str) = ("node-1", "192.0.2.10");

/// A ConfigMap, or a Secret: its name and its files.
#[derive(Clone, Debug)]
pub struct ConfigMap {
    /// `metadata.name`.
    pub name: String,
    /// `data`.
    pub files: BTreeMap<String, String>,
}

impl ConfigMap {
    /// With one file.
    #[must_use]
    pub fn new(name: &str, file: &str, text: &str) -> Self {
        Self { name: name.to_owned(), files: BTreeMap::from([(file.to_owned(), text.to_owned())]) }
    }
}

/// What a container is to the kubelet.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    /// A native sidecar, and the command of its startup probe: what follows waits until that succeeds.
    Sidecar { probe: Vec<String> },
    /// What follows waits until it has ended.
    Init,
    /// One of the pod's own.
    Main,
}

/// A pod as podman plays it.
#[derive(Debug)]
pub(super) struct Playable {
    /// The documents for `podman kube play`: ConfigMaps, then the pod. JSON is YAML.
    pub(super) text: String,
    pub(super) name: String,
    /// The containers in the order in which a kubelet starts them.
    pub(super) containers: Vec<(String, Kind)>,
    /// Directories that a kubelet writes: the volume's name in the pod, and its files.
    pub(super) written: Vec<(String, BTreeMap<String, String>)>,
    /// emptyDir volumes, by their name in the pod.
    pub(super) empty: Vec<String>,
    pub(super) grace: u64,
    /// Volumes with a mode of their own: the volume's name in the pod, the mode, and the group that the files get (`fsGroup`).
    pub(super) guarded: Vec<(String, u32, Option<u32>)>,
}

/// The pod that the injector makes of an app's: `portreeve-injector inject`, with the tests' image.
///
/// # Panics
/// With what the injector said when it refuses, or with the command that builds it.
#[must_use]
pub fn injected(app: &str, command: &[&str]) -> Value {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": app, "namespace": "shop", "labels": { "app": app } },
        "spec": {
            "serviceAccountName": app, "terminationGracePeriodSeconds": 10,
            "containers": [{ "name": "app", "image": super::APP_IMAGE, "command": command }],
        },
    });
    inject(&pod)
}

/// The same of a whole pod.
///
/// # Panics
/// As [`injected`] does.
#[must_use]
pub fn inject(pod: &Value) -> Value {
    let settings = tempfile::NamedTempFile::new().expect("a file for the settings");
    std::fs::write(settings.path(), format!("image = \"{}\"\n", super::SIDECAR_IMAGE)).expect("the settings");
    let mut inject = Command::new(injector());
    inject.args(["inject", "--filename", "-", "--settings"]).arg(settings.path());
    let mut running = inject.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the injector");
    running.stdin.take().expect("a pipe").write_all(pod.to_string().as_bytes()).expect("the pod goes in");
    let said = running.wait_with_output().expect("the injector ends");
    assert!(said.status.success(), "inject: {}", String::from_utf8_lossy(&said.stderr));
    serde_saphyr::from_str(&String::from_utf8_lossy(&said.stdout)).expect("YAML of a pod")
}

/// The injector's binary, beside the sidecar's.
///
/// # Panics
/// With the command that builds it, when there is none.
#[must_use]
pub fn injector() -> PathBuf {
    let program = crate::product::binary().with_file_name("portreeve-injector");
    assert!(program.is_file(), "there is no {}. Type:\n\n    cargo build -p injector\n", program.display());
    program
}

/// Makes of a pod for a kubelet what `podman kube play` of 4.3 understands:
///
/// - every init container, the native sidecar among them, becomes an ordinary container: podman waits for the end of a native sidecar.
///   [`super::PlayedPod`] starts them in the kubelet's order, and asks the startup probe;
/// - volumes of ConfigMaps, Secrets, of the downward API and projected ones become a ConfigMap each, and one that is optional and not there
///   an empty directory, as with a kubelet; their names begin with the pod's, since podman's volumes have no namespace;
/// - fields of the downward API become values; resolv.conf and hosts are mounted, since podman writes none without a network.
///
/// - ports are left out, which say something and do nothing: podman would map them, and has no network here;
/// - readiness and liveness probes are left out: podman would run curl in the container, a kubelet asks from the node;
/// - annotations are left out: podman refuses values of more than 63 characters, which is Kubernetes' bound for labels alone.
///
/// Images, commands, rights, resources, mounts stay as they are.
pub(super) fn as_podman_plays_it(pod: &Value, config_maps: &[ConfigMap], etc: &Path) -> Playable {
    let name = text(&pod["metadata"]["name"]);
    let mut pod = pod.clone();
    let fields = pod.clone();
    let _not_played = pod["metadata"].as_object_mut().and_then(|metadata| metadata.remove("annotations"));
    let spec = pod["spec"].as_object_mut().expect("spec");
    let mut containers = Vec::new();
    let mut flat = Vec::new();
    for (list, init) in [("initContainers", true), ("containers", false)] {
        for mut container in spec.remove(list).and_then(|list| list.as_array().cloned()).unwrap_or_default() {
            let object = container.as_object_mut().expect("a container");
            for key in ["ports", "readinessProbe", "livenessProbe"] {
                let _not_played = object.remove(key);
            }
            let always = object.remove("restartPolicy").is_some_and(|policy| policy == "Always");
            let probe = object.remove("startupProbe").map(|probe| strings(&probe["exec"]["command"])).unwrap_or_default();
            let kind = match (init, always) {
                (true, true) => Kind::Sidecar { probe },
                (true, false) => Kind::Init,
                (false, _) => Kind::Main,
            };
            containers.push((text(&object["name"]), kind));
            flat.push(plain(container, &fields));
        }
    }
    spec.insert("containers".to_owned(), flat.into());
    spec.insert("restartPolicy".to_owned(), "Never".into());
    let grace = spec.get("terminationGracePeriodSeconds").and_then(Value::as_u64).unwrap_or(30);
    let (mut written, mut empty, mut documents) = (Vec::new(), Vec::new(), String::new());
    let (mut volumes, mut guarded) = (Vec::new(), Vec::new());
    let number = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
    let group = number(&fields["spec"]["securityContext"]["fsGroup"]);
    for volume in spec.remove("volumes").and_then(|list| list.as_array().cloned()).unwrap_or_default() {
        let (short, long) = (text(&volume["name"]), format!("{name}-{}", text(&volume["name"])));
        match files(&volume, &fields, config_maps) {
            Some(files) if !files.is_empty() => {
                let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": long }, "data": files });
                documents += &format!("{map}\n---\n");
                volumes.push(json!({ "name": long, "configMap": { "name": long } }));
                if let Some(mode) = number(&volume["secret"]["defaultMode"]) {
                    guarded.push((short.clone(), mode, group));
                }
                written.push((short, files));
            }
            found => {
                // No file, or no volume of files: both are directories that are empty at first.
                assert!(found.is_some() || volume.get("emptyDir").is_some(), "a volume of a kind that podman cannot play: {volume}");
                volumes.push(json!({ "name": long, "emptyDir": {} }));
                empty.push(short);
            }
        }
    }
    for file in ["resolv.conf", "hosts"] {
        volumes.push(json!({ "name": file.replace('.', "-"), "hostPath": { "path": etc.join(file), "type": "File" } }));
    }
    spec.insert("volumes".to_owned(), volumes.into());
    let text = format!("{documents}{pod}\n");
    Playable { text, name, containers, written, empty, grace, guarded }
}

/// A container with values for its fields, and with its mounts under the volumes' new names.
fn plain(mut container: Value, pod: &Value) -> Value {
    for variable in container["env"].as_array_mut().into_iter().flatten() {
        let path = variable["valueFrom"]["fieldRef"]["fieldPath"].as_str().map(str::to_owned);
        let object = variable.as_object_mut().expect("a variable");
        if let Some(path) = path {
            object.remove("valueFrom");
            object.insert("value".to_owned(), field(pod, &path).into());
        }
    }
    let object = container.as_object_mut().expect("a container");
    let mut mounts = object.remove("volumeMounts").and_then(|list| list.as_array().cloned()).unwrap_or_default();
    for mount in &mut mounts {
        mount["name"] = format!("{}-{}", text(&pod["metadata"]["name"]), text(&mount["name"])).into();
    }
    for file in ["resolv.conf", "hosts"] {
        mounts.push(json!({ "name": file.replace('.', "-"), "mountPath": format!("/etc/{file}"), "readOnly": true }));
    }
    object.insert("volumeMounts".to_owned(), mounts.into());
    container
}

/// The files of a volume that a kubelet writes; `None` for another kind of volume.
fn files(volume: &Value, pod: &Value, config_maps: &[ConfigMap]) -> Option<BTreeMap<String, String>> {
    if let Some(sources) = volume["projected"]["sources"].as_array() {
        return Some(sources.iter().filter_map(|source| files(source, pod, config_maps)).flatten().collect());
    }
    if let Some(items) = volume["downwardAPI"]["items"].as_array() {
        return Some(items.iter().map(|item| (text(&item["path"]), field(pod, &text(&item["fieldRef"]["fieldPath"])))).collect());
    }
    let (source, name) = volume.get("configMap").map(|source| (source, "name")).or_else(|| Some((volume.get("secret")?, "secretName")))?;
    let found = config_maps.iter().find(|map| source[name] == map.name.as_str());
    assert!(found.is_some() || source["optional"] == true, "no ConfigMap for {volume}: a kubelet would wait for it");
    Some(found.map(|map| map.files.clone()).unwrap_or_default())
}

/// A field as the downward API tells it.
fn field(pod: &Value, path: &str) -> String {
    match path {
        "spec.nodeName" => NODE.0.to_owned(),
        "status.hostIP" | "status.hostIPs" => NODE.1.to_owned(),
        "metadata.labels" | "metadata.annotations" => {
            let pairs = pod.pointer(&format!("/{}", path.replace('.', "/"))).and_then(Value::as_object).cloned().unwrap_or_default();
            pairs.iter().map(|(key, value)| format!("{key}={:?}\n", text(value))).collect()
        }
        _ => {
            let found = pod.pointer(&format!("/{}", path.replace('.', "/"))).and_then(Value::as_str);
            found.unwrap_or_else(|| panic!("the downward API's {path} is not played here")).to_owned()
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a string: {value}")).to_owned()
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}
