//! A client as strict as the API server: TLS verified against given CAs and the Service's name, HTTP/2 or HTTP/1.1.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The name that the API server calls.
pub(crate) const NAME: &str = "portreeve-injector.portreeve-system.svc";

/// HTTP/1.1 or HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Http {
    One,
    Two,
}

/// Connects, trusting the CAs of these PEMs alone.
pub(crate) async fn tls(address: SocketAddr, cas: &[&str], http: Http) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    for ca in cas {
        for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
            roots.add(certificate.unwrap()).unwrap();
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![if http == Http::Two { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(NAME).unwrap(), stream).await
}

/// A connection that asks.
pub(crate) enum Client {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

impl Client {
    /// Connects, and says which certificate was shown.
    pub(crate) async fn connect(address: SocketAddr, cas: &[&str], http: Http) -> io::Result<(Client, CertificateDer<'static>)> {
        let stream = tls(address, cas, http).await?;
        let shown = stream.get_ref().1.peer_certificates().unwrap().first().unwrap().clone().into_owned();
        let io = TokioIo::new(stream);
        let client = match http {
            Http::One => {
                let (send, connection) = http1::handshake(io).await.map_err(io::Error::other)?;
                tokio::spawn(connection);
                Client::One(send)
            }
            Http::Two => {
                let (send, connection) = http2::handshake(TokioExecutor::new(), io).await.map_err(io::Error::other)?;
                tokio::spawn(connection);
                Client::Two(send)
            }
        };
        Ok((client, shown))
    }

    /// Sends any request.
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        match self {
            Client::One(send) => {
                send.ready().await?;
                send.send_request(request).await
            }
            Client::Two(send) => {
                send.ready().await?;
                send.send_request(request).await
            }
        }
    }

    /// Asks for a review and gives status and answer.
    pub(crate) async fn ask(&mut self, path: &str, body: Vec<u8>) -> hyper::Result<(StatusCode, Vec<u8>)> {
        let request =
            Request::post(format!("https://{NAME}{path}?timeout=5s")).header("host", NAME).header("content-type", "application/json");
        let response = self.send(request.body(Full::new(Bytes::from(body))).unwrap()).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes().to_vec()))
    }
}
