//! The platform, as `entry.js` and `host.js` offer it; nothing else here calls JavaScript. Values that both sides
//! must read are flat text, and what can fail answers with a word instead of throwing. A task takes steps:
//! what each request does has one of its own, all else is a promise that is to settle.

use crate::task::{self, Step};
use js_sys::Promise;
use wasm_bindgen::prelude::*;

#[wasm_bindgen(raw_module = "./entry.js")]
extern "C" {
    /// The number of a new task for the request of the task that runs.
    pub fn adopt(parent: u32) -> u32;

    #[wasm_bindgen(js_name = holdPromise)]
    fn hold_promise(task: u32, promise: &Promise);

    #[wasm_bindgen(js_name = heldValue)]
    fn held_value(task: u32) -> JsValue;

    /// All variables, secrets and bindings.
    pub fn environment() -> JsValue;

    #[wasm_bindgen(js_name = request)]
    fn request_of(task: u32) -> web_sys::Request;

    #[wasm_bindgen(js_name = holdBody)]
    fn hold_body(task: u32, body: &JsValue);

    #[wasm_bindgen(js_name = holdResponse)]
    fn hold_response(task: u32, response: &web_sys::Response);
}

#[wasm_bindgen(raw_module = "./host.js")]
extern "C" {
    fn now() -> f64;

    #[wasm_bindgen(js_name = country)]
    fn country_of(request: &web_sys::Request) -> String;

    /// A plain variable or secret of that name.
    pub fn variable(env: &JsValue, name: &str) -> Option<String>;

    /// Writes one line to the log.
    pub fn log(line: &str);

    #[wasm_bindgen(js_name = replyOf, catch)]
    fn try_reply_of(status: u16, fields: &str, body: &str) -> Result<web_sys::Response, JsValue>;

    /// A binding that is no plain variable.
    pub fn binding(env: &JsValue, name: &str) -> Option<JsValue>;

    /// One data point of texts and numbers, a line each.
    pub fn point(dataset: &JsValue, index: &str, blobs: &str, doubles: &str);

    #[wasm_bindgen(js_name = nonce)]
    fn nonce_bytes() -> Vec<u8>;

    #[wasm_bindgen(js_name = limit)]
    fn limit_promise(limiter: &JsValue, key: &str) -> Promise;

    #[wasm_bindgen(js_name = sleep)]
    fn sleep_promise(ms: u32) -> Promise;

    #[wasm_bindgen(js_name = cacheGet)]
    fn cache_get_promise(url: &str) -> Promise;

    #[wasm_bindgen(js_name = cachePut)]
    fn cache_put_promise(url: &str, text: &str, seconds: f64) -> Promise;

    #[wasm_bindgen(js_name = exchange)]
    fn exchange_promise(
        address: &str,
        tls: bool,
        batch: &str,
        deadline_ms: u32,
        bytes_max: u32,
    ) -> Promise;

    #[wasm_bindgen(js_name = importKey)]
    fn import_key_promise(algorithm: &str, jwk: &str, usage: &str) -> Promise;

    #[wasm_bindgen(js_name = sign)]
    fn sign_promise(algorithm: &str, key: &JsValue, input: &[u8]) -> Promise;

    #[wasm_bindgen(js_name = verify)]
    fn verify_promise(algorithm: &str, key: &JsValue, signature: &[u8], input: &[u8]) -> Promise;

    #[wasm_bindgen(js_name = readBody)]
    fn read_body_promise(request: &web_sys::Request, deadline_ms: u32, bytes_max: u32) -> Promise;

    #[wasm_bindgen(js_name = forwardWhole)]
    fn forward_whole_promise(
        request: &web_sys::Request,
        url: &str,
        remove: &str,
        set: &str,
        deadline_ms: u32,
        body: Option<&JsValue>,
        bytes_max: u32,
    ) -> Promise;

    #[wasm_bindgen(js_name = sooner)]
    fn sooner_promise(promise: &Promise, ms: u32) -> Promise;

    fn signal() -> JsValue;

    fn give(signal: &JsValue);

    #[wasm_bindgen(js_name = given)]
    fn given_promise(signal: &JsValue, ms: u32) -> Promise;
}

/// The clock, in milliseconds. On Workers it moves only with I/O.
pub fn now_ms() -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a clock's reading"
    )]
    let now = now() as u64;
    now
}

/// Why there is no answer from the other side.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The deadline passed.
    Timeout,
    /// A body was longer than its bound.
    TooLarge,
    /// No connection, or it broke.
    Unreachable,
}

impl Fault {
    fn read(word: &str) -> Self {
        match word {
            "timeout" => Self::Timeout,
            "too large" => Self::TooLarge,
            _ => Self::Unreachable,
        }
    }
}

