//! What the sidecar knows of the pod it is in: its labels, its resolvers and search domains, the API server, today's date.

mod routes;

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use policies::Name;

use crate::bounded;

/// The largest labels file or resolv.conf: a node's whole object is not larger.
pub(crate) const MOST_BYTES: u64 = 1 << 20;

/// Why something of the pod could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadSurroundingsError {
    /// The labels file is not there or not readable.
    #[error("cannot read the labels file {path} (--labels)")]
    Labels {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A line is not `key="value"`.
    #[error("{path}, line {line}: not key=\"value\" as the downward API writes labels")]
    LabelLine {
        /// Which file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// resolv.conf is not there or not readable.
    #[error("cannot read {path} (--resolv-conf)")]
    ResolvConf {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// resolv.conf has a line that no resolver understands.
    #[error("cannot understand {path} (--resolv-conf): {why}")]
    ParseResolvConf {
        /// Which file.
        path: PathBuf,
        /// Where and why. The library's error has its own cause in its text already.
        why: resolv_conf::ParseError,
    },
}

/// What resolv.conf says: whom to ask, and what glibc and musl append to short names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// The nameservers, at port 53, in their order, each once.
    pub nameservers: Vec<SocketAddr>,
    /// The search list; entries that are no names are left out.
    pub search: Vec<Name>,
}

impl ResolvConf {
    /// Reads `path`.
    pub fn read(path: &Path) -> Result<Self, ReadSurroundingsError> {
        Self::parse(path, &Self::text(path)?)
    }

    /// What stands in `path`.
    pub(crate) fn text(path: &Path) -> Result<Vec<u8>, ReadSurroundingsError> {
        bounded::read(path, MOST_BYTES).map_err(|source| ReadSurroundingsError::ResolvConf { path: path.to_owned(), source })
    }

    /// Understands what stood in `path`.
    pub(crate) fn parse(path: &Path, text: &[u8]) -> Result<Self, ReadSurroundingsError> {
        let parsed =
            resolv_conf::Config::parse(text).map_err(|why| ReadSurroundingsError::ParseResolvConf { path: path.to_owned(), why })?;
        let mut nameservers = Vec::new();
        for server in &parsed.nameservers {
            // An IPv6 zone (fe80::1%eth0) names an interface, which the ruleset could not say: the address alone is used.
            let server = SocketAddr::new(IpAddr::from(server.clone()), 53);
            if !nameservers.contains(&server) {
                nameservers.push(server);
            }
        }
        let search = parsed.get_last_search_or_domain().filter_map(|domain| Name::parse(domain).ok()).collect();
        Ok(ResolvConf { nameservers, search })
    }

    /// The domain of the cluster's own names (`cluster.local`): what follows `svc.` in the search list the kubelet writes.
    pub fn cluster_domain(&self) -> Option<Name> {
        self.search.iter().find_map(|domain| {
            let text = domain.to_string();
            Name::parse(text.strip_prefix("svc.")?).ok()
        })
    }
}

/// Whether the pod has any way out by IPv6, as the routes of this thread's network namespace say. Without one a client that
/// is told an AAAA record would only wait. Where the file cannot be read there is no IPv6 in the kernel.
pub fn has_ipv6_route() -> bool {
    // A pod's table has a dozen lines; what is behind a mebibyte of them would say nothing new.
    // `/proc/net` would be the namespace of the process's first thread.
    std::fs::File::open("/proc/thread-self/net/ipv6_route")
        .and_then(|file| {
            let mut text = Vec::new();
            file.take(MOST_BYTES).read_to_end(&mut text)?;
            Ok(text)
        })
        .is_ok_and(|text| routes::leads_out(&String::from_utf8_lossy(&text)))
}

/// Reads the labels file of a downward API volume: `key="value"` a line, the value quoted as Go quotes strings.
pub fn read_labels(path: &Path) -> Result<BTreeMap<String, String>, ReadSurroundingsError> {
    let unreadable = |source| ReadSurroundingsError::Labels { path: path.to_owned(), source };
    let text = bounded::read(path, MOST_BYTES).map_err(unreadable)?;
    let text = String::from_utf8(text).map_err(|_| unreadable(std::io::Error::other("it is not UTF-8 text")))?;
    let mut labels = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let (key, value) = label(line).ok_or(ReadSurroundingsError::LabelLine { path: path.to_owned(), line: index + 1 })?;
        labels.insert(key, value);
    }
    Ok(labels)
}

/// One `key="value"`. A label's value has only letters, digits, `-`, `_` and `.`: nothing that Go would escape.
fn label(line: &str) -> Option<(String, String)> {
    let (key, quoted) = line.trim().split_once('=')?;
    let value = quoted.strip_prefix('"')?.strip_suffix('"')?;
    let plain = !key.is_empty() && !value.contains(['"', '\\']);
    plain.then(|| (key.to_owned(), value.to_owned()))
}

/// The API server's address as the kubelet tells it to every container, if it is an address.
pub fn api_server() -> Option<SocketAddr> {
    let host: IpAddr = std::env::var("KUBERNETES_SERVICE_HOST").ok()?.parse().ok()?;
    let port = std::env::var("KUBERNETES_SERVICE_PORT").ok()?.parse().ok()?;
    Some(SocketAddr::new(host, port))
}

/// The node's addresses as the downward API tells them (`status.hostIPs`, comma-separated), if they are addresses.
pub fn host_ips() -> Vec<IpAddr> {
    let Some(text) = std::env::var_os("PORTREEVE_HOST_IPS") else { return Vec::new() };
    let text = text.to_string_lossy();
    let mut addresses = Vec::new();
    for ip in text.split(',').map(str::trim).filter(|ip| !ip.is_empty()) {
        match ip.parse() {
            Ok(address) => addresses.push(address),
            Err(_) => tracing::warn!(ip, "no address in PORTREEVE_HOST_IPS: the preset node-agents does without it"),
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_as_the_downward_api_writes_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("labels");
        std::fs::write(&path, "app=\"alerts\"\napp.kubernetes.io/name=\"alerts\"\nempty=\"\"").unwrap();
        let labels = read_labels(&path).unwrap();
        assert_eq!(labels.len(), 3);
        assert_eq!(labels["app.kubernetes.io/name"], "alerts");
        std::fs::write(&path, "app=alerts\n").unwrap();
        assert!(matches!(read_labels(&path), Err(ReadSurroundingsError::LabelLine { line: 1, .. })));
    }

    #[test]
    fn a_pods_resolv_conf() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        std::fs::write(
            &path,
            "search shop.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\nnameserver 10.96.0.10\noptions ndots:5\n",
        )
        .unwrap();
        let conf = ResolvConf::read(&path).unwrap();
        assert_eq!(conf.nameservers, ["10.96.0.10:53".parse().unwrap()]);
        assert_eq!(conf.search.len(), 3);
        assert_eq!(conf.cluster_domain().unwrap().to_string(), "cluster.local");
    }
}
