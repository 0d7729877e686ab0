//! The wire format between Wasm and JavaScript: one string in, one string out.
//!
//! Each call into Wasm brings an [`IncomingRequest`] or a [`Resume`], and returns a [`Step`] or an
//! [`End`]. The first character of a step or an end is its tag; fields follow, a line each. A
//! body comes last and may have lines of its own. `src/js/protocol.js` is the other side, and
//! `src/js/protocol.golden` has an example of each variant that both sides are tested with.

use portcullis_core::RequestHead;
use std::fmt::{Display, Write as _};

/// The work that a task needs from JavaScript next. A task has one step at a time.
pub enum Step<'a> {
    /// Fetches the status and text of a response.
    FetchText(&'a TextRequest<'a>),
    /// Forwards the request and returns the head of the response, whose body stays in JavaScript.
    Forward { change: &'a EncodedForward, deadline_ms: u32 },
    /// Forwards the same request again, if it has no body and got no response.
    ForwardAgain { deadline_ms: u32 },
    /// Awaits the promise that JavaScript holds for the task. JavaScript forgets a task that waits
    /// longer than `within_ms`, since its client must have left.
    Settle { within_ms: u32 },
    /// Awaits a computation of the platform, such as a signature, which ends before a client could
    /// leave.
    Compute { within_ms: u32 },
}

/// A request for text, under a deadline and a size limit. Redirects are not followed (RFC 9110
/// section 15.4): a response with such a status is returned as it is.
pub struct TextRequest<'a> {
    pub method: &'static str,
    pub url: &'a str,
    pub request_id: &'a str,
    pub authorization: Option<&'a str>,
    pub body: Option<TextBody<'a>>,
    /// Until the whole response has arrived, in ms.
    pub deadline_ms: u32,
    /// The longest body of the response.
    pub bytes_max: u32,
}

/// The body of a [`TextRequest`].
#[derive(Clone, Copy)]
pub struct TextBody<'a> {
    pub content_type: ContentType,
    pub text: &'a str,
}

/// The media type of a [`TextBody`].
#[derive(Clone, Copy)]
pub enum ContentType {
    Form,
    Json,
}

/// The changes to the task's request before it goes to the upstream or the auth service.
pub struct Forward<'a> {
    /// What JavaScript is to know of the request as JSON, if JavaScript answers it.
    pub permit: Option<&'a str>,
    pub url: &'a str,
    /// The names of the headers to remove.
    pub remove: &'a [&'a str],
    /// The headers to set.
    pub set: &'a [(&'a str, String)],
    /// Whether the response is meant for its sender only, so that caches must not store it.
    pub personal: bool,
}

/// An encoded [`Forward`]. It borrows nothing from the request, whose head may be large.
pub struct EncodedForward(String);

/// The names and values of header fields. JavaScript sets a name with `?` only if the header is
/// missing, and deletes a name with `-`.
pub type Fields = Vec<(&'static str, String)>;

/// The end of a task.
pub enum End {
    /// A response of the edge itself.
    Respond { status: u16, fields: Fields, body: String },
    /// The forwarded response with these headers. `owns_cors` says whether the edge's own
    /// `Access-Control-` headers replace those of the upstream.
    Decorate { owns_cors: bool, fields: Fields },
    /// The forwarded response, unchanged.
    Pass,
    /// A defect of the edge, which JavaScript logs and answers with 500.
    Failed(TaskFailure),
}

/// A defect of the edge that ends a task.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TaskFailure {
    /// The task waits, but has no step for JavaScript.
    Stalled,
    /// No task has this number.
    Unknown,
    /// The request's head is not in the format of [`IncomingRequest`].
    HeadInvalid,
    /// A header field of the response contains a line break.
    EndInvalid,
}

/// A request as JavaScript encodes it: when and where it came, its id, and its head.
pub struct IncomingRequest<'a> {
    /// When it arrived, in Unix ms.
    pub now_ms: u64,
    /// A random UUID (RFC 9562) of JavaScript's.
    pub request_id: &'a str,
    /// The Cloudflare location that serves the request; empty if unknown.
    pub colo: &'a str,
    pub head: RequestHead<'a>,
}

