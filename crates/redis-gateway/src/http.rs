//! The protocol over HTTP: who may ask, what is asked, and how the answer is written.

use crate::backend::{Backend, Outage};
use crate::command::{self, Facts};
use crate::config::Live;
use crate::metrics::Metrics;
use crate::request::{self, Endpoint, Format, Probe};
use crate::script::Scripts;
use crate::stream::{Ends, Events, Refused, Subject};
use crate::token::Token;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use redis_rest::{
    Command, CommandError, Encoding, Reply, encode_replies, encode_reply, encode_resp2,
};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, SemaphorePermit, watch};

/// All that a request needs.
pub struct Gateway {
    pub backend: Backend,
    pub live: watch::Receiver<Arc<Live>>,
    pub metrics: Arc<Metrics>,
    pub scripts: Scripts,
    pub deadline: Duration,
    /// A permit for each stream.
    pub streams: Arc<Semaphore>,
    /// A permit for each KiB of the bodies that are not answered yet.
    pub bodies: Semaphore,
    pub stopping: watch::Receiver<bool>,
    /// Tells this process's sync tokens from another's.
    pub instance: u64,
    pub writes: AtomicU64,
    pub requests: AtomicU64,
}

/// An answer's body.
pub enum Body {
    Events(Events),
    Whole(Option<Bytes>),
}

/// What a request came to: the answer, and what the log says of it.
struct Outcome {
    response: Response<Body>,
    token: Option<String>,
    commands: usize,
}

/// Answers one request, counts it, and writes its line in the log, which has no values.
pub async fn answer(gateway: Arc<Gateway>, request: Request<Incoming>) -> Response<Body> {
    if let Some(probe) = Probe::of(request.uri().path()) {
        return gateway.probe(probe).await;
    }
    let endpoint = Endpoint::of(request.uri().path());
    let begun = Instant::now();
    let request_id = gateway.request_id(request.headers());
    let Outcome { mut response, token, commands } = serve(&gateway, endpoint, request).await;
    let status = response.status();
    if status.is_client_error() || status.is_server_error() {
        set(response.headers_mut(), REQUEST_ID, &request_id);
    }
    if token.is_some() {
        set(response.headers_mut(), SYNC_TOKEN, &gateway.sync_token());
    }
    gateway.metrics.requests.with_label_values(&[endpoint.name(), status.as_str()]).inc();
    gateway.metrics.seconds.observe(begun.elapsed().as_secs_f64());
    let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    let (endpoint, status) = (endpoint.name(), status.as_u16());
    tracing::info!(event = "request", request_id, endpoint, token, commands, status, micros);
    response
}

/// Lets in who has a token, and serves what is asked.
async fn serve(gateway: &Gateway, endpoint: Endpoint, request: Request<Incoming>) -> Outcome {
    let refused = |token: Option<&Token>, response| Outcome {
        response,
        token: token.map(|token| token.name.clone()),
        commands: 0,
    };
    let live = Arc::clone(&gateway.live.borrow());
    let Some(token) = token(&live, &request) else {
        let text = "WRONGPASS invalid or missing auth token; send Authorization: Bearer";
        return refused(None, error(StatusCode::UNAUTHORIZED, text));
    };
    if let Some(response) = disallowed(endpoint, request.method()) {
        return refused(Some(token), response);
    }
    let header = |name: &HeaderName| request.headers().get(name).map(HeaderValue::as_bytes);
    let format = match Format::of(header(&RESPONSE_FORMAT), header(&ENCODING)) {
        Ok(format) => format,
        Err(fault) => return refused(Some(token), error(StatusCode::BAD_REQUEST, fault.text())),
    };
    let (response, commands) = match endpoint {
        Endpoint::Monitor | Endpoint::PatternSubscribe | Endpoint::Subscribe => {
            (gateway.follow(endpoint, request.uri().path(), token).await, 1)
        }
        Endpoint::Pipeline | Endpoint::Transaction => {
            let body = match gateway.read(request.into_body()).await {
                Ok(body) => body,
                Err(fault) => return refused(Some(token), fault.response()),
            };
            match request::pipeline(&body.bytes) {
                Ok(commands) => {
                    let count = commands.len();
                    let response = if endpoint == Endpoint::Pipeline {
                        gateway.pipeline(token, commands, format).await
                    } else {
                        gateway.transaction(token, commands, format).await
                    };
                    (response, count)
                }
                Err(fault) => return refused(Some(token), malformed(fault)),
            }
        }
        Endpoint::Command => {
            let uri = request.uri().clone();
            let body = match gateway.read(request.into_body()).await {
                Ok(body) => body,
                Err(fault) => return refused(Some(token), fault.response()),
            };
            match request::command(uri.path(), uri.query(), &body.bytes) {
                Ok(command) => (gateway.one(token, command, format).await, 1),
                Err(fault) => return refused(Some(token), malformed(fault)),
            }
        }
    };
    Outcome { response, token: Some(token.name.clone()), commands }
}

