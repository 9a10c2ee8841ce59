//! The port of probes and metrics: `/readyz`, `/livez`, `/metrics` in plain HTTP, as bounded as the other one.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::Shared;
use super::connection::{drive, http1, next};
use super::places::Places;
use super::request::plain;

/// The kubelet's probes and a scrape or two.
const MOST: usize = 32;

/// Accepts for ever; it goes on while the other port drains, since that is when `/readyz` matters.
pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let places = Places::new(MOST);
    // Nobody asks these connections to finish: they end with the process.
    let (_never, told) = watch::channel(false);
    loop {
        let Some(stream) = next(&listener).await else { continue };
        let place = places.take().await;
        let (shared, told) = (shared.clone(), told.clone());
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let busy = place.activity.begin();
                let answer = answer(&shared, &request);
                drop(busy);
                async { Ok::<_, Infallible>(answer) }
            });
            drive(http1(TokioIo::new(stream), service), &place.activity, told).await;
        });
    }
}

fn answer(shared: &Shared, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD alone\n".to_owned());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/livez" => plain(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" => match unready(shared) {
            None => plain(StatusCode::OK, "ok\n".to_owned()),
            Some(why) => plain(StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        },
        "/metrics" => match shared.metrics.text() {
            Ok(text) => {
                let mut response = plain(StatusCode::OK, text);
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(prometheus::TEXT_FORMAT));
                response
            }
            Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        },
        _ => plain(StatusCode::NOT_FOUND, "there are /metrics, /readyz and /livez\n".to_owned()),
    }
}

fn unready(shared: &Shared) -> Option<&'static str> {
    if !shared.ready.load(Ordering::Relaxed) {
        return Some("stopping");
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let ends = shared.ends.load(Ordering::Relaxed);
    (u64::try_from(ends).unwrap_or_default() <= now).then_some("the certificate has ended, and there is no other one")
}
