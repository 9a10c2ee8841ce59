//! A pod: a namespace with eth0, addresses of both families, default routes, and its own resolv.conf.

use std::fs::{self, File};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::mount::{MsFlags, mount};

use crate::namespace::set_sysctl;
use crate::world::{RESOLVER, ip_batch, load_nft};
use crate::{Cmd, Namespace, Watcher, World};

/// A pod of a [`World`].
#[derive(Debug)]
pub struct Pod {
    world: World,
    namespace: Arc<Namespace>,
    name: String,
    number: u8,
    files: PathBuf,
}

impl Pod {
    /// In a network namespace of its own, or in the one given, which a container runtime has made and left empty.
    pub(crate) fn new(world: &World, name: &str, number: u8, made: Option<File>) -> Self {
        let files = world.scratch().make_dir(&format!("pod-{number}"), 0o755);
        write_etc(&files, name);
        let mounts = files.clone();
        let prepare = move || {
            own_etc(&mounts);
            own_sysfs();
            for (key, value) in [
                // Addresses are usable at once.
                ("ipv6/conf/all/accept_dad", "0"),
                ("ipv6/conf/default/accept_dad", "0"),
                // A new namespace inherits the machine's.
                ("ipv4/ip_forward", "0"),
                ("ipv6/conf/all/forwarding", "0"),
                // As container runtimes set them.
                ("ipv4/ip_unprivileged_port_start", "0"),
                ("ipv4/ping_group_range", "0 65000"),
            ] {
                set_sysctl(key, value);
            }
        };
        let namespace = match made {
            None => Namespace::new(name, prepare),
            Some(net) => Namespace::entered(name, net, prepare),
        };
        let pod = Self { world: world.clone(), namespace, name: name.to_owned(), number, files };
        pod.connect();
        pod
    }

    fn connect(&self) {
        let (wire, tid) = (self.wire(), self.namespace.tid());
        let (gate_mac, pod_mac) = (self.gateway_mac(), self.mac());
        // An index that differs from eth0's: the kernel notices a carrier late (up to 1 s) on a device whose peer has the same.
        let index = 1000 + u32::from(self.number);
        let (gate, gate6, own, own6) = (self.gateway(), self.gateway6(), self.v4(), self.v6());
        ip_batch(
            self.world.outside(),
            format!(
                "link add {wire} index {index} address {gate_mac} type veth peer name eth0 address {pod_mac} netns {tid}\n\
                 addr add {gate}/24 dev {wire}\n\
                 addr add {gate6}/64 dev {wire} nodad\n\
                 link set {wire} up\n"
            ),
        );
        ip_batch(
            &self.namespace,
            format!(
                "link set lo up\n\
                 addr add {own}/24 dev eth0\n\
                 addr add {own6}/64 dev eth0 nodad\n\
                 link set eth0 up\n\
                 route add default via {gate}\n\
                 route add default via {gate6}\n"
            ),
        );
        for (namespace, device) in [(&self.namespace, "eth0"), (self.world.outside(), wire.as_str())] {
            let up = crate::wait_until(Duration::from_secs(5), || namespace.run(|| is_up(device)).then_some(()));
            assert!(up.is_some(), "{device} of {} does not come up", self.name);
        }
    }

