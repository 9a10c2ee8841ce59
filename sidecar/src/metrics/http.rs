//! The metrics port: `/metrics`, `/readyz` and `/livez` over HTTP/1.1, one request a connection, a few at a time and never for long.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::Metrics;
use crate::worker::report::Report;

/// Connections at once; one more waits in the kernel's queue.
const CLIENTS: usize = 8;
/// From accepting to the last byte.
const PATIENCE: Duration = Duration::from_secs(5);
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
    let places = Arc::new(Semaphore::new(CLIENTS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return Ok(()) };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (metrics, report) = (metrics.clone(), report.clone());
        tokio::spawn(async move {
            // Who is slow or talks nonsense: his loss.
            let _ = tokio::time::timeout(PATIENCE, talk(stream, &metrics, &report)).await;
            drop(place);
        });
    }
}

async fn talk(mut stream: TcpStream, metrics: &Metrics, report: &Report) -> io::Result<()> {
    let mut head = Vec::with_capacity(1024);
    let request = loop {
        let read = stream.read_buf(&mut head).await?;
        match parse(&head) {
            Some(request) => break request,
            None if read == 0 => return Ok(()),
            None if head.len() > HEAD_BYTES => break Request::TooLarge,
            None => {}
        }
    };
    let reply = match request {
        Request::TooLarge => reply("431 Request Header Fields Too Large", "the head is too long\n", true),
        Request::Broken => reply("400 Bad Request", "this is no HTTP/1 request\n", true),
        Request::OtherMethod => reply("405 Method Not Allowed", "GET and HEAD alone\n", true),
        Request::Get { path, body } => match path.as_str() {
            "/metrics" => match metrics.text(&report.status(), report.load_failed()) {
                Ok(text) => reply("200 OK", &text, body),
                Err(error) => reply("500 Internal Server Error", &format!("{error}\n"), body),
            },
            "/livez" => reply("200 OK", "ok\n", body),
            "/readyz" => {
                let status = report.status();
                reply(if status.ready { "200 OK" } else { "503 Service Unavailable" }, &format!("{status}\n"), body)
            }
            _ => reply("404 Not Found", "there are /metrics, /readyz and /livez\n", body),
        },
    };
    stream.write_all(&reply).await?;
    stream.shutdown().await?;
    // What is unread when a socket closes would reset the connection, and the answer with it.
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
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
