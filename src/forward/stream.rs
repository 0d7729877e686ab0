//! Ends streams and WebSockets on routes that bound them, in a background task of the request.

use crate::context::RequestContext;
use crate::platform::clock;
use crate::platform::http::Stream;
use crate::platform::log::{Level, Line};
use crate::store;
use portcullis_core::{LogPolicy, Outage, StreamBounds, StreamEnd};

/// Watches the task's response until it ends, if the response is a stream or a WebSocket.
pub fn watch(bounds: StreamBounds, context: &RequestContext) {
    let Some(stream) = Stream::open(&context.port) else {
        return;
    };
    context.spawn(|context| async move {
        if let Some(end) = follow(&stream, &bounds, &context).await {
            stream.end(end.reason());
            if context.policy.observability.log == LogPolicy::All {
                Line::new(Level::Info, "stream_ended")
                    .text("request_id", &context.request_id)
                    .text("reason", end.reason())
                    .write();
            }
        }
    });
}

/// Waits for the end of the stream. Returns the reason why the edge must end it; `None` if it has
/// ended.
async fn follow(
    stream: &Stream,
    bounds: &StreamBounds,
    context: &RequestContext,
) -> Option<StreamEnd> {
    loop {
        let pause_ms = u32::try_from(bounds.pause_ms(clock::now_ms())).unwrap_or(u32::MAX);
        if stream.has_ended_within(&context.port, pause_ms).await {
            return None;
        }
        if let Some(end) = bounds.end_by_time(clock::now_ms()) {
            return Some(end);
        }
        if let Some(command) = bounds.recheck() {
            let replies = store::execute(&[command], context).await;
            let reply = match &replies {
                Ok(replies) => replies.first().ok_or(Outage::StoreBadResponse),
                Err(outage) => Err(*outage),
            };
            let can_repeat = !context.calls_used_up.get();
            if let Some(end) = bounds.end_by_reply(reply, can_repeat) {
                return Some(end);
            }
        }
    }
}
