//! Connections that never send a byte, each from an address that the test chooses.

use crate::support::http::client_builder;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpSocket, TcpStream};

/// Opens connections from a loopback address. Those that the server closes stay in the list.
pub async fn open(server: &str, from: [u8; 4], count: usize) -> Vec<TcpStream> {
    let server: SocketAddr = server.trim_start_matches("http://").parse().unwrap();
    let mut streams = Vec::new();
    for _ in 0..count {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((Ipv4Addr::from(from), 0).into()).unwrap();
        streams.push(socket.connect(server).await.unwrap());
    }
    streams
}

/// Returns the time after which the server had closed all of these connections.
pub async fn closed_after(streams: &mut [TcpStream]) -> Duration {
    let begun = Instant::now();
    for stream in streams {
        let mut byte = [0];
        let closed = tokio::time::timeout(Duration::from_secs(30), stream.read(&mut byte));
        let closed = closed.await.expect("a silent connection is open after 30 s");
        assert!(matches!(closed, Ok(0) | Err(_)), "the server sent {byte:?}");
    }
    begun.elapsed()
}

/// Sends a request for `path` from an address, on a new connection, within a second.
pub async fn get_from(url: &str, from: [u8; 4], token: &str) -> Result<u16, String> {
    let client = client_builder()
        .local_address(std::net::IpAddr::from(from))
        .timeout(Duration::from_secs(1))
        .build()
        .unwrap();
    let response = client.get(url).bearer_auth(token).send().await;
    response.map(|response| response.status().as_u16()).map_err(|error| format!("{error:?}"))
}
