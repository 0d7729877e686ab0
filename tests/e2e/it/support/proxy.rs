//! A proxy between two real parts of the system. It injects faults.

use crate::support::process::free_ports;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The fault that applies to a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// No fault: request and response are forwarded.
    None,
    /// The connection is refused.
    Refuses,
    /// The connection is reset after the request.
    Resets,
    /// No response is sent.
    Hangs,
    /// The response is delayed.
    Late { ms: u64 },
    /// The connection is closed after half of the response.
    Half,
    /// These bytes are sent instead of a response.
    Responds(Vec<u8>),
    /// The reply to each script of a pipeline is NOSCRIPT.
    NoScript,
}

/// Where a message ends.
#[derive(Clone, Copy)]
enum Framing {
    /// HTTP/1.1, with content lengths or chunks.
    Http,
    /// A batch of memcached commands, or the replies to it: both end with a no-op.
    Memcached,
}

/// A proxy on its own port.
pub struct Proxy {
    fault: Arc<Mutex<Fault>>,
    /// The length of the longest response so far, with its head.
    longest: Arc<AtomicUsize>,
    /// Whether it accepts connections.
    listens: Arc<AtomicBool>,
    framing: Framing,
    port: u16,
    /// The listener runs in its own thread, so that it outlives the runtime of the test that
    /// started it.
    _stop: std::sync::mpsc::Sender<()>,
}

impl Proxy {
    /// Starts a proxy in front of `http://host:port` or `memcached://host:port`.
    pub fn start(url: &str) -> Self {
        let (scheme, target) = url.split_once("://").unwrap();
        let framing = if scheme == "memcached" { Framing::Memcached } else { Framing::Http };
        let target = target.to_owned();
        let fault = Arc::new(Mutex::new(Fault::None));
        let own = Arc::clone(&fault);
        let longest = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&longest);
        let listens = Arc::new(AtomicBool::new(false));
        let is_bound = Arc::clone(&listens);
        let [port] = free_ports();
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let (ready, wait) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve(port, target, framing, (own, seen, is_bound), stopped, ready));
        });
        wait.recv().unwrap();
        Self { fault, longest, listens, framing, port, _stop: stop }
    }

    pub fn url(&self) -> String {
        let scheme = match self.framing {
            Framing::Http => "http",
            Framing::Memcached => "memcached",
        };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// Sets the fault of further requests, also on open connections. Blocks until it applies, for
    /// a few milliseconds.
    pub fn set(&self, fault: Fault) {
        let refuses = fault == Fault::Refuses;
        *self.fault.lock().unwrap() = fault;
        let begun = Instant::now();
        while self.listens.load(Ordering::SeqCst) == refuses {
            assert!(begun.elapsed() < Duration::from_secs(5), "the proxy's port is taken");
            std::thread::sleep(Duration::from_millis(1));
        }
        if refuses {
            std::thread::sleep(2 * RESET_WITHIN);
        }
    }

    /// Returns the length of the longest response that the target has sent.
    pub fn longest_response(&self) -> usize {
        self.longest.load(Ordering::Relaxed)
    }
}

/// Returns a fault that sends this HTTP response.
pub fn fixed_response(status: &str, content_type: &str, body: &str) -> Fault {
    let length = body.len();
    Fault::Responds(
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .into_bytes(),
    )
}

async fn serve(
    port: u16,
    target: String,
    framing: Framing,
    (fault, longest, listens): (Arc<Mutex<Fault>>, Arc<AtomicUsize>, Arc<AtomicBool>),
    stopped: std::sync::mpsc::Receiver<()>,
    ready: std::sync::mpsc::Sender<()>,
) {
    let mut listener = None;
    loop {
        if stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Disconnected) {
            return;
        }
        let refuses = *fault.lock().unwrap() == Fault::Refuses;
        if refuses {
            listener = None;
            listens.store(false, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(2)).await;
            continue;
        }
        if listener.is_none() {
            match TcpListener::bind(("127.0.0.1", port)).await {
                Ok(bound) => {
                    listener = Some(bound);
                    listens.store(true, Ordering::SeqCst);
                }
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    continue;
                }
            }
            let _ = ready.send(());
        }
        let Some(listening) = &listener else { continue };
        let accepted = tokio::time::timeout(Duration::from_millis(5), listening.accept()).await;
        if let Ok(Ok((client, _))) = accepted {
            let (target, fault, longest) =
                (target.clone(), Arc::clone(&fault), Arc::clone(&longest));
            tokio::spawn(async move {
                let _ = connection(client, &target, framing, &fault, &longest).await;
            });
        }
    }
}

