//! What is outside of the pods: names, and servers wherever an attempt leads, so that a held attempt was held by the sidecar.

use std::path::Path;
use std::time::Duration;

use integration::pods::ConfigMap;
use integration::world::RESOLVER;
use integration::{Authority, Finished, PlayedPod, Podman, TcpTarget, Watcher, World};

/// A whole HTTP response: curl is content with it whatever it has asked.
pub(crate) const RESPONSE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";

/// Names with the last octet of their address; on each there are servers on 22, 80 and 443.
const NAMES: [(&str, u8); 4] = [("github.com", 22), ("pagerduty.com", 42), ("events.pagerduty.com", 43), ("new.example.com", 80)];

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Must {
    Leave,
    BeHeld,
}

pub(crate) struct Stage {
    world: World,
    _authority: Authority,
    targets: Vec<TcpTarget>,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let world = World::new();
        let authority = world.authority();
        let mut targets = Vec::new();
        for (name, number) in NAMES {
            let address = format!("198.51.100.{number}");
            authority.a(name, &[&address], 60);
            targets.extend([22, 80, 443].map(|port| TcpTarget::on(world.outside(), &format!("{address}:{port}"), RESPONSE)));
        }
        Self { world, _authority: authority, targets }
    }

    pub(crate) fn podman(&self) -> Podman {
        Podman::new(&self.world)
    }

    pub(crate) fn world(&self) -> &World {
        &self.world
    }

    /// How many connections arrived anywhere.
    pub(crate) fn arrived(&self) -> usize {
        self.targets.iter().map(TcpTarget::count).sum()
    }

    /// curl in the app's container, judged by the wire and by the servers and not by what curl says alone.
    pub(crate) fn attempt(&self, pod: &PlayedPod<'_>, watcher: &Watcher, url: &str, must: Must) {
        watcher.forget();
        let before = self.arrived();
        let said = curl(pod, url);
        let left = watcher.left_pod(|packet| !packet.is_housekeeping() && packet.destination != RESOLVER);
        let arrived = self.arrived() - before;
        let what = format!("{url}: curl ended with {} ({}), {arrived} arrived, {} packets left", said.code, said.stderr.trim(), left.len());
        match must {
            Must::Leave => assert!(said.ok() && arrived == 1 && !left.is_empty(), "{what}\n{}", pod.logs("portreeve")),
            // 6: no such name; 7: refused. Not 28: a refusal is told at once.
            Must::BeHeld => assert!([6, 7].contains(&said.code) && arrived == 0 && left.is_empty(), "{what}\n{}", pod.logs("portreeve")),
        }
    }
}

pub(crate) fn curl(pod: &PlayedPod<'_>, url: &str) -> Finished {
    pod.exec("app", &["curl", "--silent", "--show-error", "--ipv4", "--max-time", "3", url])
}

/// The ConfigMap of an app's shipped example policy.
pub(crate) fn example(app: &str) -> ConfigMap {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../policies/examples/{app}.toml"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|cause| panic!("{}: {cause}", path.display()));
    ConfigMap::new(&format!("portreeve-{app}"), &format!("{app}.toml"), &text)
}

/// How long what must happen may take.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);
