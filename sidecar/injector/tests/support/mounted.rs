//! Files as the kubelet mounts a Secret or a ConfigMap: links through `..data`, which a change turns as a whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Changes files at once as the kubelet does: a new directory, and the link `..data` turned to it. Other files stay.
pub(crate) fn swap(dir: &Path, files: &[(&str, Option<&str>)]) {
    let (data, old) = (dir.join("..data"), fs::read_link(dir.join("..data")).ok());
    let new = PathBuf::from(format!("..{}", SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos()));
    fs::create_dir(dir.join(&new)).unwrap();
    for entry in old.iter().flat_map(|old| fs::read_dir(dir.join(old)).unwrap()) {
        let path = entry.unwrap().path();
        fs::copy(&path, dir.join(&new).join(path.file_name().unwrap())).unwrap();
    }
    for (name, text) in files {
        let (inside, link) = (dir.join(&new).join(name), dir.join(name));
        match text {
            Some(text) => fs::write(inside, text).unwrap(),
            None => fs::remove_file(inside).unwrap(),
        }
        if text.is_some() && !link.is_symlink() {
            std::os::unix::fs::symlink(Path::new("..data").join(name), link).unwrap();
        }
    }
    std::os::unix::fs::symlink(&new, dir.join("..data_tmp")).unwrap();
    fs::rename(dir.join("..data_tmp"), data).unwrap();
    if let Some(old) = old {
        fs::remove_dir_all(dir.join(old)).unwrap();
    }
}