/// The result of a step.
#[derive(Debug, Eq, PartialEq)]
pub enum Resume {
    /// Starts a background task.
    Start,
    /// The promise was settled; JavaScript holds its value.
    Settled,
    /// A response came. The text is the body of a text request, or the media type of an error.
    Response(TextResponse),
    /// The step failed.
    Failed(PlatformError),
}

/// A response that was read as text.
#[derive(Debug, Eq, PartialEq)]
pub struct TextResponse {
    pub status: u16,
    pub text: String,
}

/// The reason why a step failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PlatformError {
    /// The deadline passed.
    Timeout,
    /// A body was longer than its bound.
    TooLarge,
    /// The connection failed or was lost.
    Unreachable,
    /// The platform rejected the call, for example because a key is unusable.
    Rejected,
    /// A step or its result is not in the format of this file.
    Protocol,
}

/// A failure word that no [`PlatformError`] has.
#[derive(Debug, Eq, PartialEq)]
pub struct UnknownWord(pub String);

/// A field that can't be encoded because it contains a line break.
#[derive(Debug, Eq, PartialEq)]
pub struct LineBreakInField;

/// One data point for Workers Analytics Engine.
pub struct DataPoint<'a> {
    pub index: &'a str,
    pub blobs: &'a [&'a str],
    pub doubles: &'a [u64],
}

impl Step<'_> {
    /// Encodes the step. Fails if a field contains a line break.
    pub fn encode(&self) -> Result<String, LineBreakInField> {
        match self {
            Self::FetchText(request) => request.encode(),
            Self::Forward { change, deadline_ms } => Ok(change.step(*deadline_ms)),
            Self::ForwardAgain { deadline_ms } => Ok(format!("G{deadline_ms}")),
            Self::Settle { within_ms } => Ok(format!("S{within_ms}")),
            Self::Compute { within_ms } => Ok(format!("C{within_ms}")),
        }
    }
}

impl TextRequest<'_> {
    fn encode(&self) -> Result<String, LineBreakInField> {
        let (content_type, text) =
            self.body.map_or(("", ""), |body| (body.content_type.name(), body.text));
        let mut lines = Lines::new('A');
        lines.field(self.method).field(self.url).field(self.request_id);
        lines.field(self.authorization.unwrap_or_default()).field(content_type);
        lines.number(self.deadline_ms).number(self.bytes_max).body(text);
        lines.end()
    }
}

impl ContentType {
    fn name(self) -> &'static str {
        match self {
            Self::Form => "application/x-www-form-urlencoded",
            Self::Json => "application/json",
        }
    }
}

impl Forward<'_> {
    /// Encodes the change. Fails if a field contains a line break.
    pub fn encode(&self) -> Result<EncodedForward, LineBreakInField> {
        let mut lines = Lines::default();
        lines.field(if self.personal { "1" } else { "" });
        lines.field(self.permit.unwrap_or_default()).field(self.url);
        lines.number(self.remove.len());
        for name in self.remove {
            lines.field(name);
        }
        lines.fields(self.set).end().map(EncodedForward)
    }
}

impl EncodedForward {
    /// Returns the step that forwards the request with these changes, as [`Step::Forward`] does.
    pub fn step(&self, deadline_ms: u32) -> String {
        format!("F{deadline_ms}\n{}", self.0)
    }
}

impl End {
    /// Encodes the end. A field with a line break turns it into [`TaskFailure::EndInvalid`].
    pub fn encode(&self) -> String {
        let encoded = match self {
            Self::Respond { status, fields, body } => encode_response(*status, fields, body),
            Self::Decorate { owns_cors, fields } => {
                let mut lines = Lines::new('D');
                lines.field(if *owns_cors { "1" } else { "" }).fields(fields).end()
            }
            Self::Pass => Ok(String::new()),
            Self::Failed(failure) => Ok(format!("X{}", failure.event())),
        };
        encoded.unwrap_or_else(|LineBreakInField| Self::Failed(TaskFailure::EndInvalid).encode())
    }
}

/// Encodes a response, as [`End::Respond`] does.
pub fn encode_response<N: AsRef<str>>(
    status: u16,
    fields: &[(N, String)],
    body: &str,
) -> Result<String, LineBreakInField> {
    let mut lines = Lines::new('R');
    lines.number(status).number(fields.len() * 2).fields(fields).body(body).end()
}

