//! Whatever is typed wrong is told in sentences that name it, with exit code 2, and nothing is printed or served.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

#[allow(dead_code, reason = "here only how it ends")]
#[path = "support/serving.rs"]
mod serving;

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serving::NOBODY;

/// What everybody gets wrong once: files that are not there, are none, are empty, or hold something else.
fn fixtures(dir: &Path) {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    let ca = injector::ca::make(std::time::SystemTime::now()).unwrap();
    for (name, files) in [
        ("ca", vec![("tls.crt", ca.certificate.as_str()), ("tls.key", ca.key.as_str())]),
        ("no-key", vec![("tls.crt", ca.certificate.as_str())]),
        ("no-pem", vec![("tls.crt", "no PEM"), ("tls.key", "no PEM")]),
        ("locked", vec![("tls.crt", ca.certificate.as_str()), ("tls.key", ca.key.as_str())]),
        ("dir", vec![]),
    ] {
        fs::create_dir(dir.join(name)).unwrap();
        files.iter().for_each(|(file, text)| fs::write(dir.join(name).join(file), text).unwrap());
    }
    fs::set_permissions(dir.join("locked/tls.key"), fs::Permissions::from_mode(0o000)).unwrap();
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: i}]}\n";
    for (name, text) in [("empty", ""), ("typo", "imgae = \"x\"\n"), ("no-toml", "a = = 1\n"), ("root", "uid = 0\n"), ("pod", pod)] {
        fs::write(dir.join(name), text).unwrap();
    }
    fs::write(dir.join("latin"), [0xff, 0xfe]).unwrap();
}

