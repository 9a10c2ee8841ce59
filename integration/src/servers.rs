//! Servers that nobody here wrote, from Debian's packages: NSD as authority, Unbound as resolver; both in the network outside.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::clients::ask;
use crate::{Running, World};

/// How long one may take to answer.
const START_LIMIT: Duration = Duration::from_secs(10);

/// NSD with one zone.
#[derive(Debug)]
pub struct Nsd {
    address: SocketAddr,
    running: Running,
}

impl Nsd {
    /// Serves `zone` on `address`:53, UDP and TCP. `records` are lines of a zone file below its SOA and NS records.
    ///
    /// # Panics
    /// With its log, when it does not answer within 10 s.
    #[must_use]
    pub fn start(world: &World, address: IpAddr, zone: &str, records: &str) -> Self {
        let dir = world.scratch().make_dir(&format!("nsd-{address}").replace(':', "_"), 0o755);
        let path = dir.display();
        let zone_text =
            format!("$ORIGIN {zone}.\n$TTL 60\n@ SOA ns hostmaster 1 3600 600 86400 5\n@ NS ns\nns A 198.51.100.253\n{records}\n");
        fs::write(dir.join("zone"), zone_text).expect("zone file");
        let config = format!(
            "server:\n  ip-address: {address}\n  ip-transparent: yes\n  port: 53\n  username: \"\"\n  chroot: \"\"\n  server-count: 1\n  zonesdir: {path}\n  \
             database: \"\"\n  pidfile: \"\"\n  xfrdfile: {path}/xfrd\n  zonelistfile: {path}/zones\n  xfrdir: {path}\n  rrl-ratelimit: 0\n\
             remote-control:\n  control-enable: no\nzone:\n  name: {zone}\n  zonefile: {path}/zone\n"
        );
        fs::write(dir.join("nsd.conf"), config).expect("nsd.conf");
        let running = world.command("nsd").args(["-d", "-c"]).arg(dir.join("nsd.conf").display()).spawn();
        let nsd = Self { address: (address, 53).into(), running };
        expect_answer(world, "nsd", nsd.address, zone, &nsd.running);
        nsd
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its first process, the parent of the others.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.running.pid()
    }

    /// What it has said.
    #[must_use]
    pub fn log(&self) -> String {
        self.running.stderr()
    }
}

/// Unbound, which asks the servers it is told.
#[derive(Debug)]
pub struct Unbound {
    address: SocketAddr,
    running: Running,
}

impl Unbound {
    /// Resolves on `address`:53 by asking `authority` (with recursion off) for everything below `zone`.
    ///
    /// # Panics
    /// With its log, when it does not answer within 10 s.
    #[must_use]
    pub fn start(world: &World, address: IpAddr, zone: &str, authority: SocketAddr) -> Self {
        let dir = world.scratch().make_dir(&format!("unbound-{address}").replace(':', "_"), 0o755);
        let (ip, port) = (authority.ip(), authority.port());
        let config = format!(
            "server:\n  interface: {address}\n  ip-transparent: yes\n  port: 53\n  username: \"\"\n  chroot: \"\"\n  directory: {}\n  pidfile: \"\"\n  \
             use-syslog: no\n  num-threads: 1\n  module-config: \"iterator\"\n  access-control: 0.0.0.0/0 allow\n  access-control: ::/0 allow\n  \
             do-not-query-localhost: no\n  qname-minimisation: no\nremote-control:\n  control-enable: no\n\
             stub-zone:\n  name: \"{zone}\"\n  stub-addr: {ip}@{port}\n",
            dir.display()
        );
        fs::write(dir.join("unbound.conf"), config).expect("unbound.conf");
        let running = world.command("unbound").args(["-d", "-c"]).arg(dir.join("unbound.conf").display()).spawn();
        let unbound = Self { address: (address, 53).into(), running };
        expect_answer(world, "unbound", unbound.address, zone, &unbound.running);
        unbound
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has said.
    #[must_use]
    pub fn log(&self) -> String {
        self.running.stderr()
    }
}

fn expect_answer(world: &World, program: &str, address: SocketAddr, zone: &str, running: &Running) {
    let asked = || {
        let reply = ask(world.outside(), address, zone, crate::authority::Type::SOA, Duration::from_millis(200))?;
        (!reply.answers.is_empty()).then_some(())
    };
    let answered = crate::wait_until(START_LIMIT, asked).is_some();
    assert!(answered, "{program} does not answer on {address} (is the package {program} installed?):\n{}", running.stderr());
}
