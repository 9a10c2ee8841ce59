//! The pod's resolvers follow resolv.conf: what is read is taken whole or not at all, and a file that names nobody changes nothing.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::surroundings::{ReadSurroundingsError, ResolvConf};

/// Why a changed resolv.conf is not followed. What was in force stays.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FollowResolvConfError {
    /// It cannot be read or understood.
    #[error("the resolvers stay as they are: {0}")]
    Read(String),
    /// It says something else than at the first start, which counts.
    #[error("{} says something else than when the pod started, which is not followed: some container of the pod has written it", .0.display())]
    Kept(PathBuf),
    /// It names nobody to ask.
    #[error("the resolvers stay as they are: {} names none", .0.display())]
    NoNameserver(PathBuf),
}

/// resolv.conf, as it was followed last.
#[derive(Debug)]
pub struct ResolverFile {
    path: PathBuf,
    /// The resolvers came from the command line: of the file only the search list counts.
    given: bool,
    /// What was said first counts: a change is told and not followed.
    kept: bool,
    in_force: ResolvConf,
    /// The last complaint: said once, not at every look.
    complaint: Option<FollowResolvConfError>,
    /// What told the file from others when it was looked at last; `Some(None)`: it was not there.
    stamp: Option<Option<Stamp>>,
}

/// Device, inode, size, and the time of the last change in seconds and nanoseconds.
type Stamp = (u64, u64, u64, i64, i64);

impl ResolverFile {
    /// Follows `path`, of which `in_force` was read at the start. `given`: the resolvers are the command line's, whatever it says.
    pub fn new(path: PathBuf, given: bool, in_force: ResolvConf) -> Self {
        ResolverFile { path, given, kept: false, in_force, complaint: None, stamp: None }
    }

    /// Looks at `path` to tell that it was changed: `first` is what was read before any app ran, and stays.
    pub fn kept(path: PathBuf, first: ResolvConf) -> Self {
        ResolverFile { path, given: false, kept: true, in_force: first, complaint: None, stamp: None }
    }

    /// Whether the file may say something else than at the last look: written in place, renamed over or mounted anew. Cheap, as it is asked
    /// every second; inotify would wake us for every look-up in the pod, since each opens this very file.
    pub fn may_have_changed(&mut self) -> bool {
        let stamp = std::fs::metadata(&self.path).ok().map(|file| (file.dev(), file.ino(), file.size(), file.mtime(), file.mtime_nsec()));
        self.stamp.replace(stamp) != Some(stamp)
    }

    /// What was read could not be put in force: the next look reads it again.
    pub fn look_again(&mut self) {
        self.stamp = None;
    }

    /// Reads the file. `None`: it says what is in force, or the same error as last time.
    pub fn look(&mut self) -> Option<Result<ResolvConf, FollowResolvConfError>> {
        let found = self.read();
        let complaint = found.as_ref().err().cloned();
        let said = complaint.is_some() && self.complaint == complaint;
        self.complaint = complaint;
        match found {
            Ok(found) if self.counts(&found) == self.counts(&self.in_force) => None,
            Err(_) if said => None,
            found => Some(found),
        }
    }

    /// The resolvers that follow from what was read; `None`: those of the command line stay.
    pub fn upstreams(&self, conf: &ResolvConf) -> Option<Vec<SocketAddr>> {
        (!self.given).then(|| conf.nameservers.clone())
    }

    /// It is in force now. Until this is called, each look gives it again.
    pub fn took(&mut self, conf: ResolvConf) {
        self.in_force = conf;
    }

    fn read(&self) -> Result<ResolvConf, FollowResolvConfError> {
        let told = |error: ReadSurroundingsError| FollowResolvConfError::Read(crate::exit::chain(&error));
        let conf = ResolvConf::read(&self.path).map_err(told)?;
        if self.kept && conf != self.in_force {
            return Err(FollowResolvConfError::Kept(self.path.clone()));
        }
        match conf.nameservers.is_empty() && !self.given {
            true => Err(FollowResolvConfError::NoNameserver(self.path.clone())),
            false => Ok(conf),
        }
    }

