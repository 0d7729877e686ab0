//! Server-sent events: what is published on channels, or what everybody sends, for as long as the client
//! stays. Each stream has a connection to Redis of its own.

use crate::backend::{Outage, Own};
use crate::config::Live;
use crate::metrics::Metrics;
use crate::token::Token;
use hyper::body::{Bytes, Frame};
use redis_rest::{Command, Reply};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// What is followed.
#[derive(Clone)]
pub enum Subject {
    Channels(Vec<Vec<u8>>),
    Everything,
    Patterns(Vec<Vec<u8>>),
}

impl Subject {
    pub fn is_open_to(&self, token: &Token) -> bool {
        match self {
            Self::Channels(names) => token.may_subscribe("SUBSCRIBE", names),
            Self::Everything => token.may_monitor(),
            Self::Patterns(names) => token.may_subscribe("PSUBSCRIBE", names),
        }
    }

    /// Whether there is something to follow, and not too much.
    pub fn is_in_bounds(&self) -> bool {
        match self {
            Self::Everything => true,
            Self::Channels(names) | Self::Patterns(names) => (1..=NAMES_MAX).contains(&names.len()),
        }
    }

    fn command(&self) -> Command {
        let (name, names) = match self {
            Self::Channels(names) => ("SUBSCRIBE", names.as_slice()),
            Self::Everything => ("MONITOR", [].as_slice()),
            Self::Patterns(names) => ("PSUBSCRIBE", names.as_slice()),
        };
        names.iter().fold(Command::new(name), |command, name| command.arg_bytes(name.as_slice()))
    }
}

/// What ends a stream besides its client and its Redis.
pub struct Ends {
    pub stopping: watch::Receiver<bool>,
    pub live: watch::Receiver<Arc<Live>>,
    /// Of the token that opened it, which must go on to be good.
    pub hash: [u8; 32],
}

/// The events of one client. Its connection to Redis ends when this is dropped.
pub struct Events {
    waiting: mpsc::Receiver<Bytes>,
    bytes: Arc<AtomicUsize>,
    pump: AbortHandle,
    metrics: Arc<Metrics>,
    _permit: OwnedSemaphorePermit,
}

impl Events {
    /// Begins to follow; returns when Redis has agreed, as it did if the first reply is no error.
    pub async fn begin(
        mut own: Own,
        subject: Subject,
        deadline: Duration,
        permit: OwnedSemaphorePermit,
        metrics: Arc<Metrics>,
        ends: Ends,
    ) -> Result<Self, Refused> {
        let asked = timeout(deadline, own.ask(&subject.command())).await;
        let first = match asked.map_err(|_| Refused::Out(Outage::Deadline))? {
            Ok(Reply::Error(text)) => return Err(Refused::ByRedis(text)),
            Ok(reply) => reply,
            Err(_) => return Err(Refused::Out(Outage::Unreachable)),
        };
        let (sender, waiting) = mpsc::channel(EVENTS_MAX);
        let bytes = Arc::new(AtomicUsize::new(0));
        let out = Out { sender, bytes: Arc::clone(&bytes) };
        let pump = tokio::spawn(pump(own, first, subject, out, ends)).abort_handle();
        metrics.streams.inc();
        Ok(Self { waiting, bytes, pump, metrics, _permit: permit })
    }
}

/// Why there is no stream.
pub enum Refused {
    /// In its own words.
    ByRedis(String),
    Out(Outage),
}

impl Drop for Events {
    fn drop(&mut self) {
        self.pump.abort();
        self.metrics.streams.dec();
    }
}

impl hyper::body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.waiting.poll_recv(context).map(|event| {
            let event = event?;
            self.bytes.fetch_sub(event.len(), Ordering::Relaxed);
            Some(Ok(Frame::data(event)))
        })
    }
}

/// The way to the client.
struct Out {
    sender: mpsc::Sender<Bytes>,
    bytes: Arc<AtomicUsize>,
}

