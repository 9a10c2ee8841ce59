//! What answers go by, settings and the platform's policy: read at the start and again when a file changes; a broken one changes nothing.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::metrics::SETTINGS;
use super::{Review, Reviewers, Shared};
use crate::certificates::{ReadError, read_files};
use crate::exit::chain;
use crate::settings::Settings;

/// Why the settings are not used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file.
    #[error("the file cannot be read")]
    Read(#[source] ReadError),
    /// It was named, and is not there.
    #[error("{} is missing", .0.display())]
    Missing(PathBuf),
    /// Not even text.
    #[error("{} is not UTF-8", .0.display())]
    NoText(PathBuf),
    /// A wrong key or value.
    #[error("{} is wrong", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What, under its line.
        #[source]
        source: toml::de::Error,
    },
    /// What the one who answers says of them.
    #[error("they cannot be used")]
    Use(#[source] Box<dyn Error + Send + Sync>),
}

/// The files, and what was in them last.
pub(super) struct Watched {
    settings: Option<PathBuf>,
    platform: Option<PathBuf>,
    content: Content,
    /// What is wrong with what is there now, as it was told.
    told: Option<String>,
    reviewers: Reviewers,
}

/// Of the settings, and of the platform's policy.
type Content = [Option<Vec<u8>>; 2];

impl Watched {
    /// Reads the files and makes the first reviewer.
    pub(super) fn start(
        settings: Option<PathBuf>,
        platform: Option<PathBuf>,
        reviewers: Reviewers,
    ) -> Result<(Self, Box<dyn Review>), SettingsError> {
        let mut watched = Watched { settings, platform, content: [None, None], told: None, reviewers };
        watched.content = watched.read()?;
        let first = watched.make(&watched.content)?;
        Ok((watched, first))
    }

    /// The reviewer for what changed, if anything did.
    fn look(&mut self) -> Result<Option<Box<dyn Review>>, SettingsError> {
        let content = self.read()?;
        if content == self.content {
            return Ok(None);
        }
        let reviewer = self.make(&content)?;
        self.content = content;
        Ok(Some(reviewer))
    }

    fn read(&self) -> Result<Content, SettingsError> {
        let one = |path: &Option<PathBuf>| -> Result<Option<Vec<u8>>, SettingsError> {
            let paths: Vec<_> = path.iter().cloned().collect();
            Ok(read_files(&paths).map_err(SettingsError::Read)?.into_iter().next().flatten())
        };
        Ok([one(&self.settings)?, one(&self.platform)?])
    }

    fn make(&self, [settings, platform]: &Content) -> Result<Box<dyn Review>, SettingsError> {
        let settings = match &self.settings {
            None => Settings::default(),
            // A file that was named must be there: strictness must not hang on a mount that failed.
            Some(path) => {
                let content = settings.as_deref().ok_or_else(|| SettingsError::Missing(path.clone()))?;
                Settings::parse(text(path, content)?).map_err(|source| SettingsError::Parse { path: path.clone(), source })?
            }
        };
        let platform = match (&self.platform, platform) {
            (Some(path), Some(content)) => Some(text(path, content)?.to_owned()),
            _ => None,
        };
        (self.reviewers)(settings, platform).map_err(SettingsError::Use)
    }
}

/// Looks for ever.
pub(super) async fn keep(mut watched: Watched, shared: Arc<Shared>, every: Duration) {
    let metrics = &shared.metrics;
    loop {
        tokio::time::sleep(every).await;
        let text = match watched.look() {
            Ok(None) => None,
            Ok(Some(reviewer)) => {
                shared.reviewer.store(Arc::new(reviewer));
                tracing::info!("the changed settings are in force");
                None
            }
            Err(error) => Some(chain(&error)),
        };
        metrics.reload_failing.with_label_values(&[SETTINGS]).set(text.is_some().into());
        // Once, not at each look.
        if let Some(text) = text.as_ref().filter(|_| text != watched.told) {
            metrics.reloads_failed.with_label_values(&[SETTINGS]).inc();
            tracing::error!(error = %text, "cannot use the changed settings: those before stay");
        }
        watched.told = text;
    }
}

fn text<'a>(path: &Path, content: &'a [u8]) -> Result<&'a str, SettingsError> {
    std::str::from_utf8(content).map_err(|_| SettingsError::NoText(path.to_owned()))
}
