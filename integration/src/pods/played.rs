//! A pod that podman has, with a kubelet's part in it: the order at start, the startup probe, restarts, the order at the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::manifest::{Kind, Playable, as_podman_plays_it};
use super::{ConfigMap, Podman};
use crate::world::RESOLVER;
use crate::{Finished, Pod, PolicyDir};

/// How long a startup probe may fail.
const START_LIMIT: Duration = Duration::from_secs(15);

/// A container that was told to end.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its name.
    pub container: String,
    /// Its exit code: 137 is SIGKILL, after the grace period was over.
    pub code: i32,
    /// How long its end took.
    pub took: Duration,
}

/// A pod, removed when this value is dropped.
#[derive(Debug)]
pub struct PlayedPod<'a> {
    podman: &'a Podman,
    playable: Playable,
    id: String,
    pod: Pod,
    volumes: Vec<(String, PolicyDir)>,
}

impl<'a> PlayedPod<'a> {
    pub(super) fn create(podman: &'a Podman, pod: &serde_json::Value, config_maps: &[ConfigMap]) -> Self {
        let etc = podman.dir().join("etc");
        fs::create_dir_all(&etc).expect("directory of podman");
        let search = "shop.svc.cluster.local svc.cluster.local cluster.local";
        fs::write(etc.join("resolv.conf"), format!("search {search}\nnameserver {RESOLVER}\noptions ndots:5\n")).expect("resolv.conf");
        fs::write(etc.join("hosts"), "127.0.0.1 localhost\n::1 localhost\n").expect("hosts");
        let playable = as_podman_plays_it(pod, config_maps, &etc);
        let play = podman.podman().args(["kube", "play", "--quiet", "--network", "none", "--start=false", "-"]);
        let _ids = play.input(playable.text.clone()).output().expect_ok("podman kube play");
        let ask = |args: &[&str]| podman.podman().args(args).output().expect_ok("podman").trim().to_owned();
        let id = ask(&["pod", "inspect", "--format", "{{.ID}}", &playable.name]);
        // Its pause process has the network namespace, without a device but lo.
        let pause = ask(&["pod", "inspect", "--format", "{{.InfraContainerID}}", &playable.name]);
        ask(&["start", &pause]);
        let pid = ask(&["inspect", "--format", "{{.State.Pid}}", &pause]);
        let inside = podman.world().pod_in(&playable.name, podman.network_of(&pid));
        let mut played = Self { podman, playable, id, pod: inside, volumes: Vec::new() };
        played.write_volumes();
        played
    }

    /// As a kubelet leaves them: emptyDirs may be written by everybody, files are links through `..data`.
    fn write_volumes(&mut self) {
        for name in &self.playable.empty {
            fs::set_permissions(self.volume_path(name), std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("mode of an emptyDir");
        }
        for (name, files) in &self.playable.written {
            let path = self.volume_path(name);
            for file in files.keys() {
                fs::remove_file(path.join(file)).expect("podman's own file of the volume");
            }
            let volume = PolicyDir::config_map(path);
            volume.replace(&files.iter().collect::<Vec<_>>());
            self.volumes.push((name.clone(), volume));
        }
        for (name, mode, group) in &self.playable.guarded {
            let path = self.volume_path(name).join("..data");
            for file in fs::read_dir(path).expect("a volume's files").flatten().map(|entry| entry.path()) {
                fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(*mode)).expect("mode of a Secret's file");
                std::os::unix::fs::chown(&file, None, *group).expect("group of a Secret's file");
            }
        }
    }

    fn volume_path(&self, name: &str) -> PathBuf {
        self.podman.dir().join("root/volumes").join(format!("{}-{name}", self.playable.name)).join("_data")
    }

    /// The pod as its network sees it: to watch its wire, to ask its kernel.
    #[must_use]
    pub fn pod(&self) -> &Pod {
        &self.pod
    }

