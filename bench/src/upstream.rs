//! An upstream with almost no cost: it sends the same short response to every request.

use anyhow::Result;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::net::TcpListener;

const RESPONSE: &[u8] =
    br#"{"things":[{"id":1,"name":"one"},{"id":2,"name":"two"},{"id":3,"name":"three"}]}"#;

static REQUESTS: AtomicU64 = AtomicU64::new(0);

/// Serves until the process ends. `/jwks.json` is the key set, `/count` the number of requests.
pub async fn serve(port: u16, jwks: Vec<u8>) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let jwks = Bytes::from(jwks);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let jwks = jwks.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            let body = match request.uri().path() {
                "/count" => Bytes::from(REQUESTS.load(Ordering::Relaxed).to_string()),
                "/jwks.json" => jwks.clone(),
                _ => {
                    REQUESTS.fetch_add(1, Ordering::Relaxed);
                    Bytes::from_static(RESPONSE)
                }
            };
            let mut response = Response::new(Full::new(body));
            let json = hyper::header::HeaderValue::from_static("application/json");
            response.headers_mut().insert(hyper::header::CONTENT_TYPE, json);
            async { Ok::<_, Infallible>(response) }
        });
        let connection = hyper::server::conn::http1::Builder::new();
        tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
    }
}
