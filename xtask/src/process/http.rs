//! A minimal HTTP client for loopback, with one request per connection.

use anyhow::{Context as _, Result};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Returns the status of a GET; `None` without a response within a second.
pub fn http_status(address: SocketAddr, path: &str) -> Option<u16> {
    let wait = Some(Duration::from_secs(1));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok()?;
    stream.set_read_timeout(wait).ok()?;
    stream.set_write_timeout(wait).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).ok()?;
    std::str::from_utf8(&head).ok()?.strip_prefix("HTTP/1.1 ")?.parse().ok()
}

/// Posts JSON and returns status and body. Each of `fields` ends with its line break.
pub fn http_post(
    address: SocketAddr,
    path: &str,
    fields: &str,
    body: &Value,
) -> Result<(u16, String)> {
    let body = body.to_string();
    let head = format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
    http(address, &format!("POST {path} HTTP/1.1\r\n{head}{fields}"), &body)
}

/// Gets and returns status and body. Each of `fields` ends with its line break.
pub fn http_get(address: SocketAddr, path: &str, fields: &str) -> Result<(u16, String)> {
    http(address, &format!("GET {path} HTTP/1.1\r\n{fields}"), "")
}

fn http(address: SocketAddr, head: &str, body: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "{head}host: {address}\r\nconnection: close\r\n\r\n{body}")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    let status = head.get(9..12).context("no status")?.parse()?;
    Ok((status, body.to_owned()))
}
