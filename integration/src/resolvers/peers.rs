//! The resolvers that a pod can have today, each as its manual says for a forwarder, with one thread where that can be said.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use super::names;
use crate::product::UID;
use crate::{Cmd, Pod};

/// Where all listen: the ruleset's redirect leads there.
pub(super) const LISTEN: &str = "127.0.0.1";
/// The port of it.
pub(super) const PORT: u16 = 5453;

/// A program in the pod under the uid of Portreeve's worker, which the ruleset lets ask upstream; with the right to change rulesets,
/// which dnsmasq needs for its sets.
fn program(pod: &Pod, name: &str) -> Cmd {
    // A change of uid ends the parent-death signal that the process had from before: it is asked for once more.
    let rights = [
        "--pdeathsig=KILL",
        "--clear-groups",
        "--bounding-set=-all,+net_admin",
        "--inh-caps=-all,+net_admin",
        "--ambient-caps=-all,+net_admin",
    ];
    pod.command("setpriv").args([format!("--reuid={UID}"), format!("--regid={UID}")]).args(rights).arg(name)
}

/// A program of the floor, from a copy of this executable: the uid cannot enter every directory.
///
/// # Panics
/// When the file system refuses.
pub(super) fn floor(pod: &Pod, what: &str, upstream: Option<SocketAddr>) -> Cmd {
    let copy = pod.files().join("floor");
    fs::copy(std::env::current_exe().expect("own executable"), &copy).expect("a copy of the executable");
    program(pod, &copy.display().to_string()).arg(what).arg(format!("{LISTEN}:{PORT}")).args(upstream)
}

/// dnsmasq that puts every answer into the sets of the pod's ruleset; `cache` is the number of names, `None` its default of 150.
pub(super) fn dnsmasq(pod: &Pod, upstream: SocketAddr, cache: Option<u32>) -> Cmd {
    let fixed = ["--keep-in-foreground", "--no-resolv", "--no-hosts", "--bind-interfaces", "--pid-file=", "--conf-file=/dev/null"];
    let server = format!("--server={}#{}", upstream.ip(), upstream.port());
    let command = program(pod, "dnsmasq").args(fixed).args([format!("--listen-address={LISTEN}"), format!("--port={PORT}"), server]);
    // The default of 150 questions under way is near what the client has.
    command.arg("--dns-forward-max=1000").args(cache.map(|names| format!("--cache-size={names}"))).args(names::nftsets())
}

/// dnsdist with a packet cache of 100,000 answers.
pub(super) fn dnsdist(pod: &Pod, upstream: SocketAddr) -> Cmd {
    let text = format!(
        "setLocal('{LISTEN}:{PORT}')\nsetACL({{'0.0.0.0/0'}})\nsetSecurityPollSuffix('')\n\
         newServer({{address='{upstream}'}}):setUp()\ngetPool(''):setCache(newPacketCache(100000))\n"
    );
    let file = write(pod, "dnsdist.conf", &text);
    program(pod, "dnsdist").args(["--supervised", "--disable-syslog", "--config"]).arg(file)
}

/// Unbound with one thread, without DNSSEC (nobody here checks it), forwarding everything.
pub(super) fn unbound(pod: &Pod, upstream: SocketAddr) -> Cmd {
    let text = format!(
        "server:\n  interface: {LISTEN}@{PORT}\n  username: \"\"\n  chroot: \"\"\n  directory: \"{}\"\n  pidfile: \"\"\n  use-syslog: no\n  \
         num-threads: 1\n  module-config: \"iterator\"\n  access-control: 0.0.0.0/0 allow\nremote-control:\n  control-enable: no\n\
         forward-zone:\n  name: \".\"\n  forward-addr: {}@{}\n",
        pod.files().display(),
        upstream.ip(),
        upstream.port()
    );
    let file = write(pod, "unbound.conf", &text);
    program(pod, "unbound").args(["-d", "-c"]).arg(file)
}

/// Knot Resolver, one instance, without DNSSEC, handing on what it does not have.
pub(super) fn knot(pod: &Pod, upstream: SocketAddr) -> Cmd {
    let text = format!(
        "net.listen('{LISTEN}', {PORT}, {{ kind = 'dns' }})\nnet.ipv6 = false\ntrust_anchors.remove('.')\n\
         cache.open(100 * MB, 'lmdb:///{}')\npolicy.add(policy.all(policy.STUB('{}@{}')))\n",
        own_dir(pod).trim_start_matches('/'),
        upstream.ip(),
        upstream.port()
    );
    let file = write(pod, "kresd.conf", &text);
    program(pod, "kresd").args(["-n", "-c"]).arg(file).arg(own_dir(pod))
}

fn write(pod: &Pod, file: &str, text: &str) -> String {
    let path = pod.files().join(file);
    fs::write(&path, text).expect("a file of the pod");
    path.display().to_string()
}

/// A directory that the contestant's uid may write to.
fn own_dir(pod: &Pod) -> String {
    let dir = pod.world().scratch().make_dir(&format!("own-{}", pod.wire()), 0o777);
    Path::new(&dir).display().to_string()
}
