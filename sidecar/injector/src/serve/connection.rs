//! A connection from its handshake to its end: HTTP/2 or HTTP/1.1 as TLS agreed, and no longer than it asks something.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::rt::{Read, Write};
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;

use super::Shared;
use super::places::{Activity, Place, Places};
use super::request;

/// API servers are a handful, each with a connection or two. 256 of strangers take some 10 MiB.
pub(super) const MOST: usize = 256;
/// A handshake is two round trips inside a cluster, or a client under load.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Somebody who connects has something to ask; this also bounds the first request's head, which a client may send byte by byte.
const FIRST: Duration = Duration::from_secs(10);
/// Longer than the 90 s after which an API server closes an idle connection: if the server closed first, a question could be on its way.
const IDLE: Duration = Duration::from_secs(120);
/// For closing a connection as its protocol wants it.
const GOODBYE: Duration = Duration::from_secs(1);
/// Questions at once in a connection. An API server opens another one when they do not suffice.
const STREAMS: u32 = 64;
/// What a client may send ahead of being read: in a stream, and in a connection.
const STREAM_WINDOW: u32 = 128 * 1024;
const CONNECTION_WINDOW: u32 = 512 * 1024;
/// The API server's heads have a few hundred bytes.
const HEAD: usize = 16 * 1024;

/// Accepts for ever; dropped to stop.
pub(super) async fn accept(
    listener: TcpListener,
    tls: TlsAcceptor,
    shared: Arc<Shared>,
    places: Arc<Places>,
    draining: watch::Receiver<bool>,
) {
    loop {
        let Some(stream) = next(&listener).await else { continue };
        let place = places.take().await;
        shared.metrics.connections.set(i64::try_from(places.taken()).unwrap_or(i64::MAX));
        let (tls, shared, places, draining) = (tls.clone(), shared.clone(), places.clone(), draining.clone());
        tokio::spawn(async move {
            let ended = talk(stream, tls, &shared, &place, draining).await;
            shared.metrics.connections_ended.with_label_values(&[ended.word()]).inc();
            drop(place);
            shared.metrics.connections.set(i64::try_from(places.taken()).unwrap_or(i64::MAX));
        });
    }
}

/// The next connection. None: it was gone already, or the process has no descriptor left and waits a little.
pub(super) async fn next(listener: &TcpListener) -> Option<TcpStream> {
    match listener.accept().await {
        Ok((stream, _)) => {
            // Answers are small and wanted at once. Where it fails they come later.
            let _ = stream.set_nodelay(true);
            Some(stream)
        }
        Err(_) => {
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

/// How a connection ended; the metric's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Handshake,
    Client,
    Broken,
    Idle,
    MadeRoom,
    Drained,
}

impl Ended {
    fn word(self) -> &'static str {
        match self {
            Ended::Handshake => "no-handshake",
            Ended::Client => "by-client",
            Ended::Broken => "broken",
            Ended::Idle => "idle",
            Ended::MadeRoom => "made-room",
            Ended::Drained => "drained",
        }
    }
}

async fn talk(stream: TcpStream, tls: TlsAcceptor, shared: &Arc<Shared>, place: &Place, draining: watch::Receiver<bool>) -> Ended {
    let activity = &place.activity;
    let stream = tokio::select! {
        done = timeout(HANDSHAKE, tls.accept(stream)) => match done {
            Ok(Ok(stream)) => stream,
            Ok(Err(_)) | Err(_) => return Ended::Handshake,
        },
        () = activity.asked_to_go() => return Ended::MadeRoom,
    };
    let two = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(|request: Request<Incoming>| request::answer(shared.clone(), activity.clone(), request));
    if two {
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new()).max_concurrent_streams(STREAMS).max_header_list_size(HEAD as u32);
        http.initial_stream_window_size(STREAM_WINDOW).initial_connection_window_size(CONNECTION_WINDOW);
        // hyper spawns the answers of HTTP/2 on its own: what they hold must outlive this function.
        let (shared, activity) = (shared.clone(), activity.clone());
        let service = service_fn(move |request: Request<Incoming>| request::answer(shared.clone(), activity.clone(), request));
        drive(http.serve_connection(TokioIo::new(stream), service), &place.activity, draining).await
    } else {
        drive(http1(TokioIo::new(stream), service), activity, draining).await
    }
}

/// HTTP/1.1 with the limits of both ports.
pub(super) fn http1<I, S>(io: I, service: S) -> http1::Connection<I, S>
where
    I: Read + Write + Unpin,
    S: HttpService<Incoming, ResBody = Full<Bytes>, Error = Infallible>,
    S::Future: Future<Output = Result<Response<Full<Bytes>>, Infallible>>,
{
    let mut http = http1::Builder::new();
    // The times are watched over in `drive`: hyper's own would close a connection that is idle between two questions.
    // A client may close its half once it has asked all it wants.
    http.timer(TokioTimer::new()).half_close(true).header_read_timeout(None).max_buf_size(HEAD).max_headers(64);
    http.serve_connection(io, service)
}

/// A connection that can be asked to end after what it is at.
pub(super) trait Graceful: Future<Output = hyper::Result<()>> {
    fn finish(self: Pin<&mut Self>);
}

impl<I, S> Graceful for http1::Connection<I, S>
where
    I: Read + Write + Unpin,
    S: HttpService<Incoming, ResBody = Full<Bytes>, Error = Infallible>,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, S> Graceful for http2::Connection<I, S, TokioExecutor>
where
    I: Read + Write + Unpin,
    S: HttpService<Incoming, ResBody = Full<Bytes>, Error = Infallible>,
    S::Future: Send + 'static,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Runs a connection until it ends, is idle too long, makes room, or the server drains.
pub(super) async fn drive(connection: impl Graceful, activity: &Activity, mut draining: watch::Receiver<bool>) -> Ended {
    let mut connection = pin!(connection);
    let mut closing: Option<(Ended, Instant)> = None;
    // Asked again when the time is up: what was due then may have been so before the first question.
    let idle_until = || activity.since() + if activity.has_asked() { IDLE } else { FIRST };
    loop {
        let due = match closing {
            // What is in work has its own time-out.
            Some((_, since)) => since.max(activity.since()) + GOODBYE,
            None => idle_until(),
        };
        let quiet = activity.is_quiet();
        // While it works, nothing is due before a request can have ended.
        let due = if quiet { due } else { due.max(Instant::now() + Duration::from_millis(100)) };
        let why = tokio::select! {
            ended = connection.as_mut() => {
                return closing.map_or(if ended.is_ok() { Ended::Client } else { Ended::Broken }, |(why, _)| why);
            }
            () = activity.asked_to_go(), if closing.is_none() => {
                if activity.is_quiet() {
                    return Ended::MadeRoom;
                }
                Ended::MadeRoom
            }
            _ = draining.wait_for(|draining| *draining), if closing.is_none() => Ended::Drained,
            () = sleep_until(due) => match closing {
                Some((why, _)) if activity.is_quiet() && Instant::now() >= activity.since() + GOODBYE => return why,
                Some(_) => continue,
                None if activity.is_quiet() && Instant::now() >= idle_until() => Ended::Idle,
                None => continue,
            },
        };
        closing = Some((why, Instant::now()));
        connection.as_mut().finish();
    }
}
