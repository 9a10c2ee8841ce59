//! Real pods: podman plays a manifest here as nearly as it can to how a kubelet would, and nothing of it outlives the test.
//!
//! podman runs in a PID and a mount namespace of its own, inside the network outside (no route leads to the machine's networks): its
//! containers, their monitors and the overlay mounts end with the first process of that namespace, which has a parent-death
//! signal. Images, containers and volumes are in the world's scratch directory.
//!
//! # Limitations
//! There is no kubelet: what it does between containers (order, startup probe, restart, the order at the end) is done by
//! [`PlayedPod`]. A test that is killed leaves empty cgroup directories (`libpod_parent`).

mod manifest;
mod played;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

pub use manifest::{ConfigMap, inject, injected, injector};
pub use played::{Ended, PlayedPod};

use crate::product::processes::child_of;
use crate::{Cmd, Running, World};

/// The sidecar's image: the name that the manifests have.
pub const SIDECAR_IMAGE: &str = "registry.example/portreeve:1";

/// The apps' image: a shell, curl, getent, sleep.
pub const APP_IMAGE: &str = "registry.example/app:1";

/// Default ulimits need CAP_SYS_RESOURCE otherwise, and cgroups systemd.
const CONFIG: &str = "[containers]\ndefault_ulimits = [\"nofile=4096:4096\", \"nproc=8192:8192\"]\n\
                      [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\nlock_type = \"file\"\n";

/// Gives the mount namespace a /proc of its PID namespace, and a /run and a /dev/shm that no other podman of this machine sees. Its root has to
/// be a mount, and the namespace's own root (`runc exec` begins there): inside a chroot it is neither. Joining the namespace that one is in leads
/// out of the chroot, and what was the root there is mounted at `$1` and becomes the root of all.
const NAMESPACE: &str =
    "own='mount -t proc proc /proc && mount -t tmpfs run /run && mount -t tmpfs shm /dev/shm && echo ready && exec sleep infinity'
if mountpoint --quiet /; then mount --make-rprivate / && eval \"$own\"; exit; fi
mount --rbind / \"$1\" && mount --make-rprivate \"$1\" && \
exec nsenter --mount=/proc/self/ns/mnt --wd=\"$1\" -- sh -c \"pivot_root . mnt && cd / && umount --lazy /mnt && $own\"";

/// How long one command of podman or buildah may take.
const PATIENCE: Duration = Duration::from_secs(40);

/// podman with storage of its own, and both images in it.
#[derive(Debug)]
pub struct Podman {
    world: World,
    dir: PathBuf,
    keeper: Running,
    /// The first process of the PID namespace, as the test sees it.
    init: i32,
}

impl Podman {
    /// Starts the namespaces and builds the images: the sidecar's from its Containerfile and [`crate::product::binary`].
    ///
    /// # Panics
    /// With what is missing, when pods cannot be played here.
    #[must_use]
    pub fn new(world: &World) -> Self {
        require(world);
        let dir = world.scratch().make_dir("podman", 0o755);
        for name in ["tmp", "empty", "namespace"] {
            fs::create_dir(dir.join(name)).expect("directory of podman");
        }
        fs::write(dir.join("containers.conf"), CONFIG).expect("containers.conf");
        let root = dir.join("namespace").display().to_string();
        let namespaces =
            ["--pid", "--mount", "--propagation=unchanged", "--fork", "--kill-child=KILL", "--", "sh", "-c", NAMESPACE, "sh", &root];
        let keeper = world.command("unshare").args(namespaces).spawn();
        let ready = crate::wait_until(Duration::from_secs(5), || keeper.stdout().contains("ready").then_some(()));
        assert!(ready.is_some(), "no namespaces for podman: {}", keeper.stderr());
        let init = child_of(keeper.pid()).expect("the first process of podman's namespace");
        let podman = Self { world: world.clone(), dir, keeper, init };
        podman.build_images();
        podman
    }

