//! Responses and their bodies.

use crate::backend::{Outage, ReplyMemory, Reservation};
use crate::request::Format;
use crate::stream::Events;
use hyper::body::{Bytes, Frame, SizeHint};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use redis_rest::{Encoding, Reply, encode_replies, encode_reply, encode_resp2, resp2_bytes};
use std::convert::Infallible;
use std::io::{self, Write};
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
    let error = Reply::Error(text.to_owned());
    json(status, Content::One(&error).encode(Format::Json(Encoding::Text), 0))
}

/// Builds a JSON response.
pub fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<ResponseBody> {
    full(status, "application/json", body)
}

/// The content of a response.
#[derive(Clone, Copy)]
pub enum Content<'a> {
    /// The reply to a single command.
    One(&'a Reply),
    /// The replies to a pipeline or a transaction.
    All(&'a [Reply]),
}

impl Content<'_> {
    /// Returns the length of the encoded body.
    fn bytes(self, format: Format) -> usize {
        match (self, format) {
            (Self::One(reply), Format::Resp2) => resp2_bytes(reply),
            (Self::All(replies), Format::Resp2) => replies.iter().map(resp2_bytes).sum(),
            (_, Format::Json(encoding)) => {
                let mut length = Length(0);
                let _ = self.write_json(encoding, &mut length);
                length.0
            }
        }
    }

    /// Encodes a body whose length is known.
    fn encode(self, format: Format, bytes: usize) -> Vec<u8> {
        let mut body = Vec::with_capacity(bytes);
        match (self, format) {
            (Self::One(reply), Format::Resp2) => encode_resp2(reply, &mut body),
            (Self::All(replies), Format::Resp2) => {
                replies.iter().for_each(|reply| encode_resp2(reply, &mut body));
            }
            (_, Format::Json(encoding)) => {
                // Writing to memory can't fail.
                let _ = self.write_json(encoding, &mut body);
            }
        }
        body
    }

    fn write_json(self, encoding: Encoding, out: impl Write) -> io::Result<()> {
        match self {
            Self::One(reply) => encode_reply(reply, encoding, out),
            Self::All(replies) => encode_replies(replies, encoding, out),
        }
    }
}

/// A writer that counts the bytes.
struct Length(usize);

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Builds a response with replies in JSON or RESP2. It holds its memory until it is written.
///
/// `memory` is the memory of the replies. The body's memory is reserved before the body is built.
pub fn replies(
    status: StatusCode,
    format: Format,
    content: Content<'_>,
    memory: &ReplyMemory,
) -> Response<ResponseBody> {
    let bytes = content.bytes(format);
    let Some(reservation) = memory.reserve(bytes) else {
        return unavailable(Outage::Memory);
    };
    let body = content.encode(format, bytes);
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

/// Sets a header, unless the value contains characters that a header can't contain.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_of_a_body_is_known_before_it_is_made() {
        let all = [
            Reply::Array(vec![Reply::Integer(-7), Reply::Null, Reply::text("\n\u{1}\"é")]),
            Reply::Bulk(vec![0xFF; 1000]),
            Reply::Error("ERR x".to_owned()),
            Reply::Status("OK".to_owned()),
        ];
        let json = [Encoding::Base64, Encoding::Text].map(Format::Json);
        for format in [json[0], json[1], Format::Resp2] {
            for content in [Content::All(&all), Content::One(&all[0]), Content::All(&[])] {
                let body = content.encode(format, 0);
                assert_eq!(content.bytes(format), body.len(), "{format:?}");
            }
        }
    }
}
