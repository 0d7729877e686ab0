//! A client of WebSockets (RFC 6455) that sees each frame.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// A WebSocket that was opened at a path.
pub struct Socket(TcpStream);

impl Socket {
    /// Opens a WebSocket at a path of a server.
    pub fn open(address: &str, path: &str, token: &str) -> Self {
        Self::open_with(address, path, &format!("authorization: Bearer {token}\r\n"))
    }

    /// Opens a WebSocket without a token.
    pub fn open_anonymously(address: &str, path: &str) -> Self {
        Self::open_with(address, path, "")
    }

    fn open_with(address: &str, path: &str, fields: &str) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: a.example\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             {fields}sec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        .unwrap();
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        Self(stream)
    }

    /// Sends a frame of a short message, masked with zeros.
    pub fn send(&mut self, kind: u8, message: &[u8]) {
        let length = u8::try_from(message.len()).unwrap();
        let frame = [&[0x80 | kind, 0x80 | length, 0, 0, 0, 0], message].concat();
        self.0.write_all(&frame).unwrap();
    }

    /// Reads a frame: its kind and message.
    pub fn read(&mut self) -> (u8, Vec<u8>) {
        let [kind, short] = self.read_bytes();
        let length = match short & 0x7f {
            126 => usize::from(u16::from_be_bytes(self.read_bytes())),
            127 => usize::try_from(u64::from_be_bytes(self.read_bytes())).unwrap(),
            short => usize::from(short),
        };
        let mut message = vec![0; length];
        self.0.read_exact(&mut message).unwrap();
        (kind & 0xf, message)
    }

    fn read_bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// Sends a message and reads it back.
    pub fn echoes(&mut self, message: &[u8]) {
        self.send(1, message);
        assert_eq!(self.read(), (1, message.to_vec()));
    }

    /// Waits for the close frame. Returns its code and reason.
    pub fn closed(&mut self) -> (u16, String) {
        let (kind, message) = self.read();
        assert_eq!(kind, 8, "{message:?}");
        let code = u16::from_be_bytes([message[0], message[1]]);
        (code, String::from_utf8(message[2..].to_vec()).unwrap())
    }
}
