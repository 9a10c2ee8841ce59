//! A policy directory, written as kubelet writes a ConfigMap volume or as a person does.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of TOML files.
#[derive(Debug)]
pub struct PolicyDir {
    path: PathBuf,
    style: Style,
    generation: AtomicU32,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Style {
    ConfigMap,
    Plain,
}

impl PolicyDir {
    /// As a ConfigMap volume: the files are links to `..data/FILE`, and `..data` is a link that is swapped by rename.
    #[must_use]
    pub fn config_map(path: PathBuf) -> Self {
        Self::make(path, Style::ConfigMap)
    }

    /// Ordinary files.
    #[must_use]
    pub fn plain(path: PathBuf) -> Self {
        Self::make(path, Style::Plain)
    }

    fn make(path: PathBuf, style: Style) -> Self {
        fs::create_dir_all(&path).expect("policy directory");
        Self { path, style, generation: AtomicU32::new(0) }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the whole content by these (file name, text): by one swap, or file by file.
    ///
    /// # Panics
    /// When the file system refuses.
    pub fn replace<N: AsRef<str>, T: AsRef<str>>(&self, files: &[(N, T)]) {
        match self.style {
            Style::ConfigMap => self.swap(files),
            Style::Plain => {
                self.remove_all_but(files);
                for (name, text) in files {
                    self.overwrite(name.as_ref(), text.as_ref());
                }
            }
        }
    }

    /// Writes one file in place, not atomically, as an editor may.
    ///
    /// # Panics
    /// When the file system refuses.
    pub fn overwrite(&self, name: &str, text: &str) {
        fs::write(self.path.join(name), text).expect("policy file");
    }

    /// The steps of kubelet's atomic writer: a new dated directory, `..data_tmp`, rename over `..data`, then the visible links.
    fn swap<N: AsRef<str>, T: AsRef<str>>(&self, files: &[(N, T)]) {
        let generation = self.generation.fetch_add(1, Ordering::Relaxed);
        let dated = format!("..2026_01_01_00_00_00.{generation:09}");
        let old = fs::read_link(self.path.join("..data")).ok();
        fs::create_dir(self.path.join(&dated)).expect("dated directory");
        for (name, text) in files {
            fs::write(self.path.join(&dated).join(name.as_ref()), text.as_ref()).expect("policy file");
        }
        let new_link = self.path.join("..data_tmp");
        symlink(&dated, &new_link).expect("..data_tmp");
        fs::rename(&new_link, self.path.join("..data")).expect("swap of ..data");
        for (name, _) in files {
            let visible = self.path.join(name.as_ref());
            if fs::symlink_metadata(&visible).is_err() {
                symlink(Path::new("..data").join(name.as_ref()), &visible).expect("visible link");
            }
        }
        self.remove_all_but(files);
        if let Some(old) = old {
            fs::remove_dir_all(self.path.join(old)).expect("old directory");
        }
    }

    fn remove_all_but<N: AsRef<str>, T>(&self, files: &[(N, T)]) {
        for entry in fs::read_dir(&self.path).expect("policy directory").flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if !name.starts_with("..") && !files.iter().any(|(kept, _)| kept.as_ref() == name) {
                fs::remove_file(entry.path()).expect("policy file");
            }
        }
    }
}
