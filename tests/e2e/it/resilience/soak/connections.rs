//! Requests below HTTP: a WebSocket, and a client that resets its connection.

use super::record::Reply;
use super::world::World;
use std::io;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(15);

/// A masked text message of five bytes (RFC 6455); its mask is zero.
const MESSAGE: [u8; 11] = *b"\x81\x85\0\0\0\0hello";
const ECHO: [u8; 7] = *b"\x81\x05hello";
const CLOSE: [u8; 6] = *b"\x88\x80\0\0\0\0";

async fn open(world: &World, request: &str) -> io::Result<TcpStream> {
    let url = world.url("");
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).await?;
    stream.write_all(request.as_bytes()).await?;
    Ok(stream)
}

/// Opens a WebSocket, sends a message and waits for its echo. A socket that does not echo counts as
/// cut off.
pub async fn echo(world: &World, token: &str) -> Reply {
    let sent = Instant::now();
    let exchanged = tokio::time::timeout(PATIENCE, exchange(world, token)).await;
    let status = exchanged.ok().and_then(Result::ok);
    Reply { sent, answered: Instant::now(), status, body: String::new() }
}

async fn exchange(world: &World, token: &str) -> io::Result<u16> {
    let request = format!(
        "GET /socket HTTP/1.1\r\nhost: soak.example\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         authorization: Bearer {token}\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let mut stream = open(world, &request).await?;
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).await?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    if status != 101 {
        return Ok(status);
    }
    stream.write_all(&MESSAGE).await?;
    let mut echo = [0; ECHO.len()];
    if stream.read_exact(&mut echo).await.is_err() || echo != ECHO {
        return Ok(0);
    }
    stream.write_all(&CLOSE).await?;
    // This waits until the edge closes the connection, too.
    let _ = tokio::time::timeout(Duration::from_secs(2), stream.read(&mut [0; 64])).await;
    Ok(status)
}

/// Sends a request and resets the connection after `delay`.
pub async fn abort(world: &World, token: &str, delay: Duration) -> io::Result<()> {
    let pad = "x".repeat(2048);
    let request = format!(
        "GET /api/record HTTP/1.1\r\nhost: soak.example\r\nauthorization: Bearer {token}\r\n\
         x-pad: {pad}\r\n\r\n"
    );
    let stream = open(world, &request).await?;
    tokio::time::sleep(delay).await;
    stream.set_zero_linger()
}
