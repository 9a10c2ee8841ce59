//! `portreeve-injector serve` as a process of its own, on loopback; it ends with its test, whatever happens.

#[path = "image.rs"]
mod image;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Its uid and gid where the tests run as root: a user without any rights, as in its image.
pub(super) const NOBODY: u32 = 65_532;

/// A server that serves.
pub(super) struct Serving {
    child: Child,
    pub(super) https: SocketAddr,
    pub(super) ops: SocketAddr,
}

/// The command, with ports that are free and the CA of this directory.
pub(super) fn command(ca: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve-injector"));
    command
        .args(["serve", "--listen", "127.0.0.1", "--port", "0", "--metrics-port", "0", "--ca"])
        .arg(ca)
        .args(args)
        .envs(image::environment());
    if nix::unistd::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.stderr(Stdio::piped());
    command
}

impl Serving {
    /// Starts it, and waits until it says where it serves.
    pub(super) fn start(ca: &Path, args: &[&str]) -> Serving {
        let mut child = command(ca, args).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        log.read_line(&mut line).unwrap();
        let address = |name: &str| {
            let at = line.split_once(&format!("\"{name}\":\"")).unwrap_or_else(|| panic!("no {name} in {line}")).1;
            at.split('"').next().unwrap().parse().unwrap()
        };
        let (https, ops) = (address("https"), address("ops"));
        // What it logs later goes nowhere, and does not block it.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Serving { child, https, ops }
    }

    /// What its other port says to a GET: the status, and all of it.
    pub(super) fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.ops).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        (said.split(' ').nth(1).unwrap().parse().unwrap(), said)
    }

    /// The most memory it had since the last call, in KiB.
    #[allow(dead_code, reason = "not every test asks")]
    pub(super) fn peak(&self) -> u64 {
        let of = |file: &str| format!("/proc/{}/{file}", self.child.id());
        let status = std::fs::read_to_string(of("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        std::fs::write(of("clear_refs"), "5").unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Asks it to stop.
    pub(super) fn stop(&self) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    }

    /// The exit code, once it has ended.
    pub(super) fn ended(&mut self) -> Option<i32> {
        ended(&mut self.child)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The exit code of a process that must end by itself.
pub(super) fn ended(child: &mut Child) -> Option<i32> {
    let start = Instant::now();
    loop {
        match child.try_wait().unwrap() {
            Some(status) => return status.code(),
            None if start.elapsed() > Duration::from_secs(10) => {
                child.kill().unwrap();
                panic!("it does not end");
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
