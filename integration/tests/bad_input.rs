//! Promise: bad input (flag, environment, file) gets one clear sentence and never a panic; nothing that was open or closed changes by it.
//!
//! # Limitations
//! A policy that is broken at the start closes what an earlier sidecar had opened; that is `nothing_leaves.rs`. Packets are
//! `bad_packets.rs`. The sentences of problems inside policy files are golden in the crate `policies`.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use integration::clients::{connect, dig};
use integration::product::{binary, portreeve};
use integration::{Cmd, Finished, Pod, Portreeve, Setup, TcpTarget, World, wait_until};

const SECOND: Duration = Duration::from_secs(1);
const LIMIT: Duration = Duration::from_secs(10);

const POLICY: &str = "version = 1\nname = \"web\"\n[[allow]]\nname = \"api\"\nhosts = [\"api.example.com\"]\nports = [\"443\"]\n";

const USAGE: i32 = 2;
const UNABLE: i32 = 78;

struct Scene {
    _authority: integration::Authority,
    web: TcpTarget,
    pod: Pod,
    _world: World,
}

fn scene() -> Scene {
    let world = World::new();
    let authority = world.authority();
    authority.a("api.example.com", &["198.51.100.7"], 3600);
    let web = TcpTarget::on(world.outside(), "198.51.100.7:443", "");
    let pod = world.pod("app");
    let dir = pod.files();
    fs::write(dir.join("empty"), "").unwrap();
    fs::write(dir.join("garbage"), "nonsense here\n").unwrap();
    fs::write(dir.join("binary"), [0xff, 0xfe, 0x00, 0x80].repeat(64)).unwrap();
    fs::write(dir.join("large"), vec![b'#'; (1 << 20) + 1]).unwrap();
    fs::write(dir.join("ok.toml"), POLICY).unwrap();
    fs::create_dir(dir.join("dir")).unwrap();
    nix::unistd::mkfifo(&dir.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    symlink("/nowhere", dir.join("dangling")).unwrap();
    Scene { _authority: authority, web, pod, _world: world }
}

/// One clear sentence: one line that begins so, and no sign of a panic. Gives the line.
fn sentence(said: &Finished, what: &str) -> String {
    assert!(!said.timed_out, "{what}: it does not end\n{}", said.stderr);
    assert!(!said.stderr.contains("panicked") && ![101, 134, 139].contains(&said.code), "{what}: {}\n{}", said.code, said.stderr);
    let line = said.stderr.lines().next().unwrap_or_default().to_owned();
    let own = line.starts_with("portreeve: ") && said.stderr.lines().count() == 1;
    // clap's: the error, and where help is to be found.
    let by_clap = line.starts_with("error: ") && said.stderr.trim_end().ends_with("For more information, try '--help'.");
    assert!(own || by_clap, "{what}: not one sentence:\n{}", said.stderr);
    line
}

/// The ruleset as it stands, without what goes on by itself.
fn ruleset(pod: &Pod) -> String {
    let listed = pod.command("nft").args(["list", "ruleset"]).output().expect_ok("nft list ruleset");
    let mut still = String::new();
    let mut before = "";
    for line in listed.lines() {
        for word in line.split_whitespace() {
            // Counters, and the time that leases have left.
            if before != "expires" && word.parse::<u64>().is_err() {
                still += word;
                still.push(' ');
            }
            before = word;
        }
        still.push('\n');
    }
    still
}

/// Wrong values of `run`: flag, variable, value, exit code, what is said.
fn wrong() -> Vec<[&'static str; 5]> {
    let lines = include_str!("fixtures/wrong-run.txt").lines().filter(|line| !line.starts_with('#'));
    let rows: Vec<_> =
        lines.map(|line| line.splitn(5, " | ").collect::<Vec<_>>().try_into().unwrap_or_else(|_| panic!("{line}"))).collect();
    assert!(rows.len() > 30);
    rows
}

/// `portreeve run` with a good value for everything but `flag`.
fn run_with(pod: &Pod, flag: &str, variable: Option<&str>, value: &str) -> Finished {
    let dir = pod.files().display().to_string();
    // U+FFFD stands for a byte that is no text.
    let shell = format!(
        "wrong=$(printf %s \"$1\" | sed 's/\u{fffd}/\\xff/'); shift; {} exec \"$@\"",
        match variable {
            Some(variable) => format!("export {variable}=\"$wrong\";"),
            None => format!("set -- \"$@\" {flag} \"$wrong\";"),
        }
    );
    let good =
        [("--policies", format!("{dir}/portreeve-0/policies")), ("--control", format!("{dir}/control.sock")), ("--uid", "4242".to_owned())];
    let good = good.iter().filter(|(other, _)| *other != flag).flat_map(|(flag, value)| [(*flag).to_owned(), value.clone()]);
    let command = pod.command("sh").args(["-c", &shell, "sh", value]).arg(binary().display()).arg("run").args(good);
    command.env("LC_ALL", "C").output()
}

#[test]
fn every_wrong_flag_and_variable_of_run_gets_one_sentence_and_changes_nothing() {
    let scene = scene();
    let pod = &scene.pod;
    // What an earlier sidecar opened stands, and must go on standing.
    let mut earlier = Setup::new(pod).policy("web.toml", POLICY).start();
    assert_eq!(dig(pod, &["api.example.com"]).addresses().len(), 1);
    earlier.kill();
    let leases = || integration::leases::leases(pod).into_iter().map(|lease| (lease.set, lease.address, lease.comment)).collect::<Vec<_>>();
    let leased = leases();
    assert_eq!(leased.len(), 1);
    let dir = pod.files().display().to_string();
    let fill = |text: &str| text.replace("{dir}", &dir).replace("{long}", &"n".repeat(120)).replace("{empty}", "");
    for [flag, variable, value, code, text] in wrong() {
        for variable in [None, Some(variable)] {
            let what = format!("{} {value}", variable.unwrap_or(flag));
            let before = ruleset(pod);
            let said = run_with(pod, flag, variable, &fill(value));
            assert_eq!((sentence(&said, &what), said.code.to_string()), (fill(text), code.to_owned()), "{what}");
            assert_eq!(leases(), leased, "{what}: the leases changed");
            // What fails at the very end has put up its own fence, with marks and upstreams of its own.
            if !text.contains("cannot answer questions") {
                assert_eq!(ruleset(pod), before, "{what}: the ruleset changed");
            }
        }
    }
    connect(pod, scene.web.address(), SECOND).expect("what was open is open");
    assert!(connect(pod, "198.51.100.7:22".parse().unwrap(), SECOND).is_err(), "what was closed is closed");
}

#[test]
fn the_table_of_wrong_values_has_every_flag_of_run() {
    let world = World::new();
    let help = portreeve(&world.pod("app")).args(["run", "--help"]).output().expect_ok("--help");
    let of = |prefix: &str| -> BTreeSet<String> {
        let words = help.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_');
        words.filter(|word| word.starts_with(prefix) && word.len() > prefix.len()).map(str::to_owned).collect()
    };
    let (mut flags, variables) = (of("--"), of("PORTREEVE_"));
    flags.remove("--help");
    // It is named in a sentence of the help, and asked of `status`.
    flags.remove("--ready");
    assert_eq!(flags, wrong().iter().map(|row| row[0].to_owned()).collect());
    assert_eq!(variables, wrong().iter().map(|row| row[1].to_owned()).collect());
}

#[test]
fn without_the_rights_it_says_which_are_missing() {
    let scene = scene();
    let pod = &scene.pod;
    let control = pod.world().scratch().make_dir("run-open", 0o777).join("control.sock");
    let run = |command: Cmd| command.arg("run").args(["--uid", "4242", "--policies", "/nowhere", "--control"]).arg(control.display());
    let denied = "portreeve: cannot hold this network namespace: not permitted to use nf_tables (hint: CAP_NET_ADMIN in the user namespace that owns this network namespace): Operation not permitted (os error 1)";
    for (what, command) in [("uid 1000", portreeve(pod).as_user(1000)), ("root without NET_ADMIN", portreeve(pod).as_container_root())] {
        let said = run(command).output();
        assert_eq!((sentence(&said, what).as_str(), said.code), (denied, UNABLE), "{what}");
        assert_eq!(ruleset(pod), "", "{what}");
    }
    // The port is taken, by UDP and by TCP.
    let taken = "portreeve: cannot answer questions: cannot listen on 127.0.0.1:5453";
    let udp = pod.run(|| UdpSocket::bind("127.0.0.1:5453")).unwrap();
    let said = run(portreeve(pod)).output();
    assert_eq!(
        (sentence(&said, "port").as_str(), said.code),
        (format!("{taken} (UDP): Address already in use (os error 98)").as_str(), UNABLE)
    );
    drop(udp);
    let _tcp = TcpTarget::on(pod.namespace(), "127.0.0.1:5453", "");
    let said = run(portreeve(pod)).output();
    assert_eq!(
        (sentence(&said, "port").as_str(), said.code),
        (format!("{taken} (TCP): Address already in use (os error 98)").as_str(), UNABLE)
    );
}

/// Apart, since a user namespace cannot be made inside a chroot: `make test` says when it must leave this one out.
#[test]
fn in_a_user_namespace_a_uid_that_is_not_mapped_is_said() {
    let scene = scene();
    let pod = &scene.pod;
    let control = pod.world().scratch().make_dir("run-open", 0o777).join("control.sock");
    let run = |command: Cmd| command.arg("run").args(["--uid", "4242", "--policies", "/nowhere", "--control"]).arg(control.display());
    // Only uid 0 is mapped.
    let mapped = pod.command("unshare").args(["--user", "--map-root-user", "--net"]).arg(binary().display());
    let said = run(mapped).output();
    let unmapped = "portreeve: cannot step down from root: cannot become uid 4242 (needs SETUID and SETGID; in a user namespace the uid must be mapped, or give --uid 0): ";
    assert!(sentence(&said, "uid not mapped").starts_with(unmapped) && said.code == UNABLE, "{}", said.stderr);
}

#[test]
fn wrong_arguments_of_the_other_commands_get_one_sentence() {
    let scene = scene();
    let dir = scene.pod.files();
    for (name, target) in
        [("bad-dir", None), ("bad-link", Some("/nowhere")), ("bad-pipe", Some("../pipe")), ("bad-zero", Some("/dev/zero"))]
    {
        fs::create_dir(dir.join(name)).unwrap();
        let file = dir.join(name).join("x.toml");
        target.map_or_else(|| fs::create_dir(&file), |target| symlink(target, &file)).unwrap();
    }
    let lines = include_str!("fixtures/wrong-commands.txt").lines().filter(|line| !line.starts_with('#'));
    let rows: Vec<(&str, &str)> = lines.map(|line| line.split_once(" | ").unwrap_or_else(|| panic!("{line}"))).collect();
    assert!(rows.len() > 25);
    for (what, text) in rows {
        let args = what.split(' ').map(|arg| arg.replace("{empty}", ""));
        let said = scene.pod.command("env").args(["-C"]).arg(dir.display()).arg(binary().display()).args(args).output();
        assert_eq!((sentence(&said, what).as_str(), said.code), (text, USAGE), "{what}");
    }
    // Whoever sits at the control socket may say anything, or nothing.
    let path = dir.join("strange.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let strange = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let _question = stream.read(&mut [0; 64]).unwrap();
        stream.write_all(b"{\"pid\":\x1b[31m\nnonsense\n").unwrap();
        drop(stream);
        let _held_in_silence = listener.accept().unwrap();
        std::thread::sleep(4 * SECOND);
    });
    let status = || portreeve(&scene.pod).args(["status", "--control"]).arg(path.display()).output();
    let said = sentence(&status(), "a strange answer");
    assert!(
        said.starts_with("portreeve: the sidecar's answer is not understood (is it another version?): {\"pid\":")
            && !said.contains('\u{1b}'),
        "{said}"
    );
    let said = sentence(&status(), "silence");
    assert!(said.starts_with(&format!("portreeve: the sidecar at {} did not answer: ", path.display())), "{said}");
    strange.join().unwrap();
}

