//! Flow logs read back, also through what container runtimes put around each line; what is none of ours is passed over and counted.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Line, SCHEMA_VERSION};

/// The longest line; a longer one is none of ours.
const MOST_BYTES: u64 = 256 * 1024;

/// What was read beside the lines.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Passed {
    /// Lines of the log of flows.
    pub lines: u64,
    /// Lines that are something else.
    pub foreign: u64,
    /// Lines of a later version of the schema: what they say beyond this one is not seen.
    pub newer: u64,
}

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the flow log {path}")]
pub struct ReadLogError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Reads each line of each file; `-` is standard input.
///
/// # Errors
/// [`ReadLogError`].
pub fn each(paths: &[PathBuf], mut take: impl FnMut(Line)) -> Result<Passed, ReadLogError> {
    let mut passed = Passed::default();
    for path in paths {
        let failed = |source| ReadLogError { path: path.clone(), source };
        let mut reader: Box<dyn BufRead> = match path == Path::new("-") {
            true => Box::new(BufReader::new(io::stdin())),
            false => Box::new(BufReader::new(File::open(path).map_err(failed)?)),
        };
        let mut text = Vec::new();
        loop {
            text.clear();
            if reader.by_ref().take(MOST_BYTES).read_until(b'\n', &mut text).map_err(failed)? == 0 {
                break;
            }
            let line = std::str::from_utf8(&text).ok().map(str::trim).unwrap_or_default();
            match read(line) {
                Some(line) => {
                    passed.lines += 1;
                    passed.newer += u64::from(line.schema_version > SCHEMA_VERSION);
                    take(line);
                }
                None => passed.foreign += u64::from(!line.is_empty()),
            }
        }
    }
    Ok(passed)
}

/// The line inside what a container runtime made of it.
fn read(text: &str) -> Option<Line> {
    #[derive(Deserialize)]
    struct Docker {
        log: String,
    }
    if text.starts_with('{') {
        let ours = serde_json::from_str(text).ok();
        return ours.or_else(|| serde_json::from_str(serde_json::from_str::<Docker>(text).ok()?.log.trim()).ok());
    }
    // CRI: time, stream, F or P, line. Lines in several parts are longer than what is written here.
    let (_, rest) = text.split_once(' ')?;
    let (stream, rest) = rest.split_once(' ')?;
    let (whole, rest) = rest.split_once(' ')?;
    (matches!(stream, "stdout" | "stderr") && whole == "F").then(|| serde_json::from_str(rest).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_in_what_runtimes_make_of_them() {
        let line = r#"{"time":"2026-11-26T08:00:00.000Z","schema.version":1,"event.name":"portreeve.lost","lost.what":"questions","lost.why":"queue-full","lost.count":3}"#;
        let docker = format!("{{\"log\":{},\"stream\":\"stdout\"}}", serde_json::to_string(&format!("{line}\n")).unwrap());
        for wrapped in [line.to_owned(), format!("2026-11-26T08:00:00.1Z stdout F {line}"), docker] {
            assert!(read(&wrapped).is_some(), "{wrapped}");
        }
        for other in ["", "nonsense", "{}", "2026-11-26T08:00:00.1Z stdout P {\"a\":", "{\"log\":\"x\"}"] {
            assert!(read(other).is_none(), "{other}");
        }
    }
}