/// A request for text, under a deadline and a bound. Redirects are not followed.
pub struct TextRequest<'a> {
    pub method: &'static str,
    pub url: &'a str,
    pub request_id: &'a str,
    pub authorization: Option<&'a str>,
    pub body: Option<(ContentType, &'a str)>,
    pub deadline_ms: u32,
    pub bytes_max: u32,
}

/// What a request's body is.
#[derive(Clone, Copy)]
pub enum ContentType {
    Form,
    Json,
}

impl ContentType {
    fn name(self) -> &'static str {
        match self {
            Self::Form => "application/x-www-form-urlencoded",
            Self::Json => "application/json",
        }
    }
}

impl TextRequest<'_> {
    /// The answer's status and text.
    pub async fn send(&self) -> Result<(u16, String), Fault> {
        let (content_type, body) =
            self.body.map_or(("", ""), |(content_type, body)| (content_type.name(), body));
        let step = Step::Ask(format!(
            "{}\n{}\n{}\n{}\n{content_type}\n{}\n{}\n{body}",
            self.method,
            self.url,
            self.request_id,
            self.authorization.unwrap_or_default(),
            self.deadline_ms,
            self.bytes_max,
        ));
        match task::take(step).await {
            (0, word) => Err(Fault::read(&word)),
            (status, text) => Ok((status, text)),
        }
    }
}

/// A memcached's answer to a batch, all of it.
pub async fn exchange(
    address: &memcached::Address,
    batch: &str,
    deadline_ms: u32,
    bytes_max: u32,
) -> Result<String, Fault> {
    let promise = exchange_promise(&address.host, address.tls, batch, deadline_ms, bytes_max);
    let answer = settled(promise).await.and_then(|value| value.as_string());
    let answer = answer.unwrap_or_default();
    match answer.strip_prefix('+') {
        Some(text) => Ok(text.to_owned()),
        None => Err(Fault::read(&answer)),
    }
}

/// A key that the host can `verify` or `sign` with; none if it can't import the JWK.
pub async fn import_key(algorithm: &str, jwk: &str, usage: &str) -> Option<JsValue> {
    settled(import_key_promise(algorithm, jwk, usage)).await
}

/// A signature, if the key makes one.
pub async fn sign(algorithm: &str, key: &JsValue, input: &str) -> Option<Vec<u8>> {
    let signature = settled(sign_promise(algorithm, key, input.as_bytes())).await?;
    Some(js_sys::Uint8Array::new(&signature).to_vec())
}

/// Whether the platform's rate limiter admits one more, if it says so.
pub async fn limit(limiter: &JsValue, key: &str) -> Option<bool> {
    settled(limit_promise(limiter, key)).await?.as_bool()
}

/// Random bytes for a seal.
pub fn nonce() -> [u8; 12] {
    nonce_bytes().try_into().unwrap_or_default()
}

/// Lets other requests of the isolate go on.
pub async fn sleep(ms: u32) {
    settled(sleep_promise(ms)).await;
}

/// What the platform's cache has under a URL.
pub async fn cache_get(url: &str) -> Option<String> {
    settled(cache_get_promise(url)).await?.as_string()
}

/// Keeps a text in the platform's cache, if there is one.
pub async fn cache_put(url: &str, text: &str, seconds: u64) {
    #[expect(clippy::cast_precision_loss, reason = "a week at the most")]
    let seconds = seconds as f64;
    settled(cache_put_promise(url, text, seconds)).await;
}

/// Whether the signature holds. Whatever the host can't judge does not hold.
pub async fn verify(algorithm: &str, key: &JsValue, signature: &[u8], input: &str) -> bool {
    let verdict = settled(verify_promise(algorithm, key, signature, input.as_bytes())).await;
    verdict.and_then(|value| value.as_bool()).unwrap_or(false)
}

/// The request that this task is for, for whoever outlives it.
pub fn request() -> web_sys::Request {
    request_of(task::current())
}

/// The country of the client whose request's task runs; empty where Cloudflare does not say.
pub fn country() -> String {
    country_of(&request_of(task::current()))
}

/// The body of this task's request, all of it; undefined if it has none.
pub async fn read_body(deadline_ms: u32, bytes_max: u32) -> Result<JsValue, Fault> {
    let read = settled(read_body_promise(&request(), deadline_ms, bytes_max)).await;
    let read = read.ok_or(Fault::Unreachable)?;
    match read.as_string() {
        Some(word) => Err(Fault::read(&word)),
        None => Ok(read),
    }
}

/// An answer of somebody else, from its head on.
pub struct Response {
    pub status: u16,
    pub media_type: String,
    /// None where the host has it as this task's.
    value: Option<web_sys::Response>,
}

