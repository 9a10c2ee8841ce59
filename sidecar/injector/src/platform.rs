//! The platform's own policy: one text that goes into every sidecar's environment, and that no namespace can change.

use policies::{PolicyFile, Problems, Source};

/// The most bytes of it. It is in the environment of every sidecar; execve(2) takes 128 KiB for one variable.
pub const MOST_BYTES: usize = 64 << 10;

/// What reports call it.
const PATH: &str = "platform policy";

/// Why the platform's text is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ReadPlatformError {
    /// More than [`MOST_BYTES`].
    #[error("the platform's policy has {bytes} bytes, of at most {MOST_BYTES}: it is in the environment of every sidecar")]
    TooLarge {
        /// How many.
        bytes: usize,
    },
    /// A NUL, which no environment variable holds.
    #[error("the platform's policy holds a NUL byte, which no environment variable can")]
    Nul,
    /// It has errors; each is drawn under its line.
    #[error("{0}")]
    Problems(Problems),
}

/// The platform's policy, free of errors; or none.
#[derive(Debug, Clone, Default)]
pub struct Platform {
    text: String,
    file: Option<PolicyFile>,
}

impl Platform {
    /// Takes the text of the ConfigMap that only the injector mounts. Nothing but blanks is no policy.
    ///
    /// # Errors
    /// [`ReadPlatformError`]; the text that was in force before should stay.
    pub fn parse(text: &str) -> Result<Self, ReadPlatformError> {
        if text.len() > MOST_BYTES {
            return Err(ReadPlatformError::TooLarge { bytes: text.len() });
        }
        if text.contains('\0') {
            return Err(ReadPlatformError::Nul);
        }
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let parsed = policies::parse(&Source::new(PATH, text));
        if parsed.problems.has_errors() {
            return Err(ReadPlatformError::Problems(parsed.problems));
        }
        Ok(Self { text: text.to_owned(), file: parsed.file })
    }

    /// The text, empty where there is none.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The policy in it.
    pub fn file(&self) -> Option<&PolicyFile> {
        self.file.as_ref()
    }

    /// The text as the value of a variable in a container: the kubelet reads `$(NAME)` and `$$` in it, so each `$` is doubled.
    pub(crate) fn as_value(&self) -> String {
        self.text.replace('$', "$$")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_bounds() {
        assert!(Platform::parse("  \n").unwrap().text().is_empty());
        assert!(matches!(Platform::parse(&"#".repeat(MOST_BYTES + 1)), Err(ReadPlatformError::TooLarge { .. })));
        assert!(matches!(Platform::parse("version = 1\n#\0"), Err(ReadPlatformError::Nul)));
        let error = Platform::parse("version = 1\nname = \"p\"\nplatfrom = true\n").unwrap_err().to_string();
        assert!(error.contains("platform policy:3"), "{error}");
    }
}
