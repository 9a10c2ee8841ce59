//! From here on the worker has its own uid, NET_ADMIN and nothing else, and no way back.
//!
//! The uid comes first among the things that let its upstream questions out (`meta skuid` is the uid at socket()), so this
//! runs before the first upstream socket is made.

use caps::{CapSet, Capability, CapsHashSet};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, getppid, setgroups, setresgid, setresuid};

/// Why the worker could not step down.
#[derive(Debug, thiserror::Error)]
pub enum DropPrivilegesError {
    /// Neither root nor the uid asked for.
    #[error("cannot become uid {wanted}: running as uid {has}, which has no right to (start as uid 0, or give --uid {has})")]
    NotRoot {
        /// The uid of `--uid`.
        wanted: u32,
        /// The uid the process has.
        has: u32,
    },
    /// setresuid and its kin refused.
    #[error("cannot become uid {wanted} (needs SETUID and SETGID; in a user namespace the uid must be mapped, or give --uid 0)")]
    Become {
        /// The uid of `--uid`.
        wanted: u32,
        /// What the kernel said.
        #[source]
        source: Errno,
    },
    /// The capability sets could not be changed.
    #[error("cannot keep NET_ADMIN alone (the container needs NET_ADMIN, and SETPCAP to empty its bounding set)")]
    Capabilities(#[source] caps::errors::CapsError),
    /// prctl refused.
    #[error("cannot set {what}")]
    Prctl {
        /// The attribute.
        what: &'static str,
        /// What the kernel said.
        #[source]
        source: Errno,
    },
    /// The supervisor died meanwhile.
    #[error("the supervisor is gone")]
    Orphaned,
}

/// Goes to `uid` with NET_ADMIN alone, an empty bounding set and no new privileges; dies with its parent from here on.
///
/// `uid` 0 stays root without the other capabilities.
pub fn drop_to(uid: u32) -> Result<(), DropPrivilegesError> {
    let parent = getppid();
    let has = Uid::effective();
    if has.as_raw() != uid && !has.is_root() {
        return Err(DropPrivilegesError::NotRoot { wanted: uid, has: has.as_raw() });
    }
    // While SETPCAP is still there. Without it (a container that was given NET_ADMIN alone) the set cannot be emptied;
    // no_new_privs below then is what keeps it from mattering.
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP).map_err(DropPrivilegesError::Capabilities)? {
        caps::clear(None, CapSet::Bounding).map_err(DropPrivilegesError::Capabilities)?;
    }
    if has.as_raw() != uid {
        become_uid(uid)?;
    }
    let only = CapsHashSet::from([Capability::CAP_NET_ADMIN]);
    caps::clear(None, CapSet::Inheritable).map_err(DropPrivilegesError::Capabilities)?;
    caps::set(None, CapSet::Effective, &only).map_err(DropPrivilegesError::Capabilities)?;
    caps::set(None, CapSet::Permitted, &only).map_err(DropPrivilegesError::Capabilities)?;
    prctl::set_no_new_privs().map_err(|source| DropPrivilegesError::Prctl { what: "no_new_privs", source })?;
    // Last: a change of credentials clears it.
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(|source| DropPrivilegesError::Prctl { what: "the parent-death signal", source })?;
    if getppid() != parent {
        return Err(DropPrivilegesError::Orphaned);
    }
    Ok(())
}

fn become_uid(uid: u32) -> Result<(), DropPrivilegesError> {
    let refused = |source| DropPrivilegesError::Become { wanted: uid, source };
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
    prctl::set_keepcaps(true).map_err(|source| DropPrivilegesError::Prctl { what: "keepcaps", source })?;
    setgroups(&[]).map_err(refused)?;
    setresgid(group, group, group).map_err(refused)?;
    setresuid(user, user, user).map_err(refused)?;
    prctl::set_keepcaps(false).map_err(|source| DropPrivilegesError::Prctl { what: "keepcaps", source })
}