    /// A volume that a kubelet writes. podman does not follow ConfigMaps: [`PolicyDir::replace`] swaps `..data` as a kubelet does.
    ///
    /// # Panics
    /// When the pod has no such volume, or one without files.
    #[must_use]
    pub fn volume(&self, name: &str) -> &PolicyDir {
        let found = self.volumes.iter().find(|(volume, _)| volume == name);
        &found.unwrap_or_else(|| panic!("no volume {name} with files")).1
    }

    /// Starts all containers as a kubelet does: one after the other, a sidecar's successor when its startup probe has succeeded (at once
    /// when it has none), an init container's when it has ended.
    ///
    /// # Panics
    /// With the container's log, when a probe goes on failing or an init container fails.
    pub fn start(&self) {
        for (name, kind) in &self.playable.containers {
            self.start_one(name);
            match kind {
                Kind::Sidecar { probe } if probe.is_empty() => {}
                Kind::Sidecar { .. } => self.expect_started(name),
                Kind::Init => {
                    let code = self.podman(&["wait", &self.full(name)]).expect_ok("podman wait");
                    assert_eq!(code.trim(), "0", "{name}: {}", self.logs(name));
                }
                Kind::Main => {}
            }
        }
    }

    /// Starts one container, also once more after its end, and waits for nothing.
    pub fn start_one(&self, container: &str) {
        let _id = self.podman(&["start", &self.full(container)]).expect_ok("podman start");
    }

    /// Waits until its startup probe succeeds. It is asked again at once, a kubelet lets a second pass.
    ///
    /// # Panics
    /// With its log and what the probe said last.
    pub fn expect_started(&self, container: &str) {
        let (end, mut said) = (Instant::now() + START_LIMIT, String::new());
        while Instant::now() < end {
            let probe = self.probe(container);
            if probe.ok() {
                return;
            }
            said = probe.stdout + &probe.stderr;
        }
        panic!("the startup probe of {container} fails for {START_LIMIT:?}: {said}\n{}", self.logs(container));
    }