/// Makes `bad.toml` in the policy directory.
type Spoil = fn(&Path);

#[test]
fn a_bad_policy_file_on_reload_is_told_and_the_policy_in_force_stays() {
    let scene = scene();
    let pod = &scene.pod;
    let portreeve = Setup::new(pod).policy("web.toml", POLICY).plain_files().start();
    assert_eq!(dig(pod, &["api.example.com"]).addresses().len(), 1);
    portreeve.wait_status("the lease is counted", LIMIT, |status| status["leases"] == 1);
    let spoils: [(&str, Spoil); 9] = [
        ("(a policy must be readable by that uid: chmod a+r): Permission denied (os error 13)", |path| {
            fs::write(path, POLICY).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
        }),
        ("bad.toml is larger than 1048576 bytes", |path| fs::write(path, vec![b'#'; (1 << 20) + 1]).unwrap()),
        ("bad.toml is not UTF-8 text", |path| fs::write(path, [0xff, 0xfe, 0x00]).unwrap()),
        ("chmod a+r): No such file or directory (os error 2)", |path| symlink("/nowhere", path).unwrap()),
        ("chmod a+r): is a directory", |path| fs::create_dir(path).unwrap()),
        ("chmod a+r): it is no ordinary file", |path| nix::unistd::mkfifo(path, nix::sys::stat::Mode::from_bits_truncate(0o666)).unwrap()),
        ("chmod a+r): it is no ordinary file", |path| symlink("/dev/zero", path).unwrap()),
        ("bad.toml:2: ", |path| fs::write(path, "version = 1\nnonsense = true\n").unwrap()),
        ("bad.toml:1: ", |path| fs::write(path, "}{").unwrap()),
    ];
    for (text, spoil) in spoils {
        let bad = portreeve.policies().path().join("bad.toml");
        let before = ruleset(pod);
        spoil(&bad);
        let fits = |status: &serde_json::Value| status["last-error"]["what"].as_str().is_some_and(|what| what.contains(text));
        let status = portreeve.wait_status(text, LIMIT, fits);
        assert_eq!((&status["ready"], &status["leases"]), (&true.into(), &1.into()), "{text}: {status:#}");
        stays(&scene, &portreeve, &before, text);
        if bad.is_dir() {
            fs::remove_dir(&bad).unwrap()
        } else {
            fs::remove_file(&bad).unwrap()
        }
        portreeve.wait_status("mended", LIMIT, |status| status["last-error"].is_null());
    }
    assert!(!portreeve.log().contains("panicked"), "{}", portreeve.log());
}

