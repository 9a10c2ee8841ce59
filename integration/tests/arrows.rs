//! Promise: the arrows between crates, what the per-pod binary is made of, and where `unsafe` lives are as the design says.
//!
//! # Limitations
//! Source is read as text without comments and strings: an `unsafe` or a process start that a macro writes is not seen here (the
//! former is refused by the compiler, `#![forbid(unsafe_code)]`).
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Development only: what it depends on is no production arrow, and nothing may depend on it.
const DEV_ONLY: &str = "integration";

const ARROWS: [(&str, &str); 4] = [("dnsproxy", "policies"), ("sidecar", "dnsproxy"), ("sidecar", "nft"), ("sidecar", "policies")];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn metadata(more: &[&str]) -> Value {
    let said = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--offline", "--locked"])
        .args(more)
        .current_dir(root())
        .output();
    let said = said.expect("cargo runs");
    assert!(said.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&said.stderr));
    serde_json::from_slice(&said.stdout).expect("JSON")
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("no {key} in {value}"))
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().unwrap_or_else(|| panic!("no list {key} in {value}"))
}

#[test]
fn production_arrows_are_those_of_the_design_and_no_others() {
    let metadata = metadata(&["--no-deps"]);
    let members: BTreeSet<&str> = list(&metadata, "packages").iter().map(|package| text(package, "name")).collect();
    let mut arrows = BTreeSet::new();
    for package in list(&metadata, "packages").iter().filter(|package| text(package, "name") != DEV_ONLY) {
        // Dev-dependencies are no arrows of production; build-dependencies are.
        for dependency in list(package, "dependencies").iter().filter(|dependency| dependency["kind"] != "dev") {
            if members.contains(text(dependency, "name")) {
                arrows.insert((text(package, "name"), text(dependency, "name")));
            }
        }
    }
    let mut wanted = BTreeSet::from(ARROWS);
    if members.contains("injector") {
        wanted.insert(("injector", "policies"));
    }
    assert_eq!(arrows, wanted);
    assert!(members.is_superset(&BTreeSet::from(["policies", "nft", "dnsproxy", "sidecar", DEV_ONLY])), "{members:?}");
    let anyhow = list(&metadata, "packages").iter().flat_map(|package| list(package, "dependencies"));
    assert_eq!(anyhow.filter(|dependency| text(dependency, "name") == DEV_ONLY).count(), 0, "{DEV_ONLY} is for nobody");
    let defaults = list(&metadata, "workspace_default_members");
    assert!(!defaults.iter().any(|id| id.as_str().unwrap().contains(DEV_ONLY)), "a bare `cargo build` builds what ships: {defaults:?}");
}

#[test]
fn the_per_pod_binary_has_no_web_server_no_tls_and_no_kubernetes_client() {
    // What the platform at hand needs: the lists of others' crates are not on this machine.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let metadata = metadata(&["--filter-platform", &platform]);
    let packages = list(&metadata, "packages");
    let names: BTreeMap<&str, &str> = packages.iter().map(|package| (text(package, "id"), text(package, "name"))).collect();
    let nodes: BTreeMap<&str, &Value> = list(&metadata["resolve"], "nodes").iter().map(|node| (text(node, "id"), node)).collect();
    let start = names.iter().find(|(_, name)| **name == "sidecar").map(|(id, _)| *id).expect("the sidecar");
    let (mut seen, mut waiting) = (BTreeSet::new(), vec![start]);
    while let Some(id) = waiting.pop() {
        if !seen.insert(id) {
            continue;
        }
        for dependency in list(nodes[id], "deps") {
            if list(dependency, "dep_kinds").iter().any(|kind| kind["kind"] != "dev") {
                waiting.push(text(dependency, "pkg"));
            }
        }
    }
    let tree: BTreeSet<&str> = seen.iter().map(|id| names[id]).collect();
    for there in ["hickory-proto", "nftnl-sys", "tokio", "toml"] {
        assert!(tree.contains(there), "the walk sees the tree: {there} is in it");
    }
    let banned = ["kube", "k8s-openapi", "hyper", "h2", "rustls", "axum", "openssl", "native-tls", "reqwest", "tonic", "jsonschema"];
    let found: Vec<_> = tree.iter().filter(|name| banned.iter().any(|ban| *name == ban || name.starts_with(&format!("{ban}-")))).collect();
    assert!(found.is_empty(), "in the sidecar's tree: {found:?}");
}

#[test]
fn every_crate_root_but_those_of_nft_forbids_unsafe_code() {
    let metadata = metadata(&["--no-deps"]);
    let mut roots = 0;
    for package in list(&metadata, "packages").iter().filter(|package| text(package, "name") != "nft") {
        // Tests and benches are crates of their own; that they have none is seen by the next test.
        let ships = |target: &&Value| list(target, "kind").iter().any(|kind| kind == "lib" || kind == "bin" || kind == "custom-build");
        for target in list(package, "targets").iter().filter(ships) {
            let path = text(target, "src_path");
            let source = code(&fs::read_to_string(path).unwrap());
            assert!(source.contains("#![forbid(unsafe_code)]"), "{path} does not forbid unsafe code");
            roots += 1;
        }
    }
    assert!(roots >= 5, "{roots} crate roots");
}

