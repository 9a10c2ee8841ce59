//! A world's files: gone with it, or swept by the next world when it was killed.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use tempfile::TempDir;

const PREFIX: &str = "portreeve-world-";
const LOCK: &str = "owner.lock";

/// A directory that every uid may enter, locked for as long as its world lives.
#[derive(Debug)]
pub struct Scratch {
    dir: TempDir,
    _lock: Flock<File>,
}

impl Scratch {
    /// Makes one below the system's temporary directory.
    ///
    /// # Panics
    /// When the file system refuses.
    #[must_use]
    pub fn new() -> Self {
        sweep();
        let dir = tempfile::Builder::new().prefix(PREFIX).tempdir().expect("a scratch directory");
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("mode of the scratch directory");
        let file = File::create(dir.path().join(LOCK)).expect("lock file");
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno).expect("own lock");
        Self { dir, _lock: lock }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A new directory in it with the mode given.
    ///
    /// # Panics
    /// When the file system refuses.
    #[must_use]
    pub fn make_dir(&self, name: &str, mode: u32) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::create_dir_all(&path).expect("directory in scratch");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("mode of a directory in scratch");
        path
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

/// Removes what killed tests left: an old directory whose lock nobody holds.
fn sweep() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        // A directory that is being made has no lock yet: leave the young alone.
        let old = entry.metadata().and_then(|m| m.modified()).ok().and_then(|at| at.elapsed().ok());
        if !ours || old.is_none_or(|age| age < Duration::from_secs(60)) {
            continue;
        }
        let Ok(file) = File::open(entry.path().join(LOCK)) else { continue };
        if Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok() {
            let _already_gone = fs::remove_dir_all(entry.path());
        }
    }
}
