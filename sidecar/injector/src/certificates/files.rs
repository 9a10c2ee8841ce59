//! Mounted files read as one state: never half of what was before a swap and half of what came with it.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// More than any certificate chain; a Secret as a whole has 1 MiB at the most.
const MOST_BYTES: u64 = 1024 * 1024;
/// A kubelet swaps once in a minute: two readings that agree come soon.
const TRIES: usize = 5;

/// Why files could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Not there, not permitted.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file that is no certificate, key or settings file.
    #[error("{} has more than 1 MiB", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// Written all the time.
    #[error("{} changes while it is read", path.display())]
    Restless {
        /// The first of the files.
        path: PathBuf,
    },
}

/// What each file holds, `None` for one that is not there; two readings in a row agreed.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<Option<Vec<u8>>>, ReadError> {
    let all = || paths.iter().map(|path| read_one(path)).collect::<Result<Vec<_>, _>>();
    let mut before = all()?;
    for _ in 0..TRIES {
        let now = all()?;
        if now == before {
            return Ok(now);
        }
        before = now;
    }
    Err(ReadError::Restless { path: paths.first().cloned().unwrap_or_default() })
}

fn read_one(path: &Path) -> Result<Option<Vec<u8>>, ReadError> {
    let failed = |source| ReadError::Read { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(ReadError::TooLong { path: path.to_owned() });
    }
    Ok(Some(bytes))
}