/// Serves one connection, request by request.
async fn connection(
    mut client: TcpStream,
    target: &str,
    framing: Framing,
    fault: &Mutex<Fault>,
    longest: &AtomicUsize,
) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let mut server: Option<TcpStream> = None;
    let (mut held, mut answers) = (Vec::new(), Vec::new());
    loop {
        // While new connections are refused, open ones are reset.
        let request = tokio::select! {
            request = message(&mut client, framing, &mut held) => request?,
            () = refused(fault) => return reset(client),
        };
        let Some(request) = request else { return Ok(()) };
        let now = fault.lock().unwrap().clone();
        match now {
            Fault::Refuses | Fault::Resets => return reset(client),
            Fault::Hangs => {
                // This waits until the client gives up.
                let mut rest = [0; 1024];
                while client.read(&mut rest).await? > 0 {}
                return Ok(());
            }
            Fault::Responds(bytes) => {
                client.write_all(&bytes).await?;
                continue;
            }
            Fault::None | Fault::Late { .. } | Fault::Half | Fault::NoScript => {}
        }
        let mut onward = match server.take() {
            Some(open) => open,
            None => {
                let open = TcpStream::connect(target).await?;
                open.set_nodelay(true)?;
                answers.clear();
                open
            }
        };
        onward.write_all(&request).await?;
        let Some(answer) = message(&mut onward, framing, &mut answers).await? else {
            return Ok(());
        };
        server = Some(onward);
        longest.fetch_max(answer.len(), Ordering::Relaxed);
        match now {
            Fault::Late { ms } => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                client.write_all(&answer).await?;
            }
            Fault::Half => {
                client.write_all(answer.get(..answer.len() / 2).unwrap_or_default()).await?;
                client.flush().await?;
                return Ok(());
            }
            Fault::NoScript => client.write_all(&without_scripts(&request, &answer)).await?,
            _ => client.write_all(&answer).await?,
        }
    }
}

/// Replaces the reply to each script of a pipeline by NOSCRIPT.
fn without_scripts(request: &[u8], answer: &[u8]) -> Vec<u8> {
    let body = |message: &[u8]| -> Option<serde_json::Value> {
        let text = String::from_utf8_lossy(message);
        serde_json::from_str(text.split_once("\r\n\r\n")?.1).ok()
    };
    let (Some(commands), Some(mut replies)) = (body(request), body(answer)) else {
        return answer.to_vec();
    };
    for (command, reply) in commands.as_array().unwrap().iter().zip(replies.as_array_mut().unwrap())
    {
        if command[0].as_str().is_some_and(|name| name.starts_with("EVAL")) {
            *reply = serde_json::json!({ "error": "NOSCRIPT No matching script." });
        }
    }
    match fixed_response("200 OK", "application/json", &replies.to_string()) {
        Fault::Responds(bytes) => bytes,
        _ => Vec::new(),
    }
}

async fn refused(fault: &Mutex<Fault>) {
    while *fault.lock().unwrap() != Fault::Refuses {
        tokio::time::sleep(RESET_WITHIN).await;
    }
}

/// How soon open connections are reset when new ones are refused.
const RESET_WITHIN: Duration = Duration::from_millis(5);

fn reset(client: TcpStream) -> std::io::Result<()> {
    client.set_zero_linger()
}

/// Reads one whole message. Returns `None` at the end of the connection.
async fn message(
    stream: &mut TcpStream,
    framing: Framing,
    held: &mut Vec<u8>,
) -> std::io::Result<Option<Vec<u8>>> {
    loop {
        let whole = match framing {
            Framing::Http => length(held),
            Framing::Memcached => batch_length(held),
        };
        if let Some(length) = whole {
            let rest = held.split_off(length);
            return Ok(Some(std::mem::replace(held, rest)));
        }
        let mut chunk = [0; 16 * 1024];
        let read = stream.read(&mut chunk).await?;
        if read == 0 {
            return Ok(None);
        }
        held.extend_from_slice(&chunk[..read]);
    }
}

/// Returns the length of the first batch of memcached commands or replies; `None` while it is
/// incomplete.
fn batch_length(held: &[u8]) -> Option<usize> {
    if held.len() >= 4 && held[..4].eq_ignore_ascii_case(b"mn\r\n") {
        return Some(4);
    }
    let is_end = |six: &[u8]| six.eq_ignore_ascii_case(b"\r\nmn\r\n");
    held.windows(6).position(is_end).map(|end| end + 6)
}

/// Returns the length of the first HTTP message; `None` while it is incomplete.
fn length(held: &[u8]) -> Option<usize> {
    let end = held.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&held[..end]).to_lowercase();
    if head.contains("transfer-encoding: chunked") {
        let close = held[end..].windows(5).position(|five| five == b"0\r\n\r\n")?;
        return Some(end + close + 5);
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let whole = end + length.map_or(0, |text| text.trim().parse().unwrap_or(0));
    (held.len() >= whole).then_some(whole)
}