impl Gateway {
    async fn probe(&self, probe: Probe) -> Response<Body> {
        match probe {
            Probe::Health => text(StatusCode::OK, "ok\n"),
            Probe::Metrics => match self.metrics.text() {
                Some(metrics) => text(StatusCode::OK, metrics),
                None => text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics can't be written\n"),
            },
            Probe::Ready if self.backend.is_ready().await => text(StatusCode::OK, "ready\n"),
            Probe::Ready => text(StatusCode::SERVICE_UNAVAILABLE, "Redis does not answer\n"),
        }
    }

    async fn one(&self, token: &Token, command: Command, format: Format) -> Response<Body> {
        let reply = match self.run(token, vec![command]).await {
            Ok(replies) => replies.into_iter().next().unwrap_or(Reply::Null),
            Err(outage) => return unavailable(outage),
        };
        let status = match reply {
            Reply::Error(_) => StatusCode::BAD_REQUEST,
            _ => StatusCode::OK,
        };
        match format {
            Format::Json(encoding) => json(status, encode_reply(&reply, encoding)),
            Format::Resp2 => resp2(status, std::slice::from_ref(&reply)),
        }
    }

    async fn pipeline(
        &self,
        token: &Token,
        commands: Vec<Command>,
        format: Format,
    ) -> Response<Body> {
        match self.run(token, commands).await {
            Ok(replies) => match format {
                Format::Json(encoding) => json(StatusCode::OK, encode_replies(&replies, encoding)),
                Format::Resp2 => resp2(StatusCode::OK, &replies),
            },
            Err(outage) => unavailable(outage),
        }
    }

    async fn transaction(
        &self,
        token: &Token,
        mut commands: Vec<Command>,
        format: Format,
    ) -> Response<Body> {
        // A transaction is always answered in JSON.
        let encoding = match format {
            Format::Json(encoding) => encoding,
            Format::Resp2 => Encoding::Text,
        };
        let known: Vec<Option<&'static Facts>> =
            commands.iter().map(|command| command::facts(command.name())).collect();
        let refusal = commands
            .iter()
            .zip(&known)
            .find_map(|(command, facts)| refusal(token, command, *facts));
        if let Some(refusal) = refusal {
            known.iter().for_each(|facts| self.count(*facts, "refused"));
            return json(
                StatusCode::BAD_REQUEST,
                encode_reply(&Reply::Error(refusal), Encoding::Text),
            );
        }
        if commands.is_empty() {
            return json(StatusCode::OK, "[]".to_owned());
        }
        let renamed: Vec<_> =
            commands.iter_mut().map(|command| self.scripts.translate(command)).collect();
        self.note_writes(&known);
        match self.backend.run_atomically(&commands).await {
            Ok(Reply::Array(mut replies)) => {
                for ((reply, renamed), facts) in replies.iter_mut().zip(renamed).zip(known) {
                    self.count(facts, outcome(reply));
                    if let Some(renamed) = renamed {
                        renamed.mend(reply);
                    }
                }
                json(StatusCode::OK, encode_replies(&replies, encoding))
            }
            Ok(discarded) => {
                known.iter().for_each(|facts| self.count(*facts, "error"));
                json(StatusCode::BAD_REQUEST, encode_reply(&discarded, Encoding::Text))
            }
            Err(outage) => {
                known.iter().for_each(|facts| self.count(*facts, outage_name(outage)));
                unavailable(outage)
            }
        }
    }

