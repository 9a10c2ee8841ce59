//! A test without the rights it needs fails, and its message is the command to type.

use nix::sched::{CloneFlags, unshare};

/// What an unprivileged person types: root in a user namespace of their own, with the sub-ids of /etc/subuid mapped so that
/// uid 1000 exists in it (package `uidmap`).
pub const UNPRIVILEGED: &str = "unshare --user --map-root-user --map-auto --net --mount -- cargo nextest run -p integration";

/// What root types.
pub const PRIVILEGED: &str = "sudo -E env PATH=\"$PATH\" cargo nextest run -p integration";

/// Checks that namespaces can be made.
///
/// # Panics
/// With both commands, when they cannot.
pub fn require() {
    let made = std::thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS))
        .join()
        .expect("the thread that tries a namespace");
    if let Err(errno) = made {
        panic!(
            "no network namespace can be made here ({errno}).\n\
             These tests need root, or a user namespace in which you are root. Type one of:\n\n    {PRIVILEGED}\n    {UNPRIVILEGED}\n\n\
             (the second needs the package uidmap and a line for you in /etc/subuid and /etc/subgid)"
        );
    }
    // Attacks and clients run as an ordinary user.
    require_uid(1000);
}

/// Whether uid 1000 exists here: in a user namespace without `--map-auto` only 0 does.
///
/// # Panics
/// With the command to type, when it does not.
pub fn require_uid(uid: u32) {
    let map = std::fs::read_to_string("/proc/self/uid_map").expect("/proc/self/uid_map");
    let mapped = map.lines().any(|line| {
        let mut words = line.split_whitespace().map(|word| word.parse::<u64>().unwrap_or(0));
        let (first, count) = (words.next().unwrap_or(0), words.nth(1).unwrap_or(0));
        (first..first + count).contains(&u64::from(uid))
    });
    assert!(mapped, "uid {uid} does not exist in this user namespace. Type:\n\n    {UNPRIVILEGED}\n");
}
