//! Openings for what no name leads to, or what every pod of a platform needs: each preset says what it opens.
use std::fmt;

use serde::Serialize;

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
                "169.254.169.254:80 (the GKE metadata server), 169.254.169.252:988 (where it listens on the node) and the name metadata.google.internal on 80"
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

impl fmt::Display for Preset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Every preset with what it opens: `portreeve policy presets`.
pub fn presets() -> impl Iterator<Item = PresetInfo> {
    Preset::ALL.into_iter().map(|preset| PresetInfo { preset, name: preset.name(), opens: preset.opens() })
}