    /// Runs commands in order. One that is refused answers in its place, and the others run.
    async fn run(&self, token: &Token, commands: Vec<Command>) -> Result<Vec<Reply>, Outage> {
        let count = commands.len();
        let mut known = Vec::with_capacity(count);
        let mut refusals = Vec::with_capacity(count);
        let mut allowed = Vec::with_capacity(count);
        let mut renamed = Vec::new();
        for mut command in commands {
            let facts = command::facts(command.name());
            let refusal = refusal(token, &command, facts);
            if refusal.is_none() {
                if let Some(name) = self.scripts.translate(&mut command) {
                    renamed.push((refusals.len(), name));
                }
                allowed.push(command);
            }
            known.push(facts);
            refusals.push(refusal);
        }
        self.note_writes(&known);
        let mut answers = if allowed.is_empty() {
            Vec::new().into_iter()
        } else {
            match self.backend.run(allowed).await {
                Ok(replies) => replies.into_iter(),
                Err(outage) => {
                    for (facts, refusal) in known.iter().zip(&refusals) {
                        let outcome = refusal.as_ref().map_or(outage_name(outage), |_| "refused");
                        self.count(*facts, outcome);
                    }
                    return Err(outage);
                }
            }
        };
        let mut replies: Vec<Reply> = Vec::with_capacity(count);
        for (refusal, facts) in refusals.into_iter().zip(known) {
            let reply = match refusal {
                Some(text) => {
                    self.count(facts, "refused");
                    Reply::Error(text)
                }
                None => {
                    let reply = answers.next().unwrap_or(Reply::Null);
                    self.count(facts, outcome(&reply));
                    reply
                }
            };
            replies.push(reply);
        }
        for (place, name) in renamed {
            if let Some(reply) = replies.get_mut(place) {
                name.mend(reply);
            }
        }
        Ok(replies)
    }

    async fn follow(&self, endpoint: Endpoint, path: &str, token: &Token) -> Response<Body> {
        let channels = request::channels(path);
        let subject = match endpoint {
            Endpoint::Monitor => Subject::Everything,
            Endpoint::PatternSubscribe => Subject::Patterns(channels),
            _ => Subject::Channels(channels),
        };
        if !subject.is_open_to(token) {
            let text = format!("NOPERM this token may not use '/{}' here", endpoint.name());
            return error(StatusCode::BAD_REQUEST, &text);
        }
        if !subject.is_in_bounds() {
            let text = format!("ERR wrong number of arguments for '{}' command", endpoint.name());
            return error(StatusCode::BAD_REQUEST, &text);
        }
        let Ok(permit) = Arc::clone(&self.streams).try_acquire_owned() else {
            let text = "ERR too many streams; GATEWAY_STREAMS_MAX bounds them";
            return error(StatusCode::SERVICE_UNAVAILABLE, text);
        };
        let own = match self.backend.open().await {
            Ok(own) => own,
            Err(outage) => return unavailable(outage),
        };
        // A token that is revoked, or may no longer, ends its streams.
        let (hash, live) = (token.hash(), self.live.clone());
        let ends = Ends { stopping: self.stopping.clone(), live, hash };
        let metrics = Arc::clone(&self.metrics);
        match Events::begin(own, subject, self.deadline, permit, metrics, ends).await {
            Ok(events) => {
                let mut response = Response::new(Body::Events(events));
                let headers = response.headers_mut();
                set(headers, header::CONTENT_TYPE, "text/event-stream");
                set(headers, header::CACHE_CONTROL, "no-cache");
                // Proxies of nginx's kind would hold events back.
                set(headers, ACCEL_BUFFERING, "no");
                response
            }
            Err(Refused::ByRedis(text)) => error(StatusCode::BAD_REQUEST, &text),
            Err(Refused::Out(outage)) => unavailable(outage),
        }
    }