impl TaskFailure {
    /// Returns the event's name in the log.
    fn event(self) -> &'static str {
        match self {
            Self::Stalled => "task_stalled",
            Self::Unknown => "task_unknown",
            Self::HeadInvalid => "head_invalid",
            Self::EndInvalid => "end_invalid",
        }
    }
}

impl<'a> IncomingRequest<'a> {
    /// Decodes a request: time, id and location, a line each, then the head as
    /// [`RequestHead::parse`] reads it. Returns `None` if a line is missing.
    pub fn decode(text: &'a str) -> Option<Self> {
        let mut lines = text.splitn(4, '\n');
        let now_ms = lines.next()?.parse().ok()?;
        let (request_id, colo) = (lines.next()?, lines.next()?);
        Some(Self { now_ms, request_id, colo, head: RequestHead::parse(lines.next()?)? })
    }

    /// Encodes what the edge still needs of a forwarded request. Drops its query and the headers
    /// that only the upstream needs.
    pub fn encode_rest(&self) -> String {
        let Self { now_ms, request_id, colo, head } = self;
        let (method, scheme, host, path) = (head.method(), head.scheme(), head.host(), head.path());
        let mut text = format!("{now_ms}\n{request_id}\n{colo}\n{method}\n{scheme}://{host}{path}");
        for name in KEPT_HEADERS {
            if let Some(value) = head.header(name).filter(|value| value.len() <= KEPT_BYTES_MAX) {
                let _ = write!(text, "\n{name}\n{value}");
            }
        }
        text
    }
}

impl Resume {
    /// Decodes the result of a step. `status` is that of a response, or 0 to 2 for the other
    /// variants.
    pub fn decode(status: u16, text: String) -> Result<Self, UnknownWord> {
        match status {
            0 => PlatformError::decode(text).map(Self::Failed),
            1 => Ok(Self::Settled),
            2 => Ok(Self::Start),
            status => Ok(Self::Response(TextResponse { status, text })),
        }
    }
}

impl PlatformError {
    fn decode(word: String) -> Result<Self, UnknownWord> {
        match word.as_str() {
            "timeout" => Ok(Self::Timeout),
            "too large" => Ok(Self::TooLarge),
            "unreachable" => Ok(Self::Unreachable),
            "rejected" => Ok(Self::Rejected),
            _ => Err(UnknownWord(word)),
        }
    }
}

impl DataPoint<'_> {
    /// Encodes the point. Fails if a text contains a line break.
    pub fn encode(&self) -> Result<String, LineBreakInField> {
        let mut lines = Lines::new('P');
        lines.field(self.index).number(self.blobs.len());
        for blob in self.blobs {
            lines.field(blob);
        }
        for double in self.doubles {
            lines.number(double);
        }
        lines.end()
    }
}

/// The request headers that responses and the log depend on.
const KEPT_HEADERS: [&str; 3] = ["origin", "cf-connecting-ip", "x-forwarded-for"];
const KEPT_BYTES_MAX: usize = 1024;

/// A writer of fields, a line each. A tag may precede the first.
struct Lines {
    text: String,
    first: bool,
    line_break: bool,
}

impl Default for Lines {
    fn default() -> Self {
        Self { text: String::new(), first: true, line_break: false }
    }
}

impl Lines {
    fn new(tag: char) -> Self {
        Self { text: tag.to_string(), ..Self::default() }
    }

    fn field(&mut self, field: &str) -> &mut Self {
        self.line_break |= field.contains('\n');
        self.body(field)
    }

    fn number(&mut self, number: impl Display) -> &mut Self {
        let lines = self.body("");
        let _ = write!(lines.text, "{number}");
        lines
    }

    fn fields<N: AsRef<str>>(&mut self, fields: &[(N, String)]) -> &mut Self {
        for (name, value) in fields {
            self.field(name.as_ref()).field(value);
        }
        self
    }

    /// Appends a text that may contain line breaks. It must be the last field.
    fn body(&mut self, text: &str) -> &mut Self {
        if !self.first {
            self.text.push('\n');
        }
        self.first = false;
        self.text.push_str(text);
        self
    }

    fn end(&mut self) -> Result<String, LineBreakInField> {
        if self.line_break {
            return Err(LineBreakInField);
        }
        Ok(std::mem::take(&mut self.text))
    }
}

#[cfg(test)]
mod tests;
