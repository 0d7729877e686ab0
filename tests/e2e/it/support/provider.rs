//! Servers in place of an issuer, an introspection endpoint or an upstream. They record requests,
//! and misbehave on demand.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A server's reaction to a request.
#[derive(Clone, Debug)]
pub enum Behaviour {
    /// Sends a response after a delay.
    Answer { status: u16, body: String, after_ms: u64 },
    /// Sends `body` to a request that contains a text, and `otherwise` to any other.
    Answers { containing: String, body: String, otherwise: String },
    /// Announces more bytes than it sends, and closes the connection.
    Cut { announced: usize, body: String },
    /// Closes the connection at once.
    Hangs,
    /// Sends nothing and keeps the connection open.
    Stalls,
    /// Sends these bytes and closes the connection.
    Raw(Vec<u8>),
    /// Opens a WebSocket and echoes each short message (RFC 6455), until the client closes it.
    WebSocketEcho,
}

/// A server on its own port, until the process ends.
#[derive(Clone)]
pub struct Provider {
    state: Arc<Mutex<State>>,
    port: u16,
}

struct State {
    behaviour: Behaviour,
    requests: VecDeque<String>,
}

impl Provider {
    pub fn start(behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State { behaviour, requests: VecDeque::new() }));
        let served = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&served);
                std::thread::spawn(move || {
                    let _ = serve(stream, &state);
                });
            }
        });
        Self { state, port }
    }

    pub fn serving(body: &str) -> Self {
        Self::start(answer(200, body))
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub fn behave(&self, behaviour: Behaviour) {
        self.state.lock().unwrap().behaviour = behaviour;
    }

    /// Returns the raw requests since the last call.
    pub fn take(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.drain(..).collect()
    }
}

pub fn answer(status: u16, body: &str) -> Behaviour {
    Behaviour::Answer { status, body: body.to_owned(), after_ms: 0 }
}

/// Serves one request of a connection.
fn serve(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut request = Vec::new();
    let mut chunk = [0; 4096];
    let text = loop {
        let read = stream.read(&mut chunk)?;
        request.extend_from_slice(chunk.get(..read).unwrap_or_default());
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            if read == 0 {
                return Ok(());
            }
            continue;
        };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        });
        if read == 0 || body.len() >= length.unwrap_or(0) {
            break text;
        }
    };
    let behaviour = {
        let mut state = state.lock().unwrap();
        state.requests.push_back(text.clone());
        state.behaviour.clone()
    };
    let behaviour = match behaviour {
        Behaviour::Answers { containing, body, otherwise } => {
            answer(200, if text.contains(&containing) { &body } else { &otherwise })
        }
        other => other,
    };
    match behaviour {
        Behaviour::Answers { .. } => Ok(()),
        Behaviour::Answer { status, body, after_ms } => {
            std::thread::sleep(Duration::from_millis(after_ms));
            let location =
                if (300..400).contains(&status) { "location: /elsewhere\r\n" } else { "" };
            write!(
                stream,
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{location}content-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            )
        }
        Behaviour::Cut { announced, body } => {
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {announced}\r\n\r\n{body}")
        }
        Behaviour::Hangs => Ok(()),
        Behaviour::Stalls => {
            std::thread::sleep(Duration::from_secs(20));
            Ok(())
        }
        Behaviour::Raw(bytes) => stream.write_all(&bytes),
        Behaviour::WebSocketEcho => echo(stream, &text),
    }
}

fn echo(mut stream: TcpStream, request: &str) -> std::io::Result<()> {
    let key = request.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim().to_owned())
    });
    let text = format!("{}258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key.unwrap_or_default());
    let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    write!(
        stream,
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: {}\r\n\r\n",
        STANDARD.encode(hash.as_ref())
    )?;
    loop {
        let mut head = [0; 6];
        stream.read_exact(&mut head)?;
        let [kind, length, mask @ ..] = head;
        let mut message = vec![0; usize::from(length & 0x7f)];
        stream.read_exact(&mut message)?;
        for (place, byte) in message.iter_mut().enumerate() {
            *byte ^= mask[place % 4];
        }
        stream.write_all(&[kind, length & 0x7f])?;
        stream.write_all(&message)?;
        if kind & 0xf == 8 {
            return Ok(());
        }
    }
}
