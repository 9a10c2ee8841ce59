//! The metrics port: `/metrics`, `/readyz` and `/livez` over HTTP/1.1, one request a connection, a few at a time and never for long.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::Metrics;
use super::places::{Client, Places};
use crate::worker::report::Report;

/// From accepting to the last byte.
const PATIENCE: Duration = Duration::from_secs(5);
/// Of these, until the head of the request is whole: who scrapes or probes sends it at once.
const HEAD: Duration = Duration::from_secs(1);
/// The longest head of a request.
const HEAD_BYTES: usize = 8 * 1024;

/// Why there is no metrics port.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve metrics on {address} (--metrics)")]
pub struct BindMetricsError {
    address: SocketAddr,
    #[source]
    source: io::Error,
}

/// The address of the port; a port that the kernel would choose is none that a scrape could find.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() == 0 => Err("port 0 would be another one at every start: name the port that is scraped".to_owned()),
        other => other.map_err(|error| error.to_string()),
    }
}

/// Binds the port.
///
/// # Errors
/// [`BindMetricsError`].
pub fn bind(address: SocketAddr) -> Result<StdListener, BindMetricsError> {
    let bound = StdListener::bind(address).and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
    bound.map_err(|source| BindMetricsError { address, source })
}

/// Serves until the process ends.
///
/// # Errors
/// The event loop does not take the socket.
pub async fn serve(listener: StdListener, metrics: Metrics, report: Report) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let mut places = Places::default();
    let pages = Pages { metrics, report, one: Arc::new(Semaphore::new(1)) };
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Ok(own) = stream.local_addr() else { continue };
        let client = Client::new(peer.ip(), own.ip());
        places.make_room(client);
        let pages = pages.clone();
        let task = tokio::spawn(async move {
            // Who is slow or talks nonsense: his loss.
            let _ = tokio::time::timeout(PATIENCE, talk(stream, pages)).await;
        });
        places.take(client, task.abort_handle());
    }
}

async fn talk(mut stream: TcpStream, pages: Pages) -> io::Result<()> {
    let reply = match tokio::time::timeout(HEAD, listen(&mut stream)).await {
        Ok(Ok(Some(request))) => answer(request, pages).await,
        Ok(Ok(None)) | Err(_) => return Ok(()),
        Ok(Err(error)) => return Err(error),
    };
    stream.write_all(&reply).await?;
    stream.shutdown().await?;
    // What is unread when a socket closes would reset the connection, and the answer with it.
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// What is asked; `None` where somebody just left.
async fn listen(stream: &mut TcpStream) -> io::Result<Option<Request>> {
    let mut head = Vec::with_capacity(1024);
    loop {
        let read = stream.read_buf(&mut head).await?;
        match parse(&head) {
            Some(request) => return Ok(Some(request)),
            None if read == 0 => return Ok(None),
            None if head.len() > HEAD_BYTES => return Ok(Some(Request::TooLarge)),
            None => {}
        }
    }
}

/// What pages are made of, one at a time: who asks in a hurry gets no more than one thread to work for him.
#[derive(Debug, Clone)]
struct Pages {
    metrics: Metrics,
    report: Report,
    one: Arc<Semaphore>,
}

async fn answer(request: Request, pages: Pages) -> Vec<u8> {
    let (path, body) = match request {
        Request::TooLarge => return reply("431 Request Header Fields Too Large", "the head is too long\n", true),
        Request::Broken => return reply("400 Bad Request", "this is no HTTP/1 request\n", true),
        Request::OtherMethod => return reply("405 Method Not Allowed", "GET and HEAD alone\n", true),
        Request::Get { path, body } => (path, body),
    };
    // The status waits for the end of a round of the resolver's: the thread of all else does not wait along.
    let status = async |page: fn(&Metrics, &Report) -> (&'static str, String)| {
        let turn = Arc::clone(&pages.one).acquire_owned().await;
        let made = tokio::task::spawn_blocking(move || {
            let made = page(&pages.metrics, &pages.report);
            drop(turn);
            made
        });
        let made = made.await;
        let (status, text) = made.unwrap_or(("500 Internal Server Error", "the status was not made\n".to_owned()));
        reply(status, &text, body)
    };
    match path.as_str() {
        "/metrics" => {
            status(|metrics, report| match metrics.text(&report.status(), report.load_failed()) {
                Ok(text) => ("200 OK", text),
                Err(error) => ("500 Internal Server Error", format!("{error}\n")),
            })
            .await
        }
        "/readyz" => {
            status(|_, report| {
                let status = report.status();
                (if status.ready { "200 OK" } else { "503 Service Unavailable" }, format!("{status}\n"))
            })
            .await
        }
        "/livez" => reply("200 OK", "ok\n", body),
        _ => reply("404 Not Found", "there are /metrics, /readyz and /livez\n", body),
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Request {
    Get { path: String, body: bool },
    OtherMethod,
    Broken,
    TooLarge,
}

/// The request that a head is; `None` while it is not whole.
fn parse(head: &[u8]) -> Option<Request> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Partial) => None,
        Ok(httparse::Status::Complete(_)) => {
            let path = request.path.unwrap_or_default().split('?').next().unwrap_or_default().to_owned();
            Some(match request.method {
                Some("GET") => Request::Get { path, body: true },
                Some("HEAD") => Request::Get { path, body: false },
                _ => Request::OtherMethod,
            })
        }
        Err(httparse::Error::TooManyHeaders) => Some(Request::TooLarge),
        Err(_) => Some(Request::Broken),
    }
}

fn reply(status: &str, text: &str, body: bool) -> Vec<u8> {
    let allow = if status.starts_with("405") { "allow: GET, HEAD\r\n" } else { "" };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\ncontent-length: {}\r\n{allow}connection: close\r\n\r\n",
        text.len()
    );
    let mut bytes = head.into_bytes();
    if body {
        bytes.extend(text.as_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_understood_whole_or_not_at_all() {
        let get = |path: &str, body| Some(Request::Get { path: path.to_owned(), body });
        assert_eq!(parse(b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n"), get("/metrics", true));
        assert_eq!(parse(b"HEAD /readyz?x=1 HTTP/1.0\r\n\r\n"), get("/readyz", false));
        assert_eq!(parse(b"GET /metrics HTTP/1.1\r\nhost:"), None);
        assert_eq!(parse(b"POST / HTTP/1.1\r\n\r\n"), Some(Request::OtherMethod));
        assert_eq!(parse(b"\x16\x03\x01\x00"), Some(Request::Broken));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(65));
        assert_eq!(parse(many.as_bytes()), Some(Request::TooLarge));
        assert!(reply("405 Method Not Allowed", "x", false).ends_with(b"allow: GET, HEAD\r\nconnection: close\r\n\r\n"));
    }
}
