//! HTTP: text requests, forwarded requests, and the request and response of a task.

use super::bindings;
use super::executor::TaskPort;
use super::protocol::{
    EncodedForward, PlatformError, Step, TextRequest, TextResponse, encode_response,
};
use js_sys::Promise;
use portcullis_core::Location;
use wasm_bindgen::{JsCast as _, JsValue};

impl TextRequest<'_> {
    /// Sends the request and reads the response.
    pub async fn send(&self, port: &TaskPort) -> Result<TextResponse, PlatformError> {
        port.fetch(Step::FetchText(self)).await
    }
}

/// Returns the location of the task's client.
pub fn location(port: &TaskPort) -> Location {
    Location::parse(&bindings::location(&bindings::request_of(port.id())))
}

/// The body of a request, read to its end.
#[derive(Clone)]
pub struct Body(JsValue);

impl Body {
    /// Reads the body of the task's request. Returns `None` if it has none.
    pub async fn read(
        port: &TaskPort,
        deadline_ms: u32,
        bytes_max: u32,
    ) -> Result<Option<Self>, PlatformError> {
        let request = bindings::request_of(port.id());
        let promise = bindings::read_body(&request, deadline_ms, bytes_max);
        let body = Self(port.settle(&promise, deadline_ms).await?);
        if body.0.is_undefined() {
            return Ok(None);
        }
        port.hold(body.bytes().length() as usize);
        Ok(Some(body))
    }

    /// Returns the body as text; an empty text if it is not UTF-8.
    pub fn text(&self) -> String {
        String::from_utf8(self.bytes().to_vec()).unwrap_or_default()
    }

    fn bytes(&self) -> js_sys::Uint8Array {
        js_sys::Uint8Array::new(&self.0)
    }
}

/// The response of an upstream or of the auth service, whose body may still be arriving.
pub struct Response {
    pub status: u16,
    /// The media type, if the status is an error.
    pub media_type: String,
    /// The response in JavaScript; `None` if JavaScript already holds it for the task.
    value: Option<web_sys::Response>,
}

impl Response {
    /// Builds a response from captured parts. Returns `None` if HTTP does not allow them.
    pub fn of_parts(status: u16, fields: &[(String, String)], body: &str) -> Option<Self> {
        let parts = encode_response(status, fields, body).ok()?;
        bindings::response_of(&parts).ok().map(Self::detached)
    }

    fn detached(value: web_sys::Response) -> Self {
        let media_type = value.headers().get("content-type").ok().flatten().unwrap_or_default();
        Self { status: value.status(), media_type, value: Some(value) }
    }

    /// Makes this the response with which the task ends.
    pub fn hold(&self, port: &TaskPort) {
        if let Some(value) = &self.value {
            bindings::set_response(port.id(), value);
        }
    }
}

impl EncodedForward {
    /// Forwards the task's request, with `body` or else as a stream. Returns when the head of the
    /// response arrives. JavaScript does not keep the request after that.
    pub async fn send(
        &self,
        port: &TaskPort,
        body: Option<&Body>,
        deadline_ms: u32,
    ) -> Result<Response, PlatformError> {
        if let Some(body) = body {
            bindings::set_body(port.id(), &body.0);
        }
        forwarded(port, Step::Forward { change: self, deadline_ms }).await
    }
}

/// Sends the forwarded request again, if it has no body.
pub async fn send_again(port: &TaskPort, deadline_ms: u32) -> Result<Response, PlatformError> {
    forwarded(port, Step::ForwardAgain { deadline_ms }).await
}

async fn forwarded(port: &TaskPort, step: Step<'_>) -> Result<Response, PlatformError> {
    let TextResponse { status, text } = port.fetch(step).await?;
    Ok(Response { status, media_type: text, value: None })
}

/// The stream or WebSocket of a forwarded response, which the edge can end.
pub struct Stream(JsValue);

impl Stream {
    /// Takes control of the stream or WebSocket of the task's response. Returns `None` if it has
    /// neither.
    pub fn open(port: &TaskPort) -> Option<Self> {
        bindings::watch_response(port.id()).map(Self)
    }

    /// Waits for at most `ms`. Returns whether the stream has ended. A stream that can't be watched
    /// is ended.
    pub async fn has_ended_within(&self, port: &TaskPort, ms: u32) -> bool {
        let ended = port.settle(&bindings::stream_ended(&self.0, ms), ms).await;
        match ended.ok().and_then(|ended| ended.as_bool()) {
            Some(ended) => ended,
            None => {
                self.end("internal");
                true
            }
        }
    }

    /// Ends the stream. A WebSocket is closed with 1008 (RFC 6455 section 7.4.1) and the reason; a
    /// body is cut off.
    pub fn end(&self, reason: &str) {
        bindings::end_stream(&self.0, reason);
    }
}

/// A forwarded request whose response is read to its end. It may outlive its client, so it borrows
/// nothing from the request.
pub struct BufferedForward {
    gate: u32,
    request: web_sys::Request,
    step: String,
    body: Option<Body>,
    deadline_ms: u32,
}

impl BufferedForward {
    /// Takes the task's request, to be forwarded within `deadline_ms`.
    pub fn new(
        port: &TaskPort,
        change: &EncodedForward,
        body: Option<&Body>,
        deadline_ms: u32,
    ) -> Self {
        let (request, step) = (bindings::take_request(port.id()), change.step(deadline_ms));
        Self { gate: bindings::gate_of(port.id()), request, step, body: body.cloned(), deadline_ms }
    }

    /// Sends the request.
    pub fn send(self, bytes_max: u32) -> PendingResponse {
        let body = self.body.as_ref().map(|body| &body.0);
        let promise =
            bindings::forward_buffered(self.gate, &self.request, &self.step, body, bytes_max);
        PendingResponse { promise, deadline_ms: self.deadline_ms }
    }
}

/// A response to a [`BufferedForward`], read to its end if it is successful.
pub enum BufferedResponse {
    /// An unsuccessful or too long response, unread.
    Other(Response),
    /// The headers and body of a successful response, for
    /// [`portcullis_core::CapturedResponse::parse`].
    Text(String),
}

/// A response to a [`BufferedForward`] that may arrive after its client stopped waiting.
pub struct PendingResponse {
    promise: Promise,
    deadline_ms: u32,
}

impl PendingResponse {
    /// Waits for at most `ms`. Returns `None` if the response has not arrived by then.
    pub async fn within(
        &self,
        port: &TaskPort,
        ms: u32,
    ) -> Option<Result<BufferedResponse, PlatformError>> {
        match port.settle(&bindings::sooner(&self.promise, ms), ms).await {
            Ok(value) if value.is_undefined() => None,
            Ok(value) => Some(Ok(BufferedResponse::of(value))),
            Err(error) => Some(Err(error)),
        }
    }

    /// Waits for the response.
    pub async fn end(self, port: &TaskPort) -> Result<BufferedResponse, PlatformError> {
        port.settle(&self.promise, self.deadline_ms).await.map(BufferedResponse::of)
    }
}

impl BufferedResponse {
    fn of(value: JsValue) -> Self {
        match value.as_string() {
            Some(text) => Self::Text(text),
            None => Self::Other(Response::detached(value.unchecked_into())),
        }
    }
}
