//! The injector's image with the pod that `install` prints: it runs without any right, reviews over TLS, and ends when it has answered.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::Duration;

use integration::pods::{ConfigMap, SIDECAR_IMAGE, injector};
use integration::{Finished, PlayedPod, Podman, World, wait_until};
use serde_json::{Value, json};

const IMAGE: &str = "registry.example/portreeve-injector:1";
const SERVICE: &str = "portreeve-injector.portreeve-system.svc";
const NOBODY: &str = "65532";
const LIMIT: Duration = Duration::from_secs(10);
/// KiB: `limits.memory` of the Deployment, beyond which it is ended. Seen: 16 MiB of a debug build, 5.6 of a release build.
const MEMORY: u64 = 64 << 10;

/// The documents that a command of the injector prints.
fn printed(args: &[&str]) -> Vec<Value> {
    let said = Command::new(injector()).args(args).output().expect("the injector");
    assert!(said.status.success(), "{args:?}: {}", String::from_utf8_lossy(&said.stderr));
    let text = String::from_utf8(said.stdout).expect("UTF-8");
    text.split("---\n")
        .filter(|document| !document.trim().is_empty())
        .map(|document| serde_saphyr::from_str(document).expect("YAML"))
        .collect()
}

fn of_kind<'a>(documents: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = documents.iter().find(|document| document["kind"] == kind && document["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}"))
}

fn decoded(world: &World, base64: &Value) -> String {
    world.command("base64").arg("--decode").input(base64.as_str().expect("base64")).output().expect_ok("base64")
}

/// The installation: the CA that `ca` printed, and the pod of the Deployment with what it mounts.
struct Installation {
    ca: String,
    pod: Value,
    mounted: [ConfigMap; 2],
}

fn install(world: &World) -> Installation {
    let documents = printed(&["ca"]);
    let data = &of_kind(&documents, "Secret", "portreeve-ca")["data"];
    let files = ["tls.crt", "tls.key"].map(|name| (name.to_owned(), decoded(world, &data[name])));
    let secret = ConfigMap { name: "portreeve-ca".to_owned(), files: BTreeMap::from(files) };
    let ca = world.scratch().make_dir("ca", 0o755).join("ca.crt").display().to_string();
    std::fs::write(&ca, &secret.files["tls.crt"]).expect("ca.crt");

    let documents = printed(&["install", "--ca-cert", &ca, "--image", SIDECAR_IMAGE, "--injector-image", IMAGE]);
    let settings = &of_kind(&documents, "ConfigMap", "portreeve-injector")["data"]["settings.toml"];
    let settings = ConfigMap::new("portreeve-injector", "settings.toml", settings.as_str().expect("settings"));
    let template = &of_kind(&documents, "Deployment", "portreeve-injector")["spec"]["template"];
    let mut pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"], "spec": template["spec"] });
    pod["metadata"]["name"] = json!("injector");
    Installation { ca, pod, mounted: [secret, settings] }
}

fn get(world: &World, pod: &PlayedPod<'_>, path: &str) -> Finished {
    let url = format!("http://{}:9465{path}", pod.pod().v4());
    world.command("curl").args(["--silent", "--max-time", "2", "--write-out", "%{http_code}", &url]).output()
}

/// A review of a pod, by curl in the API server's place. The last bytes of it come only after `pause` seconds.
fn review(world: &World, pod: &PlayedPod<'_>, ca: Option<&str>, pause: u32) -> Finished {
    let review = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "1", "operation": "CREATE", "namespace": "shop", "resource": { "group": "", "version": "v1", "resource": "pods" },
        "object": { "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "alerts" },
                    "spec": { "containers": [{ "name": "app", "image": "registry.example/app:1" }] } },
    } });
    let text = review.to_string();
    let (begun, missing) = text.split_at(text.len() - 5);
    let script = "begun=$1 missing=$2 pause=$3; shift 3; { printf %s \"$begun\"; sleep $pause; printf %s \"$missing\"; } | \
                  curl --silent --show-error --max-time 8 --request POST --header 'content-type: application/json' --upload-file - \"$@\"";
    let command = world.command("sh").args(["-c", script, "sh", begun, missing, &pause.to_string()]);
    let command = ca.into_iter().fold(command, |command, ca| command.args(["--cacert", ca]));
    command.args(["--resolve", &format!("{SERVICE}:8443:{}", pod.pod().v4()), &format!("https://{SERVICE}:8443/pods")]).output()
}