impl Out {
    /// Whether there was room: what a client does not read in time, neither the redis gateway nor Redis may
    /// keep for it.
    fn put(&self, event: Bytes) -> bool {
        let waiting = self.bytes.fetch_add(event.len(), Ordering::Relaxed) + event.len();
        let fits = waiting <= EVENT_BYTES_MAX && self.sender.try_send(event).is_ok();
        if !fits {
            tracing::warn!(event = "stream_too_slow");
        }
        fits
    }
}

/// Takes what Redis sends as it comes, whether or not the client reads.
async fn pump(mut own: Own, first: Reply, subject: Subject, out: Out, ends: Ends) {
    let Ends { mut stopping, mut live, hash } = ends;
    let mut alive = interval(ALIVE_EVERY);
    alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    alive.tick().await;
    let mut heard = Instant::now();
    if !said(&first).is_none_or(|event| out.put(event)) {
        return;
    }
    loop {
        tokio::select! {
            reply = own.next() => {
                let Ok(reply) = reply else { return };
                heard = Instant::now();
                if !said(&reply).is_none_or(|event| out.put(event)) {
                    return;
                }
            }
            _ = alive.tick() => {
                // A server that has gone without a word does not answer this. One that is watched by
                // MONITOR answers nothing, but the word of it comes back.
                if heard.elapsed() > 2 * ALIVE_EVERY || own.send(&Command::new("PING")).await.is_err() {
                    return;
                }
                if !out.put(Bytes::from_static(b":\n\n")) {
                    return;
                }
            }
            _ = stopping.changed() => return,
            changed = live.changed() => {
                let still = live.borrow().tokens.still(&hash, |token| subject.is_open_to(token));
                if changed.is_err() || !still {
                    return;
                }
            }
        }
    }
}

/// What the client is told of a reply; none if it is for us alone.
fn said(reply: &Reply) -> Option<Bytes> {
    match reply {
        // MONITOR's: the OK at its beginning, and a line for each command.
        Reply::Status(text) if text == "OK" => Some(event(b"\"OK\"")),
        Reply::Status(text) if text == "PONG" => None,
        Reply::Status(text) => Some(event(text.as_bytes())),
        Reply::Array(words) => {
            if words.first().and_then(Reply::as_text) == Some("pong") {
                return None;
            }
            let words: Vec<Vec<u8>> = words.iter().map(bytes).collect();
            Some(event(&words.join(&b',')))
        }
        Reply::Bulk(_) | Reply::Error(_) | Reply::Integer(_) | Reply::Null => None,
    }
}

fn bytes(reply: &Reply) -> Vec<u8> {
    match reply {
        Reply::Bulk(bytes) => bytes.clone(),
        Reply::Integer(number) => number.to_string().into_bytes(),
        Reply::Status(text) => text.clone().into_bytes(),
        Reply::Array(_) | Reply::Error(_) | Reply::Null => Vec::new(),
    }
}

/// An event; each line of its data has a field of its own.
fn event(data: &[u8]) -> Bytes {
    let text = String::from_utf8_lossy(data);
    let mut event = String::with_capacity(text.len() + 8);
    for line in text.replace("\r\n", "\n").split(['\n', '\r']) {
        event.push_str("data: ");
        event.push_str(line);
        event.push('\n');
    }
    event.push('\n');
    Bytes::from(event)
}

/// Shorter than what proxies wait for.
const ALIVE_EVERY: Duration = Duration::from_secs(15);
const EVENTS_MAX: usize = 4096;
/// Channels or patterns of one stream.
const NAMES_MAX: usize = 100;
const EVENT_BYTES_MAX: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_a_field() {
        fn check(data: &[u8], expect: &str) {
            assert_eq!(event(data), expect.as_bytes());
        }
        check(b"message,c,hello", "data: message,c,hello\n\n");
        check(b"a\nb\r\nc", "data: a\ndata: b\ndata: c\n\n");
        check(b"x\r\rdata: y\r", "data: x\ndata: \ndata: data: y\ndata: \n\n");
        check(b"", "data: \n\n");
        check(b"\xff", "data: \u{fffd}\n\n");
    }
}
