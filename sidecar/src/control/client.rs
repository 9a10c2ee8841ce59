//! The asking side of the control socket, and `portreeve status`: in one line, or in JSON, how the running sidecar is.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::answers::UNKNOWN;
use crate::ask::status::render;
use crate::cli::StatusArgs;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::status::Status;

/// The longest answer that is read: 32,768 leases are some eight mebibytes.
const ANSWER_BYTES: u64 = 32 << 20;
/// How long the sidecar may take.
const PATIENCE: Duration = Duration::from_secs(2);

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
    /// The sidecar does not know the question.
    #[error("the running sidecar is another version: it does not know this question (use the portreeve of the sidecar's own image)")]
    Unknown,
    /// The sidecar could not answer.
    #[error("the sidecar says: {0}")]
    Said(String),
    /// The answer is not what was asked for.
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
    let status: Status = match ask(&args.control, "status") {
        Ok(status) => status,
        // A startup probe asks before the socket is there: that is "not ready", in one line.
        Err(error) if args.ready => {
            output::line(&format!("not ready: {}", crate::exit::chain(&error)))?;
            return Ok(Exit::Refused);
        }
        Err(error) => return Err(Failure::usage(error)),
    };
    match (args.json, args.ready) {
        (true, _) => output::json(&status)?,
        // A startup probe's output becomes an Event, which is one line.
        (false, true) => output::line(&status.to_string())?,
        (false, false) => output::people(&render(&status))?,
    }
    Ok(if args.ready && !status.ready { Exit::Refused } else { Exit::Success })
}

/// Asks a question that has one object for an answer.
pub fn ask<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, AskError> {
    let stream = question(path, text, Some(PATIENCE))?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES).read_to_string(&mut answer).map_err(|source| AskError::Talk { path: path.to_owned(), source })?;
    understood(&answer)
}

/// Asks; the answer is to be read from the stream. Without `patience` it may take for ever.
pub fn question(path: &Path, text: &str, patience: Option<Duration>) -> Result<UnixStream, AskError> {
    let talk = |source| AskError::Talk { path: path.to_owned(), source };
    let mut stream = UnixStream::connect(path).map_err(|source| AskError::Connect { path: path.to_owned(), source })?;
    stream.set_read_timeout(patience).map_err(talk)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(talk)?;
    stream.write_all(format!("{text}\n").as_bytes()).map_err(talk)?;
    Ok(stream)
}

/// An object of an answer.
pub fn understood<T: DeserializeOwned>(answer: &str) -> Result<T, AskError> {
    if let Ok(Complaint { error }) = serde_json::from_str(answer) {
        return Err(if error.starts_with(UNKNOWN) { AskError::Unknown } else { AskError::Said(shortened(&error)) });
    }
    serde_json::from_str(answer).map_err(|source| AskError::NotUnderstood { answer: shortened(answer), source })
}

#[derive(Deserialize)]
struct Complaint {
    error: String,
}

/// The beginning of a text, on one line and without what a terminal would obey.
fn shortened(text: &str) -> String {
    text.trim_end().chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
