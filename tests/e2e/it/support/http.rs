//! Requests, and assertions about responses.

use reqwest::{Client, ClientBuilder, RequestBuilder, Response};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// Returns a client that follows no redirects and times out.
pub fn client() -> Client {
    let client = client_builder().redirect(reqwest::redirect::Policy::none());
    client.timeout(Duration::from_secs(20)).build().unwrap()
}

/// Returns a builder of clients that trust no certificate. To read those of the system takes longer
/// than most requests.
pub fn client_builder() -> ClientBuilder {
    Client::builder().no_proxy().tls_certs_only([])
}

pub fn get(url: &str) -> RequestBuilder {
    client().get(url)
}

pub async fn get_with(url: &str, token: &str) -> Response {
    get(url).bearer_auth(token).send().await.unwrap()
}

pub async fn post(url: &str, body: Value) -> Response {
    client().post(url).json(&body).send().await.unwrap()
}

pub fn field(response: &Response, name: &str) -> String {
    let value = response.headers().get(name).map(|value| value.to_str().unwrap());
    value.unwrap_or_default().to_owned()
}

/// Asserts that a response is a rejection with this status and code. Returns its challenge.
pub async fn assert_refused(response: Response, status: u16, code: &str) -> String {
    let challenge = field(&response, "www-authenticate");
    let (got, content_type) = (response.status(), field(&response, "content-type"));
    let text = response.text().await.unwrap();
    assert_eq!(got, status, "{text}");
    assert_eq!(content_type, "application/problem+json", "{text}");
    let body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(body["code"], code, "{text}");
    assert_eq!(body["status"], status, "{text}");
    challenge
}

/// Sends raw bytes to a URL's server, and reads until the response ends.
pub fn raw(url: &str, request: &str) -> String {
    raw_at(url.trim_start_matches("http://"), request, "\0")
}

/// Sends raw bytes to an address, and reads until the response contains `until`, or ends.
pub fn raw_at(address: &str, request: &str, until: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let (mut answer, mut chunk) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = stream.read(&mut chunk) {
        answer.extend_from_slice(&chunk[..read]);
        if String::from_utf8_lossy(&answer).contains(until) {
            break;
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}
