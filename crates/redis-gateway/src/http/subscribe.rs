//! Serves SUBSCRIBE, PSUBSCRIBE and MONITOR as server-sent events.

use super::gateway::Gateway;
use super::response::{ResponseBody, error, set_header, unavailable};
use crate::backend::StreamMemory;
use crate::request::{self, Endpoint};
use crate::stream::{Events, StreamLimits, SubscribeError, Subscription};
use crate::token::Token;
use hyper::header::{self, HeaderName};
use hyper::{Response, StatusCode};
use std::sync::Arc;

/// Subscribes for a client, and returns its event stream.
pub async fn subscribe(
    gateway: &Gateway,
    endpoint: Endpoint,
    path: &str,
    token: &Token,
) -> Response<ResponseBody> {
    let channels = request::channels(path);
    let subscription = match endpoint {
        Endpoint::Monitor => Subscription::Monitor,
        Endpoint::PatternSubscribe => Subscription::Patterns(channels),
        _ => Subscription::Channels(channels),
    };
    if !subscription.is_permitted(token) {
        let text = format!("NOPERM this token may not use '/{}' here", endpoint.name());
        return error(StatusCode::BAD_REQUEST, &text);
    }
    if !subscription.is_in_bounds() {
        let text = format!("ERR wrong number of arguments for '{}' command", endpoint.name());
        return error(StatusCode::BAD_REQUEST, &text);
    }
    let Ok(permit) = Arc::clone(&gateway.streams).try_acquire_owned() else {
        let text = "ERR too many streams; raise GATEWAY_STREAMS_MAX";
        let mut response = error(StatusCode::SERVICE_UNAVAILABLE, text);
        set_header(response.headers_mut(), header::RETRY_AFTER, "1");
        return response;
    };
    let connection = match gateway.backends.open(token.server).await {
        Ok(connection) => connection,
        Err(outage) => return unavailable(outage),
    };
    let limits = StreamLimits {
        stopping: gateway.stopping.clone(),
        reloadable: gateway.reloadable.clone(),
        token_hash: token.hash,
        memory: StreamMemory::new(&gateway.memory),
    };
    let metrics = Arc::clone(&gateway.metrics);
    let timeout = gateway.timeout;
    match Events::subscribe(connection, subscription, timeout, permit, metrics, limits).await {
        Ok(events) => {
            let mut response = Response::new(ResponseBody::Events(events));
            let headers = response.headers_mut();
            set_header(headers, header::CONTENT_TYPE, "text/event-stream");
            set_header(headers, header::CACHE_CONTROL, "no-cache");
            // nginx and similar proxies would buffer the events.
            set_header(headers, ACCEL_BUFFERING, "no");
            response
        }
        Err(SubscribeError::Rejected(text)) => error(StatusCode::BAD_REQUEST, &text),
        Err(SubscribeError::Outage(outage)) => unavailable(outage),
    }
}

const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