    /// Reads a body within its bounds of bytes and time.
    async fn read(&self, body: Incoming) -> Result<Held<'_>, BodyFault> {
        // Most requests have none, or one that is here already.
        if body.is_end_stream() {
            return Ok(Held::default());
        }
        match tokio::time::timeout(BODY_WAIT_MAX, self.collect(body)).await {
            Ok(read) => read,
            Err(_) => Err(BodyFault::TooSlow),
        }
    }

    /// Of a body that is too large, what is still to come is taken and dropped, within reason: a client
    /// that is cut off while it sends does not see why.
    async fn collect(&self, mut body: Incoming) -> Result<Held<'_>, BodyFault> {
        let (mut length, mut held) = (0_u64, 0);
        let mut first = Bytes::new();
        let mut rest: Vec<u8> = Vec::new();
        let mut permits: Option<SemaphorePermit<'_>> = None;
        let mut fault = (body.size_hint().lower() > BODY_BYTES_MAX).then_some(BodyFault::TooLarge);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| BodyFault::Broken)?;
            let Ok(data) = frame.into_data() else { continue };
            length += u64::try_from(data.len()).unwrap_or(u64::MAX);
            if length > BODY_BYTES_MAX {
                fault.get_or_insert(BodyFault::TooLarge);
            }
            if fault.is_some() {
                (first, rest) = (Bytes::new(), Vec::new());
                permits = None;
                held = 0;
                if length > DROPPED_BYTES_MAX {
                    break;
                }
                continue;
            }
            // A permit for each KiB of the whole, however small its pieces are.
            let kib = length.div_ceil(1024) - held;
            if kib > 0 {
                held += kib;
                match self.bodies.try_acquire_many(u32::try_from(kib).unwrap_or(u32::MAX)) {
                    Ok(more) => match &mut permits {
                        Some(permits) => permits.merge(more),
                        None => permits = Some(more),
                    },
                    Err(_) => fault = Some(BodyFault::Crowded),
                }
            }
            if first.is_empty() && rest.is_empty() {
                first = data;
                continue;
            }
            if rest.is_empty() {
                rest.extend(&first);
            }
            rest.extend(&data);
        }
        match fault {
            Some(fault) => Err(fault),
            None if rest.is_empty() => Ok(Held { bytes: first, _permits: permits }),
            None => Ok(Held { bytes: rest.into(), _permits: permits }),
        }
    }

    /// What an answer's sync token is: another one after each write. All reads go to masters, so whatever
    /// token a client brings, it reads what was written before.
    fn sync_token(&self) -> String {
        format!("{:x}.{:x}", self.instance, self.writes.load(Ordering::Relaxed))
    }

    /// Commands are about to run; what may be written counts as a write, whatever comes of it.
    fn note_writes(&self, known: &[Option<&Facts>]) {
        if known.iter().any(|facts| may_write(*facts)) {
            self.writes.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn count(&self, facts: Option<&Facts>, outcome: &str) {
        let family = facts.map_or("other", |facts| facts.family.name());
        self.metrics.commands.with_label_values(&[family, outcome]).inc();
    }

    /// The client's id for the request, as far as it is fit for a log, or one of our own.
    fn request_id(&self, headers: &HeaderMap) -> String {
        let given = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
        let given: String = given.chars().filter(char::is_ascii_graphic).take(64).collect();
        if given.is_empty() {
            let number = self.requests.fetch_add(1, Ordering::Relaxed);
            format!("{:x}.{number:x}", self.instance)
        } else {
            given
        }
    }
}

/// A body, with its permits: what it takes is taken until it is answered.
#[derive(Default)]
struct Held<'a> {
    bytes: Bytes,
    _permits: Option<SemaphorePermit<'a>>,
}

/// Why a body is not served.
enum BodyFault {
    Broken,
    Crowded,
    TooLarge,
    TooSlow,
}

impl BodyFault {
    fn response(&self) -> Response<Body> {
        let mut response = match self {
            Self::Broken => error(StatusCode::BAD_REQUEST, "ERR the request's body broke off"),
            Self::Crowded => {
                error(StatusCode::SERVICE_UNAVAILABLE, "ERR too many large requests at once")
            }
            Self::TooLarge => error(StatusCode::PAYLOAD_TOO_LARGE, "ERR max request size exceeded"),
            Self::TooSlow => error(StatusCode::REQUEST_TIMEOUT, "ERR the request came too slowly"),
        };
        // What is left of the body is not waited for.
        set(response.headers_mut(), header::CONNECTION, "close");
        response
    }
}