#[test]
fn unsafe_is_in_nft_src_sys_alone() {
    let place = root().join("nft/src/sys");
    let mut inside = 0;
    for path in sources() {
        let count = words(&code(&fs::read_to_string(&path).unwrap())).filter(|word| *word == "unsafe").count();
        if path.starts_with(&place) {
            inside += count;
        } else {
            assert_eq!(count, 0, "unsafe in {}", path.display());
        }
    }
    assert!(inside > 10, "the search finds what there is");
}

#[test]
fn the_only_process_that_production_code_starts_is_its_own_binary() {
    let mut starts = Vec::new();
    for path in sources().into_iter().filter(|path| is_production(path)) {
        let source = fs::read_to_string(&path).unwrap();
        let own = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for (bare, line) in code(own).lines().zip(own.lines()) {
            let starter = ["Command::new", "posix_spawn", "execv", "execl", "fexecve", "fork", "system", "popen"];
            let starts_one = bare.contains(starter[0])
                || words(bare).any(|word| starter[1..].iter().any(|start| word.starts_with(start) && bare.contains(&format!("{word}("))));
            if starts_one {
                starts.push((path.strip_prefix(root()).unwrap().display().to_string(), line.trim().to_owned()));
            }
        }
    }
    assert_eq!(starts.len(), 1, "{starts:#?}");
    assert_eq!(starts[0].0, "sidecar/src/supervisor.rs");
    assert!(starts[0].1.contains("Command::new(\"/proc/self/exe\")"), "{}", starts[0].1);
}

#[test]
fn every_file_says_what_it_promises_and_fits_the_eye() {
    let mut faults = Vec::new();
    for path in sources() {
        let source = fs::read_to_string(&path).unwrap();
        let shown = path.strip_prefix(root()).unwrap().display();
        let lines = source.lines().count();
        if lines > 400 {
            faults.push(format!("{shown} has {lines} lines, more than 400"));
        }
        // `foo/tests.rs` is part of foo.rs, which says it.
        if !path.ends_with("tests.rs") && !source.starts_with("//! ") {
            faults.push(format!("{shown} does not open with //!"));
        }
        if path.ends_with("mod.rs") {
            faults.push(format!("{shown}: foo.rs beside foo/ instead"));
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
}

/// What ships: the sources of the four crates (and of the injector), without their test modules.
fn is_production(path: &Path) -> bool {
    let shown = path.strip_prefix(root()).unwrap();
    let in_src = shown.components().any(|part| part.as_os_str() == "src");
    in_src && !shown.starts_with(DEV_ONLY) && !path.ends_with("tests.rs")
}

/// Every Rust file of the workspace.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting: Vec<PathBuf> = ["policies", "nft", "dnsproxy", "sidecar", DEV_ONLY].iter().map(|member| root().join(member)).collect();
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(&dir).unwrap().flatten() {
            let path = entry.path();
            match path.is_dir() {
                true if path.file_name().is_some_and(|name| name != "target") => waiting.push(path),
                false if path.extension().is_some_and(|extension| extension == "rs") => found.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    assert!(found.len() > 100, "{} files", found.len());
    found
}

fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// The source without comments and without what is in quotes; line for line.
fn code(source: &str) -> String {
    let (mut out, mut rest) = (String::new(), source);
    while let Some(c) = rest.chars().next() {
        let skip = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |at| at + 2),
            'r' if !out.ends_with(|before: char| before.is_alphanumeric() || before == '_') => raw_string(rest),
            '"' => quoted(rest),
            // A quote mark as a character, which opens no string.
            '\'' if rest.starts_with("'\"'") => 3,
            '\'' if rest.starts_with("'\\\"'") => 4,
            _ => 0,
        };
        match skip {
            0 => {
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
            skip => {
                out.extend(rest[..skip].chars().filter(|c| *c == '\n'));
                rest = &rest[skip..];
            }
        }
    }
    out
}

/// The length of the raw string that `rest` begins with; 0 when it begins with none.
fn raw_string(rest: &str) -> usize {
    let hashes = rest[1..].chars().take_while(|c| *c == '#').count();
    if !rest[1 + hashes..].starts_with('"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    let body = 2 + hashes;
    rest[body..].find(&end).map_or(rest.len(), |at| body + at + end.len())
}

/// The length of the string that `rest` begins with.
fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

#[test]
fn the_reading_of_source_leaves_code_and_takes_comments_and_strings() {
    let source = "a // unsafe\nb(\"unsafe \\\" unsafe\"); /* unsafe */ r#\"unsafe \" unsafe\"# 'x' '\"' unsafe {\n";
    assert_eq!(words(&code(source)).collect::<Vec<_>>(), ["a", "b", "x", "unsafe"]);
    assert_eq!(code(source).lines().count(), source.lines().count());
}
