//! The control socket: one question a connection, one JSON answer, for who started the sidecar and its own uid alone.

pub mod client;

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

/// How many clients are served at once; one more waits in the kernel's queue.
const CLIENTS: usize = 8;
/// How long one client may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest question.
const QUESTION_BYTES: u64 = 256;

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum BindControlError {
    /// A file that is no socket is in the way.
    #[error("{path} is in the way: it is no socket (--control)")]
    InTheWay {
        /// Which file.
        path: PathBuf,
    },
    /// Binding failed.
    #[error("cannot listen on the control socket {path} (its directory must exist and be writable; --control)")]
    Bind {
        /// Which socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Binds the socket, in the place of one that an earlier worker left. Mode 0600, owned by who binds it: do it as root.
pub fn bind(path: &Path) -> Result<std::os::unix::net::UnixListener, BindControlError> {
    let failed = |source| BindControlError::Bind { path: path.to_owned(), source };
    match std::fs::symlink_metadata(path) {
        Ok(found) if !std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()) => {
            return Err(BindControlError::InTheWay { path: path.to_owned() });
        }
        Ok(_) => std::fs::remove_file(path).map_err(failed)?,
        Err(_) => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    Ok(listener)
}

/// Answers `status` with what `report` says, until the process ends.
pub async fn serve(
    listener: std::os::unix::net::UnixListener,
    uid: u32,
    report: impl Fn() -> String + Send + Sync + 'static,
) -> io::Result<()> {
    let listener = UnixListener::from_std(listener)?;
    let report = Arc::new(report);
    let places = Arc::new(Semaphore::new(CLIENTS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return Ok(()) };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, most likely: the next try may find one.
                tracing::warn!(%error, "cannot accept on the control socket");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let report = report.clone();
        tokio::spawn(async move {
            // A client that went away, or said nothing sensible: its loss.
            let _ = tokio::time::timeout(PATIENCE, answer(stream, uid, &*report)).await;
            drop(place);
        });
    }
}

async fn answer(mut stream: UnixStream, uid: u32, report: &(impl Fn() -> String + Sync)) -> io::Result<()> {
    let peer = stream.peer_cred()?.uid();
    let mut question = Vec::new();
    let (reader, mut writer) = stream.split();
    tokio::io::AsyncBufReadExt::read_until(&mut tokio::io::BufReader::new(reader.take(QUESTION_BYTES)), b'\n', &mut question).await?;
    // The question is read from anyone: a connection that ends with bytes unread is reset, and its client would not hear why.
    let answer = match question.trim_ascii() {
        _ if peer != 0 && peer != uid => "{\"error\":\"only root and the sidecar's own uid may ask\"}".to_owned(),
        b"status" => report(),
        _ => "{\"error\":\"the questions are: status\"}".to_owned(),
    };
    writer.write_all(answer.as_bytes()).await?;
    writer.write_all(b"\n").await
}