impl Response {
    /// One that came to another task.
    fn new(value: web_sys::Response) -> Self {
        let media_type = value.headers().get("content-type").ok().flatten().unwrap_or_default();
        Self { status: value.status(), media_type, value: Some(value) }
    }

    /// Makes it this task's.
    pub fn hold(&self) {
        if let Some(value) = &self.value {
            hold_response(task::current(), value);
        }
    }
}

/// A response of parts that are another's; none if HTTP does not allow for them.
pub fn try_reply(status: u16, fields: &str, body: &str) -> Option<Response> {
    try_reply_of(status, fields, body).ok().map(Response::new)
}

/// A body that was read, as text; what is none becomes an empty one.
pub fn text(body: &JsValue) -> String {
    String::from_utf8(js_sys::Uint8Array::new(body).to_vec()).unwrap_or_default()
}

/// This task's request on its way to whoever it is for.
pub struct Forward<'a> {
    pub url: &'a str,
    /// Names of fields to take out.
    pub remove: &'a [&'a str],
    /// Names and values of fields to set.
    pub set: &'a [(&'a str, String)],
    pub deadline_ms: u32,
    /// The body, if it was read; otherwise it is a stream.
    pub body: Option<&'a JsValue>,
    /// Whether the answer is for its sender alone, and so not for the platform's cache.
    pub personal: bool,
}

impl Forward<'_> {
    /// The answer, from its head on.
    pub async fn send(&self) -> Result<Response, Fault> {
        if let Some(body) = self.body {
            hold_body(task::current(), body);
        }
        let personal = if self.personal { "1" } else { "" };
        let mut step =
            format!("{personal}\n{}\n{}\n{}", self.url, self.deadline_ms, self.remove.len());
        let set = self.set.iter().flat_map(|(name, value)| [*name, value]);
        for line in self.remove.iter().copied().chain(set) {
            step.push('\n');
            step.push_str(line);
        }
        match task::take(Step::Forward(step)).await {
            (0, word) => Err(Fault::read(&word)),
            (status, media_type) => Ok(Response { status, media_type, value: None }),
        }
    }
}

/// A request for an answer that is wanted to its end, with nothing borrowed: it may outlive its client.
pub struct Journey {
    pub request: web_sys::Request,
    pub url: String,
    /// As in [`Forward`], a line each.
    pub remove: String,
    pub set: String,
    pub body: Option<JsValue>,
    pub deadline_ms: u32,
}

impl Journey {
    /// Sends it, and waits so long for the answer.
    pub fn send(&self, deadline_ms: u32, bytes_max: u32) -> Coming {
        Coming(forward_whole_promise(
            &self.request,
            &self.url,
            &self.remove,
            &self.set,
            deadline_ms,
            self.body.as_ref(),
            bytes_max,
        ))
    }
}

/// An answer that was waited for to its end.
pub enum Whole {
    /// One that is not good, or too long; as it came.
    Other(Response),
    /// A good one: fields and body, as [`portcullis_core::CapturedResponse::parse`] reads it.
    Text(String),
}

/// An answer that may come later than somebody waits for it.
pub struct Coming(Promise);

impl Coming {
    /// The answer, if it comes within so long.
    pub async fn within(&self, ms: u32) -> Option<Result<Whole, Fault>> {
        match settled(sooner_promise(&self.0, ms)).await {
            Some(answer) if answer.is_undefined() => None,
            Some(answer) => Some(Self::read(answer)),
            None => Some(Err(Fault::Unreachable)),
        }
    }

    /// The answer, in its own time.
    pub async fn end(self) -> Result<Whole, Fault> {
        Self::read(settled(self.0).await.ok_or(Fault::Unreachable)?)
    }

    fn read(answer: JsValue) -> Result<Whole, Fault> {
        match answer.as_string() {
            Some(text) => match text.strip_prefix('+') {
                Some(text) => Ok(Whole::Text(text.to_owned())),
                None => Err(Fault::read(&text)),
            },
            None => Ok(Whole::Other(Response::new(answer.unchecked_into()))),
        }
    }
}

/// Tells one task that another has got so far.
#[derive(Clone)]
pub struct Signal(JsValue);

impl Signal {
    pub fn new() -> Self {
        Self(signal())
    }

    pub fn give(&self) {
        give(&self.0);
    }

    /// Waits for it, and not for ever.
    pub async fn wait(&self, ms: u32) {
        settled(given_promise(&self.0, ms)).await;
    }
}

/// What a promise comes to, unless it is rejected.
async fn settled(promise: Promise) -> Option<JsValue> {
    hold_promise(task::current(), &promise);
    match task::take(Step::Settle).await {
        (0, _) => None,
        _ => Some(held_value(task::current())),
    }
}
