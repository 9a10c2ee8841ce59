//! The platform's settings of the injector: one TOML file (a mounted ConfigMap, or `install --set`), read whole or not at all.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What the webhook, `inject` and `install` go by. Every key has a default; an unknown one is an error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Settings {
    /// The sidecar's image. The fence policy admits this one and `more-images`.
    #[serde(deserialize_with = "strict::image")]
    pub image: String,
    /// Further images that the fence policy admits: those of pods which still run an older version.
    pub more_images: Vec<String>,
    /// `imagePullPolicy` of the sidecar.
    pub image_pull_policy: PullPolicy,
    /// Which namespaces are held: those labelled `portreeve.dev/injection=enabled`, or all but those labelled `disabled`.
    pub namespaces: Namespaces,
    /// Namespaces that are never held, besides kube-system and the injector's own: a webhook that is down must not stop them.
    pub excluded_namespaces: Vec<String>,
    /// Whether a pod's label `portreeve.dev/inject: "false"` counts. Whoever may create pods may set it.
    pub opt_out: bool,
    /// What becomes of a pod that undoes the fence: refused, or admitted with a warning.
    pub unsafe_pods: UnsafePods,
    /// The Pod Security level that webhook and fence policy hold for every container but the sidecar.
    pub pod_security: PodSecurity,
    /// The sidecar's DNS port. Away from 15000–15090 and 4140–4191, the meshes'.
    #[serde(deserialize_with = "strict::port")]
    pub port: u16,
    /// The uid the sidecar goes to; no container of the pod may have it.
    #[serde(deserialize_with = "strict::uid")]
    pub uid: u32,
    /// The name servers that every sidecar asks, whatever the pod says of its own; none: those that the kubelet gives the pod.
    #[serde(deserialize_with = "strict::resolvers")]
    pub resolvers: Vec<String>,
    /// The port of `/metrics`, `/readyz` and `/livez` in each pod; none, written as 0: not served.
    #[serde(with = "none_is_zero")]
    pub metrics_port: Option<u16>,
    /// What the sidecar does on a kernel that cannot stop raw frames.
    pub raw_guard: RawGuard,
    /// Where the flow log goes.
    pub flow_log: FlowLog,
    /// The sidecar's requests and limits.
    #[serde(deserialize_with = "strict::resources")]
    pub resources: Resources,
    /// What differs in a namespace, by its name.
    pub namespace: BTreeMap<String, NamespaceSettings>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            image: format!("ghcr.io/portreeve/portreeve:{}", env!("CARGO_PKG_VERSION")),
            more_images: Vec::new(),
            image_pull_policy: PullPolicy::IfNotPresent,
            namespaces: Namespaces::Labelled,
            excluded_namespaces: Vec::new(),
            opt_out: false,
            unsafe_pods: UnsafePods::Refuse,
            pod_security: PodSecurity::Baseline,
            port: 5453,
            uid: 5453,
            resolvers: Vec::new(),
            metrics_port: Some(9464),
            raw_guard: RawGuard::Prefer,
            flow_log: FlowLog::Stdout,
            resources: Resources::default(),
            namespace: BTreeMap::new(),
        }
    }
}

/// See the Pod API's `imagePullPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PullPolicy {
    /// Pulled where the node lacks it.
    IfNotPresent,
    /// Asked for at each start.
    Always,
    /// Must be on the node.
    Never,
}

/// Which namespaces are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Namespaces {
    /// Those labelled `portreeve.dev/injection=enabled`.
    Labelled,
    /// All but those labelled `portreeve.dev/injection=disabled`.
    All,
}

/// What becomes of a pod that undoes the fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnsafePods {
    /// It is refused, with every reason.
    Refuse,
    /// It is injected and admitted; the reasons are warnings that kubectl shows.
    Warn,
}

/// A level of the Pod Security Standards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PodSecurity {
    /// Nothing that gives known ways up; the least that the fence needs.
    Baseline,
    /// The hardened level.
    Restricted,
}

/// `--raw-guard` of the sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RawGuard {
    /// The sidecar does not start without it.
    Require,
    /// Goes on without it and says so.
    Prefer,
    /// Not installed.
    Off,
}

/// `--flow-log` of the sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FlowLog {
    /// JSON lines on the container's stdout.
    Stdout,
    /// Only the command line and the metrics know.
    None,
    /// Nothing is read from the kernel at all.
    Off,
}

