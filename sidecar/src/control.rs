//! The control socket: one question a connection, answered in JSON, for who started the sidecar and its own uid alone.

pub mod about;
pub mod answers;
pub mod client;

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use self::answers::{Answer, Answers};

/// How many clients are served at once; one more waits in the kernel's queue.
const CLIENTS: usize = 8;
/// How long one client may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest question: of twenty IPv6 addresses whether they are permitted.
const QUESTION_BYTES: u64 = 1024;

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

/// Answers until the process ends.
pub async fn serve(listener: std::os::unix::net::UnixListener, uid: u32, answers: Answers) -> io::Result<()> {
    let listener = UnixListener::from_std(listener)?;
    let answers = Arc::new(answers);
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
        let answers = answers.clone();
        tokio::spawn(async move {
            // A client that went away, or said nothing sensible: its loss.
            let followed = tokio::time::timeout(PATIENCE, answer(stream, uid, &answers)).await;
            // Who follows has a place of another kind: how many may is bounded where they follow.
            drop(place);
            if let Ok(Ok(Some((stream, coming)))) = followed {
                let _ = follow(stream, coming).await;
            }
        });
    }
}

/// Answers; gives back the stream of a client that follows.
async fn answer(mut stream: UnixStream, uid: u32, answers: &Answers) -> io::Result<Option<(UnixStream, Coming)>> {
    let peer = stream.peer_cred()?.uid();
    let mut question = Vec::new();
    let (reader, mut writer) = stream.split();
    tokio::io::AsyncBufReadExt::read_until(&mut tokio::io::BufReader::new(reader.take(QUESTION_BYTES)), b'\n', &mut question).await?;
    // The question is read from anyone: a connection that ends with bytes unread is reset, and its client would not hear why.
    let answer = match peer == 0 || peer == uid {
        true => answers.to(String::from_utf8_lossy(&question).trim()).await,
        false => answers::error("only root and the sidecar's own uid may ask"),
    };
    let (lines, coming) = match answer {
        Answer::Whole(text) => (vec![text.into()], None),
        Answer::Lines(lines) => (lines, None),
        Answer::Following { following, marked } => {
            let mut kept = following.kept;
            kept.extend(marked.then(|| Arc::from("")));
            (kept, Some(following.coming))
        }
    };
    for line in lines {
        writer.write_all(line.as_bytes()).await?;
        writer.write_all(b"\n").await?;
    }
    Ok(coming.map(|coming| (stream, coming)))
}

type Coming = tokio::sync::mpsc::Receiver<Arc<str>>;

/// Hands on what comes, until the client goes or does not keep up.
async fn follow(mut stream: UnixStream, mut coming: Coming) -> io::Result<()> {
    loop {
        let mut gone = [0];
        tokio::select! {
            line = coming.recv() => {
                let Some(line) = line else { return Ok(()) };
                let written = async {
                    stream.write_all(line.as_bytes()).await?;
                    stream.write_all(b"\n").await
                };
                tokio::time::timeout(PATIENCE, written).await.map_err(io::Error::other)??;
            }
            // It has nothing more to say: what comes is its end.
            _ = stream.readable() => match stream.try_read(&mut gone) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                _ => return Ok(()),
            },
        }
    }
}
