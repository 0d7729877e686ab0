//! Responses and their bodies.

use crate::backend::{Outage, Reservation, ResponseMemory};
use crate::request::Format;
use crate::stream::Events;
use hyper::body::{Bytes, Frame, SizeHint};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use redis_rest::{Encoding, Reply, encode_reply, encode_resp2};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A response's body.
pub enum ResponseBody {
    Events(Events),
    Full(Option<Bytes>),
}

/// Builds the response for an outage of Redis.
pub fn unavailable(outage: Outage) -> Response<ResponseBody> {
    let mut response = error(StatusCode::SERVICE_UNAVAILABLE, outage.text());
    if outage == Outage::Memory {
        set_header(response.headers_mut(), header::RETRY_AFTER, "1");
    }
    response
}

/// Builds an error response: `{"error": "…"}`.
pub fn error(status: StatusCode, text: &str) -> Response<ResponseBody> {
    json(status, encode_reply(&Reply::Error(text.to_owned()), Encoding::Text))
}

/// Builds a JSON response.
pub fn json(status: StatusCode, body: String) -> Response<ResponseBody> {
    full(status, "application/json", body)
}

/// Encodes replies in RESP2.
pub fn encode_resp2_body(replies: &[Reply]) -> Vec<u8> {
    let mut body = Vec::new();
    replies.iter().for_each(|reply| encode_resp2(reply, &mut body));
    body
}

/// Builds a response with replies in JSON or RESP2, which holds its memory until it is written.
///
/// The replies must have been dropped: their memory is used for the body.
pub fn replies(
    status: StatusCode,
    format: Format,
    body: Vec<u8>,
    memory: &ResponseMemory,
) -> Response<ResponseBody> {
    let Some(reservation) = memory.reserve(body.len()) else {
        return unavailable(Outage::Memory);
    };
    let content_type = match format {
        Format::Json(_) => "application/json",
        Format::Resp2 => "application/octet-stream",
    };
    full(status, content_type, Bytes::from_owner(ReservedBytes { body, _reservation: reservation }))
}

/// A response's body and its memory.
struct ReservedBytes {
    body: Vec<u8>,
    _reservation: Reservation,
}

impl AsRef<[u8]> for ReservedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

/// Builds a plain-text response, in the format of Prometheus.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<ResponseBody> {
    full(status, "text/plain; version=0.0.4; charset=utf-8", body)
}

fn full(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Full(Some(body.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Sets a header, unless the value contains characters that a header can't have.
pub fn set_header(headers: &mut HeaderMap, name: impl header::IntoHeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

impl hyper::body::Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Events(events) => Pin::new(events).poll_frame(context),
            Self::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Events(_) => false,
            Self::Full(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Events(_) => SizeHint::default(),
            Self::Full(bytes) => {
                let length = bytes.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
            }
        }
    }
}
