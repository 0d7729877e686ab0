//! Server-sent events for SUBSCRIBE, PSUBSCRIBE and MONITOR.
//!
//! Each stream has its own connection to Redis, and lasts as long as its client stays.

use crate::backend::{DedicatedConnection, Outage, StreamMemory, StreamReservation};
use crate::config::Reloadable;
use crate::metrics::Metrics;
use crate::token::Token;
use hyper::body::{Bytes, Frame};
use redis_rest::{Command, Reply};
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// The messages that a stream delivers.
#[derive(Clone)]
pub enum Subscription {
    Channels(Vec<Vec<u8>>),
    Monitor,
    Patterns(Vec<Vec<u8>>),
}

impl Subscription {
    /// Returns whether a token permits this subscription.
    pub fn is_permitted(&self, token: &Token) -> bool {
        match self {
            Self::Channels(names) => token.may_subscribe("SUBSCRIBE", names),
            Self::Monitor => token.may_monitor(),
            Self::Patterns(names) => token.may_subscribe("PSUBSCRIBE", names),
        }
    }

    /// Returns whether the number of channels or patterns is within bounds, 1 to 100.
    pub fn is_in_bounds(&self) -> bool {
        match self {
            Self::Monitor => true,
            Self::Channels(names) | Self::Patterns(names) => (1..=NAMES_MAX).contains(&names.len()),
        }
    }

    fn command(&self) -> Command {
        let (name, names) = match self {
            Self::Channels(names) => ("SUBSCRIBE", names.as_slice()),
            Self::Monitor => ("MONITOR", [].as_slice()),
            Self::Patterns(names) => ("PSUBSCRIBE", names.as_slice()),
        };
        names.iter().fold(Command::new(name), |command, name| command.arg_bytes(name.as_slice()))
    }
}

/// The conditions that end a stream, in addition to its client and its Redis.
pub struct StreamLimits {
    /// `true` once the process drains.
    pub stopping: watch::Receiver<bool>,
    /// The tokens, which SIGHUP replaces.
    pub reloadable: watch::Receiver<Arc<Reloadable>>,
    /// The hash of the token that opened the stream. The stream ends when the token loses its
    /// permission.
    pub token_hash: [u8; 32],
    /// The stream ends when what it receives and what waits for its client finds no memory.
    pub memory: Arc<StreamMemory>,
}

/// The events of one client. Dropping them closes the connection to Redis.
pub struct Events {
    queue: mpsc::Receiver<Bytes>,
    queued_bytes: Arc<AtomicUsize>,
    pump: AbortHandle,
    metrics: Arc<Metrics>,
    _permit: OwnedSemaphorePermit,
}

impl Events {
    /// Subscribes, and returns once Redis has confirmed with a first reply that is not an error. Up
    /// to 4,096 events, 8 MiB in all, wait for a slow client; then the stream ends. It ends earlier
    /// if the memory for all streams and responses is used up.
    ///
    /// # Errors
    ///
    /// Redis rejects the command, its reply takes longer than `limit`, or the connection breaks.
    pub async fn subscribe(
        mut connection: DedicatedConnection,
        subscription: Subscription,
        limit: Duration,
        permit: OwnedSemaphorePermit,
        metrics: Arc<Metrics>,
        limits: StreamLimits,
    ) -> Result<Self, SubscribeError> {
        let replied = timeout(limit, connection.query(&subscription.command())).await;
        let first = match replied.map_err(|_| SubscribeError::Outage(Outage::Deadline))? {
            Ok(Reply::Error(text)) => return Err(SubscribeError::Rejected(text)),
            Ok(reply) => reply,
            Err(_) => return Err(SubscribeError::Outage(Outage::Unreachable)),
        };
        let (sender, queue) = mpsc::channel(EVENTS_MAX);
        let queued_bytes = Arc::new(AtomicUsize::new(0));
        let memory = Arc::clone(&limits.memory);
        let out = EventSender { sender, queued_bytes: Arc::clone(&queued_bytes), memory };
        let pump = tokio::spawn(pump(connection, first, subscription, out, limits)).abort_handle();
        metrics.streams.inc();
        Ok(Self { queue, queued_bytes, pump, metrics, _permit: permit })
    }
}

/// The reason why a subscription failed.
pub enum SubscribeError {
    /// Redis did not confirm it.
    Outage(Outage),
    /// Redis replied with this error.
    Rejected(String),
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
        self.queue.poll_recv(context).map(|event| {
            let event = event?;
            self.queued_bytes.fetch_sub(event.len(), Ordering::Relaxed);
            Some(Ok(Frame::data(event)))
        })
    }
}

/// Queues events for the client.
struct EventSender {
    sender: mpsc::Sender<Bytes>,
    queued_bytes: Arc<AtomicUsize>,
    memory: Arc<StreamMemory>,
}

impl EventSender {
    /// Queues an event. Returns `false` if the queue is full, or if too little memory is left. Then
    /// the stream ends.
    ///
    /// Neither the gateway nor Redis may buffer an unlimited number of events for a slow client.
    fn send(&self, event: Bytes) -> bool {
        let bytes = event.len();
        let queued = self.queued_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let reservation = (queued <= EVENT_BYTES_MAX).then(|| self.memory.reserve(bytes)).flatten();
        let fits = reservation.is_some_and(|reservation| {
            let event = QueuedEvent { event, _reservation: reservation };
            self.sender.try_send(Bytes::from_owner(event)).is_ok()
        });
        if !fits {
            tracing::warn!(event = "stream_too_slow");
        }
        fits
    }
}

