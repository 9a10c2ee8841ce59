//! What the policy is compiled for: the pod, and what is known of the place it runs in.
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use crate::{date::Date, name::Name};

/// The pod that is held, as `[select]` sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Its Kubernetes namespace; empty where there is none.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// What the place tells: none of it comes from a policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// The resolvers that are asked upstream; a deny may not cover them.
    pub resolvers: Vec<IpAddr>,
    /// The cluster's own domain (`cluster.local`); names below it may have private addresses.
    pub cluster_domain: Option<Name>,
    /// The search list of resolv.conf.
    pub search: Vec<Name>,
    /// Where the API server is (`KUBERNETES_SERVICE_HOST` and `_PORT`), for the preset `kubernetes-api`.
    pub api_server: Option<SocketAddr>,
    /// The addresses of the node, for the preset `node-agents`.
    pub host_ips: Vec<IpAddr>,
    /// Today, by UTC: what `expires` is compared with.
    pub today: Date,
}

impl Surroundings {
    /// Nothing known but the day.
    pub fn on(today: Date) -> Self {
        Self { resolvers: Vec::new(), cluster_domain: None, search: Vec::new(), api_server: None, host_ips: Vec::new(), today }
    }

    /// An ordinary cluster that is nowhere: what `policy test` and `policy explain` judge by outside of a cluster.
    ///
    /// Domain `cluster.local`, resolver 10.96.0.10, API server 10.96.0.1:443, node 192.0.2.10.
    pub fn stand_in(today: Date) -> Self {
        let cluster = Name::parse("cluster.local").ok();
        Self {
            resolvers: vec![IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10))],
            search: cluster.iter().cloned().collect(),
            cluster_domain: cluster,
            api_server: Some(SocketAddr::from(([10, 96, 0, 1], 443))),
            host_ips: vec![IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10))],
            today,
        }
    }
}