/// The patch of an answer that admits.
fn patch(world: &World, said: &Finished) -> Value {
    let answer: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|cause| panic!("{cause}: {} {}", said.stdout, said.stderr));
    assert_eq!(answer["response"]["allowed"], true, "{answer}");
    serde_json::from_str(&decoded(world, &answer["response"]["patch"])).expect("a JSON patch")
}

fn line<'a>(status: &'a str, key: &str) -> Vec<&'a str> {
    let found = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    found.unwrap_or_else(|| panic!("no {key} in\n{status}")).split_whitespace().collect()
}

#[test]
fn the_image_serves_with_the_deployments_rights_and_drains() {
    let world = World::new();
    let podman = Podman::new(&world);
    podman.build("injector.Containerfile", &injector(), NOBODY, IMAGE);
    let installation = install(&world);
    let pod = podman.play(&installation.pod, &installation.mounted);
    // As the kubelet leaves the Secret: root's, and for the group to read.
    let key = std::fs::metadata(pod.volume("ca").path().join("tls.key")).expect("the key");
    assert_eq!((key.mode() & 0o777, key.uid(), key.gid().to_string().as_str()), (0o440, 0, NOBODY));
    pod.start();
    let ready = wait_until(LIMIT, || (get(&world, &pod, "/readyz").stdout.ends_with("200")).then_some(()));
    assert!(ready.is_some(), "{}", pod.logs("injector"));

    let status = pod.processes("injector").swap_remove(0);
    assert_eq!((line(&status, "Uid"), line(&status, "Gid")), (vec![NOBODY; 4], vec![NOBODY; 4]));
    for set in ["CapEff", "CapPrm", "CapBnd", "CapInh", "CapAmb"] {
        assert_eq!(line(&status, set), ["0000000000000000"], "{set}");
    }
    assert_eq!((line(&status, "NoNewPrivs"), line(&status, "Seccomp")), (vec!["1"], vec!["2"]));
    assert!(pod.read_only("injector"), "its root can be written to");

    let patched = patch(&world, &review(&world, &pod, Some(&installation.ca), 0));
    assert!(patched.to_string().contains(SIDECAR_IMAGE), "{patched}");
    // 60: nobody vouches for the certificate. So the answer before was by the CA that was mounted.
    assert_eq!(review(&world, &pod, None, 0).code, 60);
    let most: u64 = line(&pod.processes("injector")[0], "VmHWM")[0].parse().expect("KiB");
    println!("the most memory it took: {most} KiB");
    assert!(most < MEMORY, "{most} KiB");

    let ended = std::thread::scope(|scope| {
        let ended = scope.spawn(|| pod.stop());
        // In its pause of 5 s: Services leave it out, and it answers as ever.
        let left_out = wait_until(Duration::from_secs(3), || get(&world, &pod, "/readyz").stdout.ends_with("503").then_some(()));
        assert!(left_out.is_some(), "{}", pod.logs("injector"));
        let _answered = patch(&world, &review(&world, &pod, Some(&installation.ca), 0));
        // Begun in the pause, and whole only after it.
        std::thread::sleep(Duration::from_secs(2));
        let _answered = patch(&world, &review(&world, &pod, Some(&installation.ca), 4));
        ended.join().expect("podman stop")
    });
    let [only] = ended.as_slice() else { panic!("{ended:?}") };
    assert!(only.code == 0 && only.took < Duration::from_secs(12), "{ended:?}\n{}", pod.logs("injector"));
    assert!(only.took > Duration::from_secs(5), "it did not wait for Services: {ended:?}");
}