/// An event, and its memory until the event is written to the client.
struct QueuedEvent {
    event: Bytes,
    _reservation: StreamReservation,
}

impl AsRef<[u8]> for QueuedEvent {
    fn as_ref(&self) -> &[u8] {
        &self.event
    }
}

/// Queues all messages from Redis as they arrive, whether or not the client reads them.
async fn pump(
    mut connection: DedicatedConnection,
    first: Reply,
    subscription: Subscription,
    out: EventSender,
    limits: StreamLimits,
) {
    let StreamLimits { mut stopping, mut reloadable, token_hash, memory } = limits;
    let mut keepalive = interval(KEEPALIVE_INTERVAL);
    keepalive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    keepalive.tick().await;
    let mut last_reply = Instant::now();
    if !event_for(&first).is_none_or(|event| out.send(event)) {
        return;
    }
    loop {
        tokio::select! {
            reply = connection.next_message(&memory) => {
                let reply = match reply {
                    Ok(reply) => reply,
                    Err(error) => {
                        if error.kind() == io::ErrorKind::OutOfMemory {
                            tracing::warn!(event = "stream_too_slow");
                        }
                        return;
                    }
                };
                last_reply = Instant::now();
                if !event_for(&reply).is_none_or(|event| out.send(event)) {
                    return;
                }
            }
            _ = keepalive.tick() => {
                // A server that vanished does not answer PING. Under MONITOR, Redis does not answer
                // either, but reports the PING as a message.
                let is_silent = last_reply.elapsed() > 2 * KEEPALIVE_INTERVAL;
                if is_silent || connection.send(&Command::new("PING")).await.is_err() {
                    return;
                }
                if !out.send(Bytes::from_static(b":\n\n")) {
                    return;
                }
            }
            _ = stopping.changed() => return,
            changed = reloadable.changed() => {
                let is_permitted = reloadable
                    .borrow()
                    .tokens
                    .is_still_permitted(&token_hash, |token| subscription.is_permitted(token));
                if changed.is_err() || !is_permitted {
                    return;
                }
            }
        }
    }
}

/// Returns the event for a reply; `None` if it answers the gateway's own PING.
fn event_for(reply: &Reply) -> Option<Bytes> {
    match reply {
        // MONITOR replies OK first, and then a line for each command.
        Reply::Status(text) if text == "OK" => Some(event(b"\"OK\"")),
        Reply::Status(text) if text == "PONG" => None,
        Reply::Status(text) => Some(event(text.as_bytes())),
        Reply::Array(fields) => {
            if fields.first().and_then(Reply::as_text) == Some("pong") {
                return None;
            }
            let fields: Vec<Vec<u8>> = fields.iter().map(bytes).collect();
            Some(event(&fields.join(&b',')))
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

/// Formats a server-sent event, with a `data` field for each line.
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

/// Shorter than the idle timeout of common proxies, often 60 s.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const EVENTS_MAX: usize = 4096;
/// The most channels or patterns of one stream.
const NAMES_MAX: usize = 100;
const EVENT_BYTES_MAX: usize = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::ResponseMemory;
    use tokio::io::AsyncWriteExt as _;

    const MIB: usize = 1 << 20;

    fn queue(memory: &ResponseMemory) -> (EventSender, mpsc::Receiver<Bytes>) {
        let (sender, queue) = mpsc::channel(EVENTS_MAX);
        let memory = StreamMemory::new(memory);
        (EventSender { sender, queued_bytes: Arc::default(), memory }, queue)
    }

    #[tokio::test]
    async fn queues_of_all_streams_share_the_memory_of_responses() {
        let memory = ResponseMemory::new(2);
        let (one, mut first) = queue(&memory);
        let (other, _second) = queue(&memory);
        let (quick, _third) = queue(&memory);
        let event = || Bytes::from(vec![b'x'; MIB]);
        assert!(one.send(event()) && other.send(event()));
        assert!(!one.send(event()), "no memory is left");
        assert!(quick.send(Bytes::from_static(b":\n\n")), "small queues are not counted");
        // The memory of an event is held until the event is written to the client.
        let written = first.recv().await;
        assert!(!other.send(event()));
        drop(written);
        assert!(other.send(event()));
    }

    #[tokio::test]
    async fn message_that_is_being_received_takes_memory() {
        let memory = ResponseMemory::new(2);
        let (gateway, mut redis) = tokio::io::duplex(MIB);
        let mut connection = DedicatedConnection::over(gateway);
        let account = StreamMemory::new(&memory);
        let message = |bytes: usize| format!("${bytes}\r\n{}\r\n", "x".repeat(bytes));
        let send = tokio::spawn(async move {
            redis.write_all(message(MIB).as_bytes()).await.unwrap();
            redis.write_all(message(MIB).as_bytes()).await.unwrap();
            let _ = redis.write_all(message(3 * MIB).as_bytes()).await;
        });
        for _ in 0..2 {
            let reply = connection.next_message(&account).await;
            assert!(matches!(reply, Ok(Reply::Bulk(_))), "{reply:?}");
            assert!(StreamMemory::new(&memory).reserve(3 * MIB / 2).is_none());
        }
        let error = connection.next_message(&account).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
        drop(connection);
        send.await.unwrap();
        assert!(StreamMemory::new(&memory).reserve(2 * MIB).is_some());
    }

    #[test]
    fn event_has_a_data_field_for_each_line() {
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