    fn build_images(&self) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        self.build("portreeve.Containerfile", &crate::product::binary(), "5453", SIDECAR_IMAGE);
        let app = self.inside(&root.join("tests/fixtures/pods/app-image").display().to_string()).arg(APP_IMAGE).args(self.storage());
        let _id = app.output().expect_ok("app-image");
    }

    /// Builds one of the project's images from its Containerfile, as `make images` does.
    ///
    /// # Panics
    /// With what the recipe said, when it fails.
    pub fn build(&self, containerfile: &str, binary: &Path, uid: &str, tag: &str) {
        let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("../images");
        let build = self.inside(&images.join("build").display().to_string());
        let build = build.arg(images.join(containerfile).display()).arg(binary.display());
        let _id = build.args([uid, tag, "--unbounded", "--"]).args(self.storage()).output().expect_ok("images/build");
    }

    /// Creates the pod of a manifest and its network; nothing of it runs yet but podman's pause process.
    ///
    /// # Panics
    /// With what podman said, when it refuses.
    #[must_use]
    pub fn play(&self, pod: &serde_json::Value, config_maps: &[ConfigMap]) -> PlayedPod<'_> {
        PlayedPod::create(self, pod, config_maps)
    }

    /// The world that its pods are in.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.world
    }

    /// One podman command.
    pub fn podman(&self) -> Cmd {
        // runc: crun refuses hybrid cgroups. By its name in PATH, since distributions differ in where it is.
        self.inside("podman").args(self.storage()).args(["--runtime", "runc"])
    }

    fn storage(&self) -> [String; 6] {
        let (root, run) = (self.dir.join("root"), self.dir.join("run"));
        let [root, run] = [root, run].map(|path| path.display().to_string());
        ["--root".to_owned(), root, "--runroot".to_owned(), run, "--storage-driver".to_owned(), "overlay".to_owned()]
    }

    /// A program in podman's namespaces. Not in the test's own directory: `podman kube play` takes a directory that has an image's name
    /// for what to build it from.
    fn inside(&self, program: &str) -> Cmd {
        let (init, empty) = (self.init.to_string(), self.dir.join("empty").display().to_string());
        let namespaces = ["--target", &init, "--pid", "--mount", "--", "env", "--chdir", &empty, program];
        let command = self.world.command("nsenter").args(namespaces);
        let path = |name: &str| self.dir.join(name).display().to_string();
        command.env("CONTAINERS_CONF", path("containers.conf")).env("TMPDIR", path("tmp")).env("HOME", path("tmp")).within(PATIENCE)
    }

    fn dir(&self) -> &Path {
        &self.dir
    }

    /// A file below /proc of a process that podman knows by the pid of its own namespace.
    fn proc(&self, pid: &str, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root/proc/{pid}/{file}", self.init))
    }

    fn network_of(&self, pid: &str) -> File {
        File::open(self.proc(pid, "ns/net")).expect("the pod's network namespace")
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // In order, so that the cgroups go too; whatever is left ends with the namespace.
        let _ended_below_otherwise = self.podman().args(["pod", "rm", "--all", "--force", "--time", "0"]).output();
        self.keeper.signal(Signal::SIGTERM);
        let _status = self.keeper.kill();
        let _late = crate::wait_until(Duration::from_secs(2), || (!crate::product::processes::runs(self.init)).then_some(()));
    }
}

/// Says all that is missing at once: a machine that cannot play pods has not shown what these tests show.
fn require(world: &World) {
    let programs = [("podman", "podman"), ("buildah", "buildah"), ("runc", "runc"), ("conmon", "conmon"), ("catatonit", "catatonit")];
    let lacks = |program: &str| !world.command("sh").args(["-c", "command -v \"$1\"", "sh", program]).output().ok();
    // podman keeps conmon and catatonit in places of its own on some distributions; Debian's are in PATH.
    let missing: Vec<&str> = programs.iter().filter(|(program, _)| lacks(program)).map(|(_, package)| *package).collect();
    assert!(missing.is_empty(), "pods cannot be played here. Type:\n\n    apt-get install {}\n", missing.join(" "));
    let real_root = fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]));
    assert!(
        real_root,
        "pods cannot be played in a user namespace: runc needs the machine's root. Type:\n\n    {}\n",
        crate::rights::PRIVILEGED
    );
}
