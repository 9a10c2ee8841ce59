//! The sidecar as the API has it: with all that the API server would default, so that the pod reads the same when it comes again.

use serde_json::{Value, json};

use super::Context;
use super::volumes;
use crate::names::{CONTAINER, METRICS_PORT_NAME};
use crate::settings::{FlowLog, PullPolicy, RawGuard, Settings};

/// How many failed probes, one a second, end the sidecar for another try. A ConfigMap that was mended reaches a pod after up to 87 s
/// (measured): so a wrong policy that is put right is taken up by the sidecar that waits, without a restart and the pause before it.
const PROBES: u32 = 120;
/// What one probe may take. It starts a process, which a node under load does not do within a second.
const PROBE_SECONDS: u32 = 3;

/// The whole container.
pub(super) fn container(settings: &Settings, context: &Context<'_>, policies: &[String]) -> Value {
    let resources = settings.resources_in(context.namespace);
    let mut container = json!({
        "name": CONTAINER,
        "image": settings.image,
        "imagePullPolicy": match settings.image_pull_policy {
            PullPolicy::IfNotPresent => "IfNotPresent",
            PullPolicy::Always => "Always",
            PullPolicy::Never => "Never",
        },
        // Said here too: an image that is built otherwise would run another program with these rights.
        "command": ["portreeve"],
        "args": ["run"],
        "restartPolicy": "Always",
        "env": env(settings, context, policies),
        "resources": {
            "requests": {"cpu": resources.cpu_request, "memory": resources.memory_request},
            "limits": {"cpu": resources.cpu_limit, "memory": resources.memory_limit},
        },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": {"drop": ["ALL"], "add": CAPABILITIES},
            "privileged": false,
            "readOnlyRootFilesystem": true,
            "runAsGroup": 0,
            // Both explicit: the pod may say otherwise for its apps, and a start as another uid has no capabilities at all.
            "runAsNonRoot": false,
            "runAsUser": 0,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        // No liveness and no readiness probe: a restart would not make a wrong policy right, and an app that is ready to serve is.
        "startupProbe": {
            "exec": {"command": ["portreeve", "status", "--ready"]},
            "periodSeconds": 1,
            "timeoutSeconds": PROBE_SECONDS,
            "successThreshold": 1,
            "failureThreshold": PROBES,
        },
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": volumes::mounts(policies),
    });
    if let (Some(port), Some(container)) = (settings.metrics_port, container.as_object_mut()) {
        container.insert("ports".to_owned(), json!([{"name": METRICS_PORT_NAME, "containerPort": port, "protocol": "TCP"}]));
    }
    container
}

/// What the sidecar starts with: NET_ADMIN to hold the network, SETUID, SETGID and SETPCAP to give the rest up. NET_RAW would be for the
/// AF_XDP slots of the raw guard, which the sidecar does not take yet.
const CAPABILITIES: [&str; 4] = ["NET_ADMIN", "SETGID", "SETPCAP", "SETUID"];

/// Where the sidecar keeps whom the kubelet named: in its own volume, which lives as long as the pod.
pub(crate) const KEPT_RESOLV_CONF: &str = "/run/portreeve/resolv.conf";

fn env(settings: &Settings, context: &Context<'_>, policies: &[String]) -> Vec<Value> {
    let said = |name: &str, value: String| json!({"name": name, "value": value});
    let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}});
    let guard = match settings.raw_guard {
        RawGuard::Require => "require",
        RawGuard::Prefer => "prefer",
        RawGuard::Off => "off",
    };
    let log = match settings.flow_log {
        FlowLog::Stdout => "stdout",
        FlowLog::None => "none",
        FlowLog::Off => "off",
    };
    let dirs: Vec<String> = policies.iter().map(|name| volumes::policy_dir(name)).collect();
    let mut env = vec![
        said("PORTREEVE_POLICIES", dirs.join(",")),
        said("PORTREEVE_LABELS", volumes::LABELS_FILE.to_owned()),
        said("PORTREEVE_LISTEN", format!("127.0.0.1:{}", settings.port)),
        said("PORTREEVE_UID", settings.uid.to_string()),
        // Every container of the pod has resolv.conf, and root of one may write it.
        said("PORTREEVE_KEPT_RESOLV_CONF", KEPT_RESOLV_CONF.to_owned()),
        said("PORTREEVE_RAW_GUARD", guard.to_owned()),
        said("PORTREEVE_FLOW_LOG", log.to_owned()),
        field("PORTREEVE_NAMESPACE", "metadata.namespace"),
        field("PORTREEVE_POD", "metadata.name"),
        field("PORTREEVE_NODE", "spec.nodeName"),
        field("PORTREEVE_SERVICE_ACCOUNT", "spec.serviceAccountName"),
        field("PORTREEVE_HOST_IPS", "status.hostIPs"),
    ];
    let resolvers = settings.resolvers_in(context.namespace);
    if !resolvers.is_empty() {
        env.push(said("PORTREEVE_UPSTREAM", resolvers.join(",")));
    }
    if let Some(port) = settings.metrics_port {
        // Not [::], which would be both families: on a node without IPv6 the sidecar could not listen there, and would not start.
        env.push(said("PORTREEVE_METRICS", format!("0.0.0.0:{port}")));
    }
    if !context.platform.text().is_empty() {
        env.push(said("PORTREEVE_PLATFORM_POLICY", context.platform.as_value()));
    }
    env
}
