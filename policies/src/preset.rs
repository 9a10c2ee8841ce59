//! Openings for what no name leads to, or what every pod of a platform needs: each preset says what it opens.
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use serde::Serialize;

use crate::{
    host::HostPattern,
    name::Name,
    ports::{PortRange, Ports, Protocol},
    surroundings::Surroundings,
};

/// A preset, as `use` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// The API server of the cluster.
    KubernetesApi,
    /// Telemetry agents on the pod's own node.
    NodeAgents,
    /// The credential agent of EKS Pod Identity.
    AwsPodIdentity,
    /// The metadata server of Workload Identity Federation for GKE.
    GkeWorkloadIdentity,
    /// The token endpoint of Microsoft Entra Workload ID.
    AzureWorkloadIdentity,
    /// The control plane of Istio.
    Istio,
    /// The control plane of Linkerd.
    Linkerd,
}

/// A preset explained. See [`presets`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PresetInfo {
    /// Which.
    pub preset: Preset,
    /// As `use` names it.
    pub name: &'static str,
    /// What it opens, for people.
    pub opens: &'static str,
}

impl Preset {
    /// Every preset there is.
    pub const ALL: [Self; 7] = [
        Self::KubernetesApi,
        Self::NodeAgents,
        Self::AwsPodIdentity,
        Self::GkeWorkloadIdentity,
        Self::AzureWorkloadIdentity,
        Self::Istio,
        Self::Linkerd,
    ];

    /// The name in `use`.
    pub fn name(self) -> &'static str {
        match self {
            Self::KubernetesApi => "kubernetes-api",
            Self::NodeAgents => "node-agents",
            Self::AwsPodIdentity => "aws-pod-identity",
            Self::GkeWorkloadIdentity => "gke-workload-identity",
            Self::AzureWorkloadIdentity => "azure-workload-identity",
            Self::Istio => "istio",
            Self::Linkerd => "linkerd",
        }
    }

    /// The preset of this name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.name() == name)
    }

    /// What it opens, for people.
    pub fn opens(self) -> &'static str {
        match self {
            Self::KubernetesApi => {
                "the API server's address and port as the cluster tells every pod (KUBERNETES_SERVICE_HOST and _PORT), and the name kubernetes.default.svc of the cluster domain on 443"
            }
            Self::NodeAgents => "the node's own addresses on 4317-4318 (OTLP), 8125/udp (DogStatsD) and 8126 (Datadog traces)",
            Self::AwsPodIdentity => "169.254.170.23:80 and [fd00:ec2::23]:80, where the EKS Pod Identity Agent listens on the node",
            Self::GkeWorkloadIdentity => {
                "the GKE metadata server: 169.254.169.254 on 80 and 8080 (Dataplane V2), 169.254.169.252 on 987-988 (other data planes), and the name metadata.google.internal on 80 and 8080"
            }
            Self::AzureWorkloadIdentity => "login.microsoftonline.com on 443, where a service account token is exchanged (public cloud)",
            Self::Istio => {
                "istiod.istio-system.svc of the cluster domain on 15012 (XDS and certificates); the pods that the proxy dials need a rule of their own"
            }
            Self::Linkerd => {
                "below linkerd.svc of the cluster domain: linkerd-identity-headless on 8080, linkerd-dst-headless on 8086 and linkerd-policy on 8090; the pods that the proxy dials need a rule of their own"
            }
        }
    }
}

/// One opening of a preset: hosts and ranges on the same ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PresetOpening {
    pub(crate) hosts: Vec<HostPattern>,
    pub(crate) cidrs: Vec<IpNet>,
    pub(crate) ports: Ports,
}

impl Preset {
    /// What it opens in this place; nothing where the place does not tell what it needs.
    pub(crate) fn openings(self, place: &Surroundings) -> Vec<PresetOpening> {
        let in_cluster = |host: &str| place.cluster_domain.as_ref().and_then(|domain| Name::parse(&format!("{host}.{domain}")).ok());
        let service = |host: &str, port: u16| in_cluster(host).map(|name| opening(Some(name), Vec::new(), &[(Protocol::Tcp, port, port)]));
        match self {
            Self::KubernetesApi => {
                let address = place.api_server.map(|server| {
                    let port = server.port();
                    opening(None, vec![server.ip()], &[(Protocol::Tcp, port, port)])
                });
                // The name alone opens nothing that the address does not, so it follows the address.
                let name = address.is_some().then(|| service("kubernetes.default.svc", 443)).flatten();
                address.into_iter().chain(name).collect()
            }
            Self::NodeAgents if place.host_ips.is_empty() => Vec::new(),
            Self::NodeAgents => {
                let ports = [(Protocol::Tcp, 4317, 4318), (Protocol::Udp, 8125, 8125), (Protocol::Tcp, 8126, 8126)];
                vec![opening(None, place.host_ips.clone(), &ports)]
            }
            Self::AwsPodIdentity => {
                let agents =
                    vec![IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)), IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23))];
                vec![opening(None, agents, &[(Protocol::Tcp, 80, 80)])]
            }
            Self::GkeWorkloadIdentity => {
                let server = vec![IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254))];
                let on_node = vec![IpAddr::V4(Ipv4Addr::new(169, 254, 169, 252))];
                let name = Name::parse("metadata.google.internal").ok();
                let ports = [(Protocol::Tcp, 80, 80), (Protocol::Tcp, 8080, 8080)];
                vec![opening(name, server, &ports), opening(None, on_node, &[(Protocol::Tcp, 987, 988)])]
            }
            Self::AzureWorkloadIdentity => {
                vec![opening(Name::parse("login.microsoftonline.com").ok(), Vec::new(), &[(Protocol::Tcp, 443, 443)])]
            }
            Self::Istio => service("istiod.istio-system.svc", 15012).into_iter().collect(),
            Self::Linkerd => {
                let services = [("linkerd-identity-headless", 8080), ("linkerd-dst-headless", 8086), ("linkerd-policy", 8090)];
                services.into_iter().filter_map(|(host, port)| service(&format!("{host}.linkerd.svc"), port)).collect()
            }
        }
    }
}

fn opening(host: Option<Name>, addresses: Vec<IpAddr>, ports: &[(Protocol, u16, u16)]) -> PresetOpening {
    let mut opened = Ports::none();
    for &(protocol, first, last) in ports {
        if let Some(range) = PortRange::new(first, last) {
            opened.add(protocol, range);
        }
    }
    PresetOpening {
        hosts: host.into_iter().map(HostPattern::Exact).collect(),
        cidrs: addresses.into_iter().map(IpNet::from).collect(),
        ports: opened,
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Every preset with what it opens: `portreeve policy presets`.
pub fn presets() -> impl Iterator<Item = PresetInfo> {
    Preset::ALL.into_iter().map(|preset| PresetInfo { preset, name: preset.name(), opens: preset.opens() })
}