fn stays(scene: &Scene, portreeve: &Portreeve<'_>, before: &str, when: &str) {
    assert_eq!(ruleset(&scene.pod), before, "{when}: the ruleset changed");
    let answered = wait_until(LIMIT, || (dig(&scene.pod, &["api.example.com"]).addresses().len() == 1).then_some(()));
    assert!(answered.is_some(), "{when}: a permitted name is not answered\n{}", portreeve.log());
    connect(&scene.pod, scene.web.address(), SECOND).unwrap_or_else(|cause| panic!("{when}: {cause}"));
    assert!(connect(&scene.pod, "198.51.100.7:22".parse().unwrap(), SECOND).is_err(), "{when}: another port is open");
}

#[test]
fn a_platform_policy_that_is_no_text_is_told_and_opens_nothing() {
    let scene = scene();
    let shell = scene.pod.files().join("portreeve.sh");
    fs::write(
        &shell,
        format!(
            "#!/bin/sh\nPORTREEVE_PLATFORM_POLICY=$(printf '\\377')\nexport PORTREEVE_PLATFORM_POLICY\nexec {} \"$@\"\n",
            binary().display()
        ),
    )
    .unwrap();
    fs::set_permissions(&shell, fs::Permissions::from_mode(0o755)).unwrap();
    let portreeve = Setup::new(&scene.pod).program(&shell).policy("web.toml", POLICY).launch();
    assert!(portreeve.wait_for_log("$PORTREEVE_PLATFORM_POLICY is not UTF-8 text", LIMIT), "{}", portreeve.log());
    assert!(!portreeve.is_ready());
    assert_eq!(dig(&scene.pod, &["api.example.com"]).addresses().len(), 0, "{}", portreeve.log());
}