    /// What of it has consequences.
    fn counts(&self, conf: &ResolvConf) -> ResolvConf {
        let nameservers = self.upstreams(conf).unwrap_or_default();
        ResolvConf { nameservers, search: conf.search.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Scene {
        _directory: tempfile::TempDir,
        path: PathBuf,
        file: ResolverFile,
    }

    fn scene(given: bool) -> Scene {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("resolv.conf");
        std::fs::write(&path, "nameserver 10.96.0.10\nsearch a.example\n").unwrap();
        let file = ResolverFile::new(path.clone(), given, ResolvConf::read(&path).unwrap());
        Scene { _directory: directory, path, file }
    }

    impl Scene {
        fn write(&self, text: &str) {
            std::fs::write(&self.path, text).unwrap();
        }

        fn rename_over(&self, text: &str) {
            let other = self.path.with_extension("new");
            std::fs::write(&other, text).unwrap();
            std::fs::rename(other, &self.path).unwrap();
        }
    }

    #[test]
    fn a_change_is_given_until_it_is_taken() {
        let mut scene = scene(false);
        assert_eq!(scene.file.look(), None);
        for (renamed, text, wanted) in [(false, "nameserver 10.96.0.11", "10.96.0.11:53"), (true, "nameserver fd00::53", "[fd00::53]:53")] {
            if renamed {
                scene.rename_over(text)
            } else {
                scene.write(text)
            }
            let found = scene.file.look().unwrap().unwrap();
            assert_eq!(scene.file.upstreams(&found), Some(vec![wanted.parse().unwrap()]));
            assert_eq!(scene.file.look(), Some(Ok(found.clone())));
            scene.file.took(found);
            assert_eq!(scene.file.look(), None);
        }
        // A comment has no consequences.
        scene.write("# by hand\nnameserver fd00::53\noptions ndots:5\n");
        assert_eq!(scene.file.look(), None);
    }

    #[test]
    fn what_is_empty_broken_or_gone_changes_nothing_and_is_said_once() {
        let mut scene = scene(false);
        for text in ["", "search b.example\n", "nameserver nobody\n", "\u{0}\u{1}"] {
            scene.write(text);
            assert!(matches!(scene.file.look(), Some(Err(_))), "{text:?}");
            assert_eq!(scene.file.look(), None, "{text:?}");
            scene.write("nameserver 10.96.0.10\nsearch a.example\n");
            assert_eq!(scene.file.look(), None);
        }
        std::fs::remove_file(&scene.path).unwrap();
        assert!(matches!(scene.file.look(), Some(Err(FollowResolvConfError::Read(_)))));
        assert_eq!(scene.file.look(), None);
        // Back, and then gone again: said again.
        scene.write("nameserver 10.96.0.10\nsearch a.example\n");
        assert_eq!(scene.file.look(), None);
        std::fs::remove_file(&scene.path).unwrap();
        assert!(scene.file.look().is_some());
    }

    #[test]
    fn of_resolvers_that_were_given_only_the_search_list_is_followed() {
        let mut scene = scene(true);
        scene.write("nameserver 10.96.0.99\nsearch a.example\n");
        assert_eq!(scene.file.look(), None);
        scene.write("search b.example\n");
        let found = scene.file.look().unwrap().unwrap();
        assert_eq!((scene.file.upstreams(&found), found.search.len()), (None, 1));
    }

    #[test]
    fn of_what_was_kept_a_change_is_told_once_and_never_followed() {
        let mut scene = scene(false);
        scene.file = ResolverFile::kept(scene.path.clone(), ResolvConf::read(&scene.path).unwrap());
        assert_eq!(scene.file.look(), None);
        for text in ["nameserver 203.0.113.9\nsearch a.example\n", "nameserver 10.96.0.10\nsearch svc.evil.example\n", "search a.example\n"]
        {
            scene.write(text);
            assert_eq!(scene.file.look(), Some(Err(FollowResolvConfError::Kept(scene.path.clone()))), "{text:?}");
            assert_eq!(scene.file.look(), None, "{text:?}");
            scene.write("nameserver 10.96.0.10\nsearch a.example\n");
            assert_eq!(scene.file.look(), None);
        }
    }

    #[test]
    fn a_file_that_may_say_something_else_is_noticed_once() {
        let mut scene = scene(false);
        assert!(scene.file.may_have_changed(), "never looked at");
        assert!(!scene.file.may_have_changed());
        scene.write("nameserver 10.96.0.11\nsearch a.example\n# longer\n");
        assert!(scene.file.may_have_changed() && !scene.file.may_have_changed());
        scene.rename_over("nameserver 10.96.0.12\n");
        assert!(scene.file.may_have_changed() && !scene.file.may_have_changed());
        std::fs::remove_file(&scene.path).unwrap();
        assert!(scene.file.may_have_changed() && !scene.file.may_have_changed());
    }
}
