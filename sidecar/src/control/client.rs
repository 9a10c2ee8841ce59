//! The asking side of the control socket: `portreeve status` says in one line, or in JSON, how the running sidecar is.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cli::StatusArgs;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::status::Status;

/// The longest answer that is read.
const ANSWER_BYTES: u64 = 1 << 20;

/// Why the sidecar could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody listens.
    #[error("no sidecar answers at {path} (is `portreeve run` up, with the same --control?)")]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The talk broke off.
    #[error("the sidecar at {path} did not answer")]
    Talk {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The answer is not a status.
    #[error("the sidecar's answer is not understood (is it another version?): {answer}")]
    NotUnderstood {
        /// What it said, shortened.
        answer: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

/// `portreeve status`: exit 0 if ready or if readiness was not asked for.
pub fn print_status(args: &StatusArgs) -> Result<Exit, Failure> {
    let status = match ask(&args.control) {
        Ok(status) => status,
        // A startup probe asks before the socket is there: that is "not ready", in one line.
        Err(error) if args.ready => {
            output::line(&format!("not ready: {}", crate::exit::chain(&error)))?;
            return Ok(Exit::Refused);
        }
        Err(error) => return Err(Failure::usage(error)),
    };
    if args.json {
        output::json(&status)?;
    } else {
        output::line(&status.to_string())?;
    }
    Ok(if args.ready && !status.ready { Exit::Refused } else { Exit::Success })
}

fn ask(path: &Path) -> Result<Status, AskError> {
    let talk = |source| AskError::Talk { path: path.to_owned(), source };
    let mut stream = UnixStream::connect(path).map_err(|source| AskError::Connect { path: path.to_owned(), source })?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).map_err(talk)?;
    stream.set_write_timeout(Some(Duration::from_secs(2))).map_err(talk)?;
    stream.write_all(b"status\n").map_err(talk)?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES).read_to_string(&mut answer).map_err(talk)?;
    serde_json::from_str(&answer).map_err(|source| AskError::NotUnderstood { answer: shortened(&answer), source })
}

/// The beginning of a text, on one line and without what a terminal would obey.
fn shortened(text: &str) -> String {
    text.trim_end().chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
