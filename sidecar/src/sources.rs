//! The policy files of the pod as they are now: read whole, bounded, in a fixed order, with the hash people can compare.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use policies::Source;
use sha2::{Digest, Sha256};

use crate::bounded;

/// The most files that are read; a namespace with more has lost the overview too.
pub const MOST_FILES: usize = 256;
/// The largest file: what a ConfigMap can hold.
pub const LARGEST_FILE: u64 = 1 << 20;
/// The platform's own policy, in the environment that only the webhook sets.
pub const PLATFORM_VARIABLE: &str = "PORTREEVE_PLATFORM_POLICY";

/// Why the policy files could not be read. Nothing is taken in part: one unreadable file keeps the old generation.
#[derive(Debug, thiserror::Error)]
pub enum ReadPoliciesError {
    /// A directory or file could not be read.
    #[error("cannot read {path} as uid {uid} (a policy must be readable by that uid: chmod a+r)")]
    Read {
        /// Which.
        path: PathBuf,
        /// The uid of the worker.
        uid: u32,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Larger than a ConfigMap can be.
    #[error("{path} is larger than {LARGEST_FILE} bytes")]
    TooLarge {
        /// Which.
        path: PathBuf,
    },
    /// Not text.
    #[error("{path} is not UTF-8 text")]
    NotText {
        /// Which.
        path: PathBuf,
    },
    /// Too many files.
    #[error("more than {MOST_FILES} policy files below {}", dirs.iter().map(|d| d.display().to_string()).collect::<Vec<_>>().join(", "))]
    TooMany {
        /// Where.
        dirs: Vec<PathBuf>,
    },
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The files, by path, and the platform's text last.
    pub files: Vec<Source>,
    /// Directories that are not there (yet).
    pub missing: Vec<PathBuf>,
}

impl Sources {
    /// Reads every `*.toml` of the directories (or the file itself where a path is one) and the platform's text. A directory that
    /// is not there is noted, not an error: ConfigMap volumes are optional.
    pub fn read(dirs: &[PathBuf]) -> Result<Self, ReadPoliciesError> {
        let mut found = Self::read_paths(dirs)?;
        if let Some(text) = std::env::var_os(PLATFORM_VARIABLE) {
            let path = format!("${PLATFORM_VARIABLE}");
            // It only ever restricts: to leave it out because it cannot be read would open what it holds.
            let text = text.into_string().map_err(|_| ReadPoliciesError::NotText { path: PathBuf::from(&path) })?;
            found.files.push(Source::new(path, text));
        }
        Ok(found)
    }

    /// As [`Sources::read`], without the environment.
    pub fn read_paths(paths: &[PathBuf]) -> Result<Self, ReadPoliciesError> {
        let mut found = Sources::default();
        for path in paths {
            found.read_dir(path, paths)?;
        }
        Ok(found)
    }

    fn read_dir(&mut self, dir: &Path, dirs: &[PathBuf]) -> Result<(), ReadPoliciesError> {
        if dir.is_file() {
            return self.read_file(dir, dirs);
        }
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.missing.push(dir.to_owned());
                return Ok(());
            }
            Err(source) => return Err(unreadable(dir, source)),
        };
        let mut paths = Vec::new();
        for entry in entries {
            let path = entry.map_err(|source| unreadable(dir, source))?.path();
            // `..data` and the like are the kubelet's; editors leave dot files.
            let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
            if !hidden && path.extension().is_some_and(|ext| ext == "toml") {
                paths.push(path);
            }
        }
        paths.sort();
        paths.iter().try_for_each(|path| self.read_file(path, dirs))
    }

    fn read_file(&mut self, path: &Path, dirs: &[PathBuf]) -> Result<(), ReadPoliciesError> {
        if self.files.len() >= MOST_FILES {
            return Err(ReadPoliciesError::TooMany { dirs: dirs.to_vec() });
        }
        let file = bounded::open(path).map_err(|source| unreadable(path, source))?;
        let mut bytes = Vec::new();
        file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(|source| unreadable(path, source))?;
        if bytes.len() as u64 > LARGEST_FILE {
            return Err(ReadPoliciesError::TooLarge { path: path.to_owned() });
        }
        let text = String::from_utf8(bytes).map_err(|_| ReadPoliciesError::NotText { path: path.to_owned() })?;
        self.files.push(Source::new(path.display().to_string(), text));
        Ok(())
    }

    /// A fingerprint of everything read: the same again means nothing to do.
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for source in &self.files {
            for part in [&source.path, &source.text] {
                hash.update((part.len() as u64).to_le_bytes());
                hash.update(part);
            }
        }
        hash.finalize().into()
    }
}

/// The SHA-256 of a text in hexadecimal.
pub fn sha256(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unreadable(path: &Path, source: std::io::Error) -> ReadPoliciesError {
    ReadPoliciesError::Read { path: path.to_owned(), uid: nix::unistd::geteuid().as_raw(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_visible_toml_files_in_order() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.toml", "a.toml", ".hidden.toml", "notes.txt"] {
            fs::write(dir.path().join(name), "version = 1\n").unwrap();
        }
        let found = Sources::read(&[dir.path().to_owned(), dir.path().join("nowhere")]).unwrap();
        let names: Vec<_> = found.files.iter().map(|f| Path::new(&f.path).file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["a.toml", "b.toml"]);
        assert_eq!(found.missing.len(), 1);
    }

    #[test]
    fn a_file_that_is_too_large_or_no_text_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.toml"), vec![b'#'; LARGEST_FILE as usize + 1]).unwrap();
        assert!(matches!(Sources::read(&[dir.path().to_owned()]), Err(ReadPoliciesError::TooLarge { .. })));
        fs::write(dir.path().join("a.toml"), [0xff, 0xfe]).unwrap();
        assert!(matches!(Sources::read(&[dir.path().to_owned()]), Err(ReadPoliciesError::NotText { .. })));
    }

    #[test]
    fn the_hash_is_sha256sums() {
        assert_eq!(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
