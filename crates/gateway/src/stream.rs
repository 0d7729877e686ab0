//! Server-sent events: what is published on channels, or what everybody sends, for as long as the client
//! stays. Each stream has a connection to Redis of its own.

use crate::backend::Outage;
use crate::metrics::Metrics;
use futures_util::{Stream, StreamExt as _};
use hyper::body::{Bytes, Frame};
use redis::Client;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

/// What is followed.
pub enum Subject {
    Channels(Vec<Vec<u8>>),
    Everything,
    Patterns(Vec<Vec<u8>>),
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
    /// Begins to follow; returns when Redis has agreed.
    pub async fn begin(
        client: Client,
        subject: Subject,
        deadline: Instant,
        permit: OwnedSemaphorePermit,
        metrics: Arc<Metrics>,
        stopping: watch::Receiver<bool>,
    ) -> Result<Self, Outage> {
        let begun = timeout_at(deadline, follow(&client, subject)).await;
        let source = begun.map_err(|_| Outage::Deadline)?.map_err(|_| Outage::Unreachable)?;
        let (sender, waiting) = mpsc::channel(EVENTS_MAX);
        let bytes = Arc::new(AtomicUsize::new(0));
        let pump = tokio::spawn(pump(source, sender, Arc::clone(&bytes), stopping)).abort_handle();
        metrics.streams.inc();
        Ok(Self { waiting, bytes, pump, metrics, _permit: permit })
    }
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

    fn is_end_stream(&self) -> bool {
        false
    }
}

type Source = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

async fn follow(client: &Client, subject: Subject) -> redis::RedisResult<Source> {
    let (kind, names) = match subject {
        Subject::Everything => {
            let monitor = client.get_async_monitor().await?;
            let lines = monitor.into_on_message::<String>().map(|line| event(line.as_bytes()));
            let begin = futures_util::stream::iter([event(b"\"OK\"")]);
            return Ok(Box::pin(begin.chain(lines)));
        }
        Subject::Channels(names) => ("subscribe", names),
        Subject::Patterns(names) => ("psubscribe", names),
    };
    let mut connection = client.get_async_pubsub().await?;
    let mut begin = Vec::new();
    for (place, name) in names.iter().enumerate() {
        match kind {
            "subscribe" => connection.subscribe(name.as_slice()).await?,
            _ => connection.psubscribe(name.as_slice()).await?,
        }
        let count = (place + 1).to_string();
        begin.push(event(&[kind.as_bytes(), name, count.as_bytes()].join(&b',')));
    }
    let messages = connection.into_on_message().map(|message| {
        let (channel, payload) =
            (message.get_channel_name().as_bytes(), message.get_payload_bytes());
        match message.get_pattern::<Option<Vec<u8>>>() {
            Ok(Some(pattern)) => {
                event(&[b"pmessage", pattern.as_slice(), channel, payload].join(&b','))
            }
            Ok(None) | Err(_) => event(&[b"message", channel, payload].join(&b',')),
        }
    });
    Ok(Box::pin(futures_util::stream::iter(begin).chain(messages)))
}

/// Takes events as they come, whether or not the client reads: what it does not read in time ends it,
/// since neither the gateway nor Redis may keep it all.
async fn pump(
    mut source: Source,
    sender: mpsc::Sender<Bytes>,
    bytes: Arc<AtomicUsize>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut alive = interval(ALIVE_EVERY);
    alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    alive.tick().await;
    loop {
        let event = tokio::select! {
            event = source.next() => match event {
                Some(event) => event,
                None => return,
            },
            _ = alive.tick() => Bytes::from_static(b":\n\n"),
            _ = stopping.wait_for(|stopping| *stopping) => return,
        };
        let waiting = bytes.fetch_add(event.len(), Ordering::Relaxed) + event.len();
        if waiting > EVENT_BYTES_MAX || sender.try_send(event).is_err() {
            tracing::warn!(event = "stream_too_slow");
            return;
        }
    }
}

/// An event; each line of its data has a field of its own.
fn event(data: &[u8]) -> Bytes {
    let text = String::from_utf8_lossy(data);
    let mut event = String::with_capacity(text.len() + 8);
    for line in text.split('\n') {
        event.push_str("data: ");
        event.push_str(line.strip_suffix('\r').unwrap_or(line));
        event.push('\n');
    }
    event.push('\n');
    Bytes::from(event)
}

/// Shorter than what proxies wait for.
const ALIVE_EVERY: Duration = Duration::from_secs(15);
const EVENTS_MAX: usize = 4096;
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
        check(b"", "data: \n\n");
        check(b"\xff", "data: \u{fffd}\n\n");
    }
}