/// Arguments, and what must be told. `SERVE` stands for a `serve` that takes any ports.
const TABLE: &[(&str, &str)] = &[
    ("", "Usage: portreeve-injector <COMMAND>"),
    ("srve", "a similar subcommand exists: 'serve'"),
    ("ca x", "unexpected argument 'x'"),
    ("ca --namespace A_b", "a namespace has 1 to 63 of a-z, 0-9 and -"),
    ("SERVE", "--ca <DIR>"),
    ("SERVE --ca nowhere", "nowhere/tls.crt is missing"),
    ("SERVE --ca dir", "dir/tls.crt is missing"),
    ("SERVE --ca empty", "cannot read empty/tls.crt: Not a directory"),
    ("SERVE --ca no-key", "no-key/tls.key is missing"),
    ("SERVE --ca no-pem", "tls.crt has no certificate (PEM)"),
    ("SERVE --ca locked", "cannot read locked/tls.key: Permission denied"),
    ("SERVE --tls-cert nowhere --tls-key nowhere", "cannot serve with the pair of --tls-cert and --tls-key: nowhere is missing"),
    ("SERVE --tls-cert dir --tls-key dir", "cannot read dir: Is a directory"),
    ("SERVE --tls-cert ca/tls.crt", "--tls-key <FILE>"),
    ("SERVE --ca ca --settings nowhere", "nowhere is missing"),
    ("SERVE --ca ca --settings dir", "cannot read dir: Is a directory"),
    ("SERVE --ca ca --settings typo", "typo is wrong: TOML parse error at line 1, column 1"),
    ("SERVE --ca ca --settings no-toml", "no-toml is wrong: TOML parse error at line 1, column 5"),
    ("SERVE --ca ca --settings latin", "latin is not UTF-8"),
    ("SERVE --ca ca --settings root", "its uid cannot be 0"),
    ("SERVE --ca ca --platform-policy dir", "cannot read dir: Is a directory"),
    ("SERVE --ca ca --platform-policy typo", "unknown key `imgae`"),
    ("SERVE --ca ca --platform-policy latin", "latin is not UTF-8"),
    ("SERVE --ca ca --service A_b", "a Service's name is SERVICE.NAMESPACE.svc"),
    ("SERVE --ca ca --certificate-lifetime soon", "'soon' for '--certificate-lifetime"),
    ("install", "--ca-cert <FILE>"),
    ("install --ca-cert nowhere", "cannot read nowhere: No such file"),
    ("install --ca-cert dir", "cannot read dir: Is a directory"),
    ("install --ca-cert empty", "empty holds no certificate in PEM\nhint: kubectl get secret"),
    ("install --ca-cert latin", "cannot read latin"),
    ("install --ca-cert ca/tls.key", "ca/tls.key holds a private key"),
    ("install --ca-cert ca/tls.crt --settings nowhere", "cannot read the settings in nowhere: No such file"),
    ("install --ca-cert ca/tls.crt --settings dir", "cannot read the settings in dir: Is a directory"),
    ("install --ca-cert ca/tls.crt --settings typo", "there is no setting `imgae`\nhint: did you mean `image`?"),
    ("install --ca-cert ca/tls.crt --settings no-toml", "TOML parse error at line 1, column 5"),
    ("install --ca-cert ca/tls.crt --settings root", "its uid cannot be 0"),
    ("install --ca-cert ca/tls.crt --set imgae=x", "there is no setting `imgae`\nhint: did you mean `image`?"),
    ("install --ca-cert ca/tls.crt --set image", "a setting is KEY=VALUE"),
    ("install --ca-cert ca/tls.crt --set image=", "\"\" is no image; write REGISTRY/NAME:TAG"),
    ("install --ca-cert ca/tls.crt --set resources.cpu-limit=lots", "cpu-limit: \"lots\" is no quantity"),
    ("install --ca-cert ca/tls.crt --set resources.cpu-limit=1", "hint: a text that looks like a number is quoted twice"),
    ("install --ca-cert ca/tls.crt --set port=0", "DNS port cannot be 0"),
    ("install --ca-cert ca/tls.crt --image=", "\"\" is no image"),
    ("install --ca-cert ca/tls.crt --injector-image=", "\"\" is no image"),
    ("install --ca-cert ca/tls.crt --namespace A_b", "a namespace has 1 to 63"),
    ("install --ca-cert ca/tls.crt --pod-security strict", "[possible values: baseline, restricted]"),
    ("uninstall --namespace A_b", "a namespace has 1 to 63"),
    ("inject", "--filename <FILE>"),
    ("inject -f nowhere", "cannot read nowhere: No such file"),
    ("inject -f dir", "cannot read dir: Is a directory"),
    ("inject -f empty", "there is no document in it"),
    ("inject -f typo", "document 1 has no apiVersion and kind"),
    ("inject -f latin", "it is not UTF-8 text"),
    ("inject -f pod -n A_b", "a namespace has 1 to 63"),
    ("inject -f pod --settings nowhere", "cannot read nowhere"),
    ("inject -f pod --settings typo", "unknown field `imgae`"),
    ("inject -f pod --settings no-toml", "line 1, column 5"),
    ("inject -f pod --platform-policy typo", "unknown key `imgae`"),
    ("inject -f pod --platform-policy dir", "cannot read dir: Is a directory"),
];

#[test]
fn whatever_is_wrong_is_told_and_exits_with_2() {
    let dir = tempfile::tempdir().unwrap();
    fixtures(dir.path());
    for (line, wanted) in TABLE {
        let line = line.replace("SERVE", "serve --listen 127.0.0.1 --port 0 --metrics-port 0");
        let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve-injector"));
        command.args(line.split(' ').filter(|arg| !arg.is_empty())).current_dir(dir.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if nix::unistd::geteuid().is_root() {
            // Root reads everything.
            std::os::unix::process::CommandExt::uid(&mut command, NOBODY);
        }
        let mut child = command.spawn().unwrap();
        let code = serving::ended(&mut child);
        let (mut printed, mut told) = (String::new(), String::new());
        child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
        assert_eq!((code, printed.as_str()), (Some(2), ""), "{line}: {told}");
        assert!(told.contains(wanted), "{line}: {wanted:?} is not in {told}");
        // No field names of ours, no wrapped values, no empty line at the end.
        for debug in ["Err(", "Some(", "None", "Error {", "kind:", "Os {", "panicked", "\n\n\n"] {
            assert!(!told.contains(debug), "{line}: {debug:?} is in {told}");
        }
        assert!(told.ends_with('\n') && !told.ends_with("\n\n"), "{line}: {told:?}");
    }
}