/// Requests and limits, as Kubernetes writes quantities. All four are given: a ResourceQuota refuses a container with less.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Resources {
    /// `requests.cpu`.
    pub cpu_request: String,
    /// `limits.cpu`.
    pub cpu_limit: String,
    /// `requests.memory`.
    pub memory_request: String,
    /// `limits.memory`.
    pub memory_limit: String,
}

impl Default for Resources {
    fn default() -> Self {
        // Idle it takes 10 MiB, full of 20,000 leases 16 MiB; a limit it meets would stop the pod's name service.
        Resources {
            cpu_request: "10m".to_owned(),
            cpu_limit: "500m".to_owned(),
            memory_request: "24Mi".to_owned(),
            memory_limit: "96Mi".to_owned(),
        }
    }
}

/// What a namespace has of its own; a key that is not given is the general one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct NamespaceSettings {
    /// The sidecar's requests and limits there, all four.
    #[serde(deserialize_with = "strict::own_resources")]
    pub resources: Option<Resources>,
    /// Whether the opt-out label counts there.
    pub opt_out: Option<bool>,
    /// What becomes of unsafe pods there.
    pub unsafe_pods: Option<UnsafePods>,
    /// The name servers that sidecars ask there; an empty list: those that the kubelet gives the pod.
    #[serde(deserialize_with = "strict::own_resolvers")]
    pub resolvers: Option<Vec<String>>,
}

/// Reads the name of an image.
///
/// # Errors
/// It is empty, or has a blank in it.
pub fn image(text: &str) -> Result<String, String> {
    match text.is_empty() || text.chars().any(char::is_whitespace) {
        true => Err(format!("{text:?} is no image; write REGISTRY/NAME:TAG")),
        false => Ok(text.to_owned()),
    }
}

/// What a type lets and the fence does not.
mod strict {
    use std::net::{IpAddr, SocketAddr};

    use serde::de::Error;
    use serde::{Deserialize, Deserializer};

    use super::Resources;
    use crate::quantity::nanos;

    /// With a quantity that is none, or a limit below its request, the API server would refuse every pod that gets the sidecar.
    pub(super) fn resources<'de, D: Deserializer<'de>>(from: D) -> Result<Resources, D::Error> {
        let resources = Resources::deserialize(from)?;
        let Resources { cpu_request, cpu_limit, memory_request, memory_limit } = &resources;
        for (what, request, limit) in [("cpu", cpu_request, cpu_limit), ("memory", memory_request, memory_limit)] {
            let read = |side: &str, text: &str| {
                let wrong = || D::Error::custom(format!("{what}-{side}: {text:?} is no quantity; write it like \"500m\" or \"96Mi\""));
                nanos(text).ok_or_else(wrong)
            };
            if read("limit", limit)? < read("request", request)? {
                return Err(D::Error::custom(format!("{what}-limit {limit} is below {what}-request {request}")));
            }
        }
        Ok(resources)
    }

    pub(super) fn own_resources<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Resources>, D::Error> {
        resources(from).map(Some)
    }

    pub(super) fn image<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
        super::image(&String::deserialize(from)?).map_err(D::Error::custom)
    }

    /// As the sidecar's `--upstream` reads them: IP or IP:PORT.
    pub(super) fn resolvers<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
        let resolvers = Vec::<String>::deserialize(from)?;
        match resolvers.iter().find(|text| !is_resolver(text)) {
            Some(wrong) => {
                Err(D::Error::custom(format!("{wrong:?} is no resolver; write an address: 10.96.0.10, or with a port 10.96.0.10:53")))
            }
            None => Ok(resolvers),
        }
    }

    pub(super) fn own_resolvers<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<String>>, D::Error> {
        resolvers(from).map(Some)
    }

    fn is_resolver(text: &str) -> bool {
        let address = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)).or_else(|_| text.parse::<SocketAddr>());
        address.is_ok_and(|address| address.port() != 0 && !address.ip().is_unspecified() && !address.ip().is_multicast())
    }

    pub(super) fn port<'de, D: Deserializer<'de>>(from: D) -> Result<u16, D::Error> {
        match u16::deserialize(from)? {
            0 => Err(D::Error::custom("the sidecar's DNS port cannot be 0")),
            port => Ok(port),
        }
    }

    pub(super) fn uid<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
        match u32::deserialize(from)? {
            0 => Err(D::Error::custom("the sidecar gives root up: its uid cannot be 0")),
            uid => Ok(uid),
        }
    }
}