    /// The name it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its world.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &Arc<Namespace> {
        &self.namespace
    }

    /// The address of eth0.
    #[must_use]
    pub fn v4(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.number, 2)
    }

    /// The IPv6 address of eth0.
    #[must_use]
    pub fn v6(&self) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0x77, self.number.into(), 0, 0, 0, 2)
    }

    /// The other end of its wire.
    #[must_use]
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, self.number, 1)
    }

    /// The IPv6 address of the other end of its wire.
    #[must_use]
    pub fn gateway6(&self) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0x77, self.number.into(), 0, 0, 0, 1)
    }

    /// The hardware address of eth0.
    #[must_use]
    pub fn mac(&self) -> String {
        format!("02:00:00:00:{:02x}:02", self.number)
    }

    /// The hardware address of the other end of its wire.
    #[must_use]
    pub fn gateway_mac(&self) -> String {
        format!("02:00:00:00:{:02x}:01", self.number)
    }

    /// The device outside that its wire ends in.
    #[must_use]
    pub fn wire(&self) -> String {
        format!("pod{}", self.number)
    }

    /// A directory of its own for files, which programs inside see under the same path.
    #[must_use]
    pub fn files(&self) -> &Path {
        &self.files
    }

    /// Runs `work` on a thread inside.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.namespace.run(work)
    }

    /// A program inside.
    pub fn command(&self, program: &str) -> Cmd {
        Cmd::new(&self.namespace, program)
    }

    /// Replaces /etc/resolv.conf as programs inside see it (the file is written in place, as kubelet does not: a bind mount
    /// shows the same inode).
    ///
    /// # Panics
    /// When the file system refuses.
    pub fn set_resolv_conf(&self, text: &str) {
        fs::write(self.files.join("resolv.conf"), text).expect("resolv.conf of the pod");
    }

    /// Sets `ip_forward`, for both families: pods inherit it from their node.
    pub fn set_ip_forward(&self, on: bool) {
        let value = if on { "1" } else { "0" };
        self.namespace.sysctl("ipv4/ip_forward", value);
        self.namespace.sysctl("ipv6/conf/all/forwarding", value);
    }

    /// Starts to watch its wire.
    #[must_use]
    pub fn watch(&self) -> Watcher {
        Watcher::start(self)
    }

    /// Loads a ruleset text with `nft -f`.
    ///
    /// # Panics
    /// With what `nft` said when it refuses.
    pub fn load_nft(&self, ruleset: &str) {
        load_nft(&self.namespace, ruleset);
    }
}

/// IPv6 runs on the device: the kernel has given it a link-local address, and none is tentative. It does so when it has noticed
/// the carrier, which takes some milliseconds; what is sent before is lost.
fn is_up(device: &str) -> bool {
    let table = fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap_or_default();
    let own = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).filter(|words| words.last() == Some(&device));
    let tentative = |flags: &str| u8::from_str_radix(flags, 16).unwrap_or(0) & 0x40 != 0;
    let (mut link_local, mut waiting) = (false, false);
    for words in own {
        link_local |= words[0].starts_with("fe80");
        waiting |= tentative(words[4]);
    }
    link_local && !waiting
}

fn write_etc(files: &Path, name: &str) {
    let write = |file: &str, text: String| fs::write(files.join(file), text).expect("file of the pod");
    write("resolv.conf", format!("nameserver {RESOLVER}\n"));
    write("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n".to_owned());
    write("hosts", format!("127.0.0.1 localhost\n::1 localhost\n127.0.0.1 {name}.local\n"));
}

/// Lays the pod's files over /etc, in this mount namespace alone. A machine's own nsswitch.conf may ask a daemon outside of the
/// namespace, so it is covered too; so is the socket of a name cache.
fn own_etc(files: &Path) {
    for name in ["resolv.conf", "nsswitch.conf", "hosts"] {
        let target = Path::new("/etc").join(name);
        assert!(target.exists(), "{} does not exist: create it (empty is enough)", target.display());
        mount(Some(&files.join(name)), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .unwrap_or_else(|errno| panic!("bind mount over {}: {errno}", target.display()));
    }
    if Path::new("/run/nscd").is_dir() {
        mount(Some("none"), "/run/nscd", Some("tmpfs"), MsFlags::empty(), None::<&str>).expect("tmpfs over the name cache");
    }
}

/// /sys/class/net shows the devices of the namespace in which sysfs was mounted.
fn own_sysfs() {
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("sysfs"), "/sys", Some("sysfs"), flags, None::<&str>).expect("sysfs of the namespace");
}