/// Why a command is not run, first for what it is, then for who sends it.
fn refusal(token: &Token, command: &Command, facts: Option<&Facts>) -> Option<String> {
    command::refusal(command, facts).or_else(|| token.refusal(command, facts))
}

fn may_write(facts: Option<&Facts>) -> bool {
    use command::Access;
    !matches!(facts.map(|facts| facts.access), Some(Access::Any | Access::Read))
}

/// What one reply is counted as. Of a Cluster, one node may be out and the others not.
fn outcome(reply: &Reply) -> &'static str {
    let Reply::Error(text) = reply else { return "ok" };
    let outages = [Outage::Deadline, Outage::Unreachable];
    let outage = outages.into_iter().find(|outage| outage.text() == text);
    outage.map_or("error", outage_name)
}

fn outage_name(outage: Outage) -> &'static str {
    match outage {
        Outage::Deadline => "deadline",
        Outage::Unreachable => "unreachable",
    }
}

/// The token of `Authorization: Bearer`, or else of the query.
fn token<'a>(live: &'a Live, request: &Request<Incoming>) -> Option<&'a Token> {
    match request.headers().get(header::AUTHORIZATION) {
        Some(value) => {
            let value = value.to_str().ok()?;
            let (scheme, secret) = value.split_once(' ')?;
            scheme
                .eq_ignore_ascii_case("bearer")
                .then(|| live.tokens.find(secret.trim().as_bytes()))?
        }
        None => live.tokens.find(&request::query_token(request.uri().query())?),
    }
}

fn disallowed(endpoint: Endpoint, method: &Method) -> Option<Response<Body>> {
    let sends = matches!(*method, Method::POST | Method::PUT);
    let asks = matches!(*method, Method::GET | Method::HEAD);
    let (allowed, allow) = match endpoint {
        Endpoint::Pipeline | Endpoint::Transaction => (sends, "POST, PUT"),
        // HEAD has no body to stream.
        Endpoint::Monitor | Endpoint::PatternSubscribe | Endpoint::Subscribe => {
            (sends || *method == Method::GET, "GET, POST, PUT")
        }
        Endpoint::Command => (sends || asks, "GET, HEAD, POST, PUT"),
    };
    (!allowed).then(|| {
        let mut response = error(StatusCode::METHOD_NOT_ALLOWED, "ERR method not allowed");
        set(response.headers_mut(), header::ALLOW, allow);
        response
    })
}

fn malformed(fault: CommandError) -> Response<Body> {
    error(StatusCode::BAD_REQUEST, &fault.to_string())
}

fn unavailable(outage: Outage) -> Response<Body> {
    error(StatusCode::SERVICE_UNAVAILABLE, outage.text())
}

fn error(status: StatusCode, text: &str) -> Response<Body> {
    json(status, encode_reply(&Reply::Error(text.to_owned()), Encoding::Text))
}

fn json(status: StatusCode, body: String) -> Response<Body> {
    whole(status, "application/json", body)
}

fn resp2(status: StatusCode, replies: &[Reply]) -> Response<Body> {
    let mut body = Vec::new();
    replies.iter().for_each(|reply| encode_resp2(reply, &mut body));
    whole(status, "application/octet-stream", body)
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    whole(status, "text/plain; version=0.0.4; charset=utf-8", body)
}

fn whole(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::Whole(Some(body.into())));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn set(headers: &mut HeaderMap, name: impl header::IntoHeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Events(events) => Pin::new(events).poll_frame(context),
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Events(_) => false,
            Self::Whole(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Events(_) => SizeHint::default(),
            Self::Whole(bytes) => {
                let length = bytes.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
            }
        }
    }
}

const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
const ENCODING: HeaderName = HeaderName::from_static("upstash-encoding");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const RESPONSE_FORMAT: HeaderName = HeaderName::from_static("upstash-response-format");
const SYNC_TOKEN: HeaderName = HeaderName::from_static("upstash-sync-token");
/// Longest request body: 10 MB, as Upstash has it.
const BODY_BYTES_MAX: u64 = 10_000_000;
/// How much of a larger one is taken all the same, and dropped.
const DROPPED_BYTES_MAX: u64 = 4 * BODY_BYTES_MAX;
/// How long a request's body may take to come.
const BODY_WAIT_MAX: Duration = Duration::from_secs(10);
