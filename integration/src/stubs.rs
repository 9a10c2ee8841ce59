//! The stub resolvers that apps link, glibc's and musl's, asked by `getaddrinfo`, and what each of their questions was told.

use std::cell::Cell;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use hickory_proto::rr::RecordType;
use serde::Deserialize;

use crate::clients::ask;
use crate::world::RESOLVER;
use crate::{Pod, Running, World, wait_until};

/// `getaddrinfo`: the name does not exist, as far as everybody asked knows. glibc and musl have the same number.
pub const EAI_NONAME: i32 = -2;

/// `getaddrinfo`: nobody knows at present.
pub const EAI_AGAIN: i32 = -3;

/// Whose `getaddrinfo`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Libc {
    /// Debian's own.
    Glibc,
    /// Alpine's; built once a world with musl-gcc.
    Musl,
}

impl Libc {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Glibc, Self::Musl];
}

/// What one call of `getaddrinfo` (`AF_UNSPEC`) gave.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The addresses, each once, in order.
    pub addresses: Vec<IpAddr>,
    /// The error code (`EAI_…`) when there are none.
    pub error: Option<i32>,
    /// From the start of the program to its end.
    pub took: Duration,
}

/// One call of `getaddrinfo` in the pod, in a process of its own: 30 s at most.
///
/// # Panics
/// With the package to install, when the program cannot be built, and when it ends by itself in no way it should.
#[must_use]
pub fn resolve(pod: &Pod, libc: Libc, name: &str) -> Resolved {
    let said = pod.command(&program(pod.world(), libc).display().to_string()).arg(name).within(Duration::from_secs(30)).output();
    assert!(matches!(said.code, 0 | 1), "{libc:?}, {name}: exit code {}: {}", said.code, said.stderr);
    let mut addresses: Vec<IpAddr> = said.stdout.lines().filter_map(|line| line.parse().ok()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let error = said.stdout.lines().find_map(|line| line.strip_prefix("error ")?.parse().ok());
    Resolved { addresses, error, took: said.took }
}

fn program(world: &World, libc: Libc) -> PathBuf {
    let (compiler, package, options): (_, _, &[&str]) = match libc {
        Libc::Glibc => ("gcc", "gcc", &[]),
        Libc::Musl => ("musl-gcc", "musl-tools", &["-static"]),
    };
    let program = world.scratch().path().join(format!("resolve-{compiler}"));
    if !program.exists() {
        let built = world.command(compiler).args(options).args(["-O1", "-x", "c", "-o"]).arg(program.display()).arg("-");
        let built = built.input(include_str!("../clients/resolve.c")).within(Duration::from_secs(30)).output();
        assert!(built.ok(), "{compiler}: {}\n(is the package {package} installed?)", built.stderr);
    }
    program
}

/// One reply as it reached a client in the pod.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Told {
    /// The name asked for, in lower case.
    pub name: String,
    /// The type asked for, as a number.
    pub rtype: u16,
    /// 0 NOERROR, 2 SERVFAIL, 3 NXDOMAIN, 5 REFUSED.
    pub rcode: u8,
    /// Records in the answer section.
    pub answers: u16,
}

/// A tap on the pod's loopback (the clients' side of the sidecar), until it is dropped. It sees IPv4.
#[derive(Debug)]
pub struct Tap<'a> {
    pod: &'a Pod,
    running: Running,
    marks: Cell<u32>,
    forgotten: Cell<usize>,
}

/// The label that the tap's own questions begin with; [`Tap::told`] leaves them out, the sidecar's log does not.
pub const MARK: &str = "tap-mark";

impl<'a> Tap<'a> {
    /// Starts one; it sees every reply from now on.
    ///
    /// # Panics
    /// When python3 is missing.
    #[must_use]
    pub fn start(pod: &'a Pod) -> Self {
        let running = pod.command("/usr/bin/python3").args(["-I", "-c", include_str!("../clients/told.py")]).spawn();
        let ready = wait_until(Duration::from_secs(10), || running.stdout().starts_with("ready").then_some(()));
        assert!(ready.is_some(), "told.py: {}", running.stderr());
        Self { pod, running, marks: Cell::new(0), forgotten: Cell::new(0) }
    }

    /// What clients were told since the last call. Asks a question of its own and waits until it is seen, so everything before is.
    ///
    /// # Panics
    /// When its own question is not seen within 5 s.
    #[must_use]
    pub fn told(&self) -> Vec<Told> {
        let mark = format!("{MARK}-{}.invalid", self.marks.replace(self.marks.get() + 1));
        let _seen_by_the_tap = ask(self.pod.namespace(), (RESOLVER, 53).into(), &mark, RecordType::A, Duration::from_secs(2));
        let lines = || self.running.stdout().lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
        let seen = wait_until(Duration::from_secs(5), || Some(lines()).filter(|lines| lines.iter().any(|line| line.contains(&mark))));
        let lines = seen.unwrap_or_else(|| panic!("the tap is blind: {}", self.running.stderr()));
        let read = |line: &String| serde_json::from_str::<Told>(line).unwrap_or_else(|cause| panic!("{line}: {cause}"));
        let told = lines.iter().skip(self.forgotten.replace(lines.len())).map(read);
        told.filter(|told| !told.name.starts_with(MARK)).collect()
    }
}