    /// Its startup probe, once.
    ///
    /// # Panics
    /// When it has none.
    #[must_use]
    pub fn probe(&self, container: &str) -> Finished {
        let kind = self.playable.containers.iter().find(|(name, _)| name == container).map(|(_, kind)| kind);
        let Some(Kind::Sidecar { probe }) = kind else { panic!("{container} is no sidecar: {kind:?}") };
        assert!(!probe.is_empty(), "{container} has no startup probe");
        self.exec(container, &probe.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// A program in a container.
    #[must_use]
    pub fn exec(&self, container: &str, command: &[&str]) -> Finished {
        self.podman(&[&["exec", &self.full(container)], command].concat())
    }

    /// What a container has said on both streams.
    #[must_use]
    pub fn logs(&self, container: &str) -> String {
        let said = self.podman(&["logs", &self.full(container)]);
        said.stdout + &said.stderr
    }

    /// SIGKILL to the first process of a container; waits until it has ended.
    pub fn kill(&self, container: &str) {
        let name = self.full(container);
        let _id = self.podman(&["kill", "--signal", "KILL", &name]).expect_ok("podman kill");
        let _code = self.podman(&["wait", &name]).expect_ok("podman wait");
    }

    /// Whether a container runs.
    #[must_use]
    pub fn runs(&self, container: &str) -> bool {
        self.inspect(container, "{{.State.Running}}") == "true"
    }

    /// Waits until the main containers have ended by themselves, then ends the sidecars as a kubelet does with a Job's pod.
    ///
    /// # Panics
    /// When podman cannot wait that long.
    #[must_use]
    pub fn run_to_its_end(&self) -> Vec<Ended> {
        let mains = self.playable.containers.iter().filter(|(_, kind)| *kind == Kind::Main).map(|(name, _)| name);
        let start = Instant::now();
        let ended = |name: &String| {
            let code = self.podman(&["wait", &self.full(name)]).expect_ok("podman wait").trim().parse().expect("an exit code");
            Ended { container: name.clone(), code, took: start.elapsed() }
        };
        let mut ended: Vec<Ended> = mains.map(ended).collect();
        ended.extend(self.stop());
        ended
    }

    /// Ends the pod as a kubelet does: the main containers, then the sidecars from the last to the first. Each gets SIGTERM, and SIGKILL
    /// when the grace period is over. The pause process goes on: the pod's network can still be looked at.
    #[must_use]
    pub fn stop(&self) -> Vec<Ended> {
        let (sidecars, mains): (Vec<_>, Vec<_>) =
            self.playable.containers.iter().partition(|(_, kind)| matches!(kind, Kind::Sidecar { .. }));
        let order = mains.iter().chain(sidecars.iter().rev()).map(|(name, _)| name);
        order.filter(|name| self.runs(name)).map(|name| self.stop_one(name)).collect()
    }

    fn stop_one(&self, container: &str) -> Ended {
        let (name, grace) = (self.full(container), self.playable.grace.to_string());
        let start = Instant::now();
        let _id = self.podman(&["stop", "--time", &grace, &name]).expect_ok("podman stop");
        let took = start.elapsed();
        let code = self.inspect(container, "{{.State.ExitCode}}").parse().expect("an exit code");
        Ended { container: container.to_owned(), code, took }
    }

    /// /proc/PID/status of each process in a container, its first one first.
    ///
    /// # Panics
    /// When the container does not run.
    #[must_use]
    pub fn processes(&self, container: &str) -> Vec<String> {
        let pids = self.podman(&["top", &self.full(container), "hpid"]).expect_ok("podman top");
        let mut pids: Vec<u32> = pids.lines().skip(1).filter_map(|pid| pid.trim().parse().ok()).collect();
        pids.sort_unstable();
        pids.iter().filter_map(|pid| fs::read_to_string(self.podman.proc(&pid.to_string(), "status")).ok()).collect()
    }

    /// Whether the root of a container's first process is mounted read-only, as the kernel tells it.
    ///
    /// # Panics
    /// When the container does not run.
    #[must_use]
    pub fn read_only(&self, container: &str) -> bool {
        let pid = self.inspect(container, "{{.State.Pid}}");
        let mounts = fs::read_to_string(self.podman.proc(&pid, "mountinfo")).expect("the container's mounts");
        let root = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>()).find(|words| words[4] == "/").expect("a root");
        root[5].split(',').any(|option| option == "ro")
    }

    fn inspect(&self, container: &str, what: &str) -> String {
        self.podman(&["inspect", "--format", what, &self.full(container)]).expect_ok("podman inspect").trim().to_owned()
    }

    fn full(&self, container: &str) -> String {
        format!("{}-{container}", self.playable.name)
    }

    fn podman(&self, args: &[&str]) -> Finished {
        self.podman.podman().args(args).output()
    }
}

impl Drop for PlayedPod<'_> {
    fn drop(&mut self) {
        let _goes_with_podman_otherwise = self.podman(&["pod", "rm", "--force", "--time", "0", &self.playable.name]);
        remove_cgroups(&self.id);
    }
}

/// podman itself leaves those of hierarchies that it does not manage.
fn remove_cgroups(pod: &str) {
    let mounted = Path::new("/sys/fs/cgroup");
    let hierarchies = fs::read_dir(mounted).into_iter().flatten().flatten().map(|entry| entry.path());
    for parent in hierarchies.chain([mounted.to_owned()]).map(|hierarchy| hierarchy.join("libpod_parent")) {
        let containers = fs::read_dir(parent.join(pod)).into_iter().flatten().flatten().map(|entry| entry.path());
        // Only an empty one can be removed, and of a cgroup's files none needs to be.
        for group in containers.chain([parent.join(pod), parent]).filter(|path| path.is_dir()) {
            let _in_use_by_others = fs::remove_dir(group);
        }
    }
}
