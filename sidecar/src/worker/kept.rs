//! resolv.conf as it was at the pod's first start: a container of the pod that can write the file does not choose whom the sidecar believes.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use crate::bounded;
use crate::surroundings::{MOST_BYTES, ReadSurroundingsError, ResolvConf};

/// Why there is nobody to ask.
#[derive(Debug, thiserror::Error)]
pub enum KeepResolvConfError {
    /// The pod's file, or the one that was kept.
    #[error(transparent)]
    Read(ReadSurroundingsError),
    /// What was kept is there and cannot be read.
    #[error("cannot read {path}, where resolv.conf may have been kept (--kept-resolv-conf)")]
    Reread {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It could not be kept: a later start would believe what is written by then.
    #[error("cannot keep resolv.conf in {path} (--kept-resolv-conf)")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What was kept of this network namespace, else what `resolv_conf` says, which is kept now.
///
/// Runtimes mount one file into every container of a pod, writable for its root: what it says before any app has started is the kubelet's,
/// and what it says later may be an app's. A restart of the sidecar comes later.
pub(super) fn read(resolv_conf: &Path, kept: &Path) -> Result<ResolvConf, KeepResolvConfError> {
    let head = head();
    let first = match bounded::read(kept, MOST_BYTES) {
        Ok(text) => Some(text),
        Err(source) if source.kind() == io::ErrorKind::NotFound => None,
        // It may have been kept: then what the file says now is not to be believed.
        Err(source) => return Err(KeepResolvConfError::Reread { path: kept.to_owned(), source }),
    };
    if let Some(text) = first.filter(|text| text.starts_with(head.as_bytes())) {
        return ResolvConf::parse(kept, &text).map_err(KeepResolvConfError::Read);
    }
    let text = ResolvConf::text(resolv_conf).map_err(KeepResolvConfError::Read)?;
    let conf = ResolvConf::parse(resolv_conf, &text).map_err(KeepResolvConfError::Read)?;
    if conf.nameservers.is_empty() {
        // The next start may find somebody to ask.
        return Ok(conf);
    }
    keep(kept, &[head.as_bytes(), &text].concat()).map_err(|source| KeepResolvConfError::Write { path: kept.to_owned(), source })?;
    Ok(conf)
}

/// Whole or not at all.
fn keep(path: &Path, text: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o644).custom_flags(OFlag::O_NOFOLLOW.bits());
    options.open(&new)?.write_all(text)?;
    std::fs::rename(new, path)
}

/// A comment that says of which network namespace of which boot it is: of another pod, or of this one's next sandbox, it would be wrong.
fn head() -> String {
    let namespace = std::fs::read_link("/proc/self/ns/net").unwrap_or_default();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    format!("# as it was first in {} of boot {}\n", namespace.display(), boot.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_counts_and_that_of_another_pod_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let (file, kept) = (dir.path().join("resolv.conf"), dir.path().join("kept"));
        let asked = || read(&file, &kept).unwrap().nameservers.iter().map(ToString::to_string).collect::<Vec<_>>();
        std::fs::write(&file, "nameserver 10.96.0.10\nsearch a.example\n").unwrap();
        assert_eq!(asked(), ["10.96.0.10:53"]);
        for text in ["nameserver 203.0.113.9\n", "", "\u{0}"] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(asked(), ["10.96.0.10:53"], "{text:?}");
        }
        assert_eq!(read(&file, &kept).unwrap().search.len(), 1);
        std::fs::write(&file, "nameserver 10.96.0.11\n").unwrap();
        for other in ["# as it was first in net:[1] of boot x\nnameserver 203.0.113.9\n", "nameserver 203.0.113.9\n", ""] {
            std::fs::write(&kept, other).unwrap();
            assert_eq!(asked(), ["10.96.0.11:53"], "{other:?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_kept_and_what_cannot_be_kept_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let (file, kept) = (dir.path().join("resolv.conf"), dir.path().join("kept"));
        std::fs::write(&file, "nameserver nobody\n").unwrap();
        assert!(matches!(read(&file, &kept), Err(KeepResolvConfError::Read(_))));
        std::fs::write(&file, "search a.example\n").unwrap();
        assert_eq!(read(&file, &kept).unwrap().search.len(), 1);
        assert!(!kept.exists());
        std::fs::write(&file, "nameserver 10.96.0.10\n").unwrap();
        std::fs::create_dir(&kept).unwrap();
        assert!(matches!(read(&file, &kept), Err(KeepResolvConfError::Reread { .. })), "what may have been kept and cannot be read");
        let nowhere = dir.path().join("nowhere/kept");
        assert!(matches!(read(&file, &nowhere), Err(KeepResolvConfError::Write { .. })));
    }
}