/// TOML has no null, and a key that is left out is the default: no port is written as 0.
mod none_is_zero {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(port: &Option<u16>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u16(port.unwrap_or(0))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u16>, D::Error> {
        u16::deserialize(from).map(|port| (port != 0).then_some(port))
    }
}

impl Settings {
    /// Reads the settings' TOML; the error names the key and its place.
    pub fn parse(text: &str) -> Result<Settings, toml::de::Error> {
        toml::from_str(text)
    }

    /// The requests and limits in a namespace.
    pub fn resources_in(&self, namespace: &str) -> &Resources {
        self.namespace.get(namespace).and_then(|own| own.resources.as_ref()).unwrap_or(&self.resources)
    }

    /// The name servers that sidecars ask in a namespace; empty: those that the kubelet gives the pod.
    pub fn resolvers_in(&self, namespace: &str) -> &[String] {
        self.namespace.get(namespace).and_then(|own| own.resolvers.as_ref()).unwrap_or(&self.resolvers)
    }

    /// Whether the opt-out label counts in a namespace.
    pub fn opt_out_in(&self, namespace: &str) -> bool {
        self.namespace.get(namespace).and_then(|own| own.opt_out).unwrap_or(self.opt_out)
    }

    /// What becomes of unsafe pods in a namespace.
    pub fn unsafe_pods_in(&self, namespace: &str) -> UnsafePods {
        self.namespace.get(namespace).and_then(|own| own.unsafe_pods).unwrap_or(self.unsafe_pods)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_metrics_port_survives_being_written() {
        let off = Settings::parse("metrics-port = 0").unwrap();
        assert_eq!(off.metrics_port, None);
        assert_eq!(Settings::parse(&toml::to_string(&off).unwrap()).unwrap(), off);
        assert_eq!(Settings::parse("").unwrap().metrics_port, Some(9464));
    }

    #[test]
    fn resources_that_the_api_server_would_refuse_are_no_settings() {
        for (wrong, why) in [
            ("cpu-limit = \"lots\"", "cpu-limit: \"lots\" is no quantity"),
            ("memory-request = \"\"", "memory-request: \"\" is no quantity"),
            ("memory-limit = \"96MB\"", "memory-limit: \"96MB\" is no quantity"),
            ("cpu-limit = \"5m\"", "cpu-limit 5m is below cpu-request 10m"),
            ("memory-request = \"1Gi\"", "memory-limit 96Mi is below memory-request 1Gi"),
        ] {
            for table in ["resources", "namespace.shop.resources"] {
                let error = Settings::parse(&format!("[{table}]\n{wrong}")).unwrap_err().to_string();
                assert!(error.contains(why), "{wrong}: {error}");
            }
        }
        let own = "[namespace.shop.resources]\ncpu-request = \"0.5\"\ncpu-limit = \"500m\"\nmemory-limit = \"0.1Gi\"";
        assert_eq!(Settings::parse(own).unwrap().resources_in("shop").cpu_request, "0.5");
    }

    #[test]
    fn a_resolver_is_an_address_and_a_namespace_may_have_its_own_or_none() {
        let settings = Settings::parse(
            "resolvers = [\"10.96.0.10\", \"[2001:db8::53]:5353\"]\n[namespace.shop]\nresolvers = []\n[namespace.bank]\nopt-out = true",
        )
        .unwrap();
        assert_eq!(Settings::parse(&toml::to_string(&settings).unwrap()).unwrap(), settings);
        assert_eq!((settings.resolvers_in("shop").len(), settings.resolvers_in("bank").len()), (0, 2));
        for wrong in ["dns.example.com", "", "10.96.0.10:0", "0.0.0.0", "224.0.0.251", "10.96.0.10,10.96.0.11"] {
            let error = Settings::parse(&format!("resolvers = [{wrong:?}]")).unwrap_err().to_string();
            assert!(error.contains("is no resolver"), "{wrong}: {error}");
            assert!(Settings::parse(&format!("[namespace.shop]\nresolvers = [{wrong:?}]")).is_err(), "{wrong}");
        }
    }
}
