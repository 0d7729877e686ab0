//! The platform, as `host.js` offers it; nothing else here calls JavaScript. Values that both sides
//! must read are flat text, and what can fail answers with a word instead of throwing.

use js_sys::Promise;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

#[wasm_bindgen(module = "/src/host.js")]
extern "C" {
    /// Clock in milliseconds, request id, place, method, URL and header fields, a line each.
    pub fn head(request: &web_sys::Request) -> String;

    fn now() -> f64;

    /// All plain variables and secrets, as a JSON object of strings.
    pub fn variables(env: &JsValue) -> String;

    /// Writes one line to the log.
    pub fn log(line: &str);

    /// A response of its parts; `fields` holds names and values in turn, a line each. A name that begins with `?` is
    /// set where there is none yet; with `-`, it is taken out.
    pub fn reply(status: u16, fields: &str, body: &str) -> web_sys::Response;

    #[wasm_bindgen(js_name = reply, catch)]
    fn try_reply_of(status: u16, fields: &str, body: &str) -> Result<web_sys::Response, JsValue>;

    /// The same response with some fields set, in the form of [`reply`]'s; and, where the gate says which
    /// pages may read it, without its own that say so.
    pub fn dress(
        response: web_sys::Response,
        fields: &str,
        says_who_reads: bool,
    ) -> web_sys::Response;

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

    #[wasm_bindgen(js_name = fetchText)]
    fn fetch_text_promise(
        method: &str,
        url: &str,
        request_id: &str,
        authorization: Option<&str>,
        content_type: Option<&str>,
        body: Option<&str>,
        deadline_ms: u32,
        bytes_max: u32,
    ) -> Promise;

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

    #[wasm_bindgen(js_name = forward)]
    fn forward_promise(
        request: &web_sys::Request,
        url: &str,
        remove: &str,
        set: &str,
        deadline_ms: u32,
        body: Option<&JsValue>,
        personal: bool,
    ) -> Promise;

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

    #[wasm_bindgen(js_name = within)]
    fn within_promise(promise: &Promise, ms: u32) -> Promise;
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
        let promise = fetch_text_promise(
            self.method,
            self.url,
            self.request_id,
            self.authorization,
            self.body.map(|(content_type, _)| content_type.name()),
            self.body.map(|(_, body)| body),
            self.deadline_ms,
            self.bytes_max,
        );
        let answer = JsFuture::from(promise).await.ok().and_then(|value| value.as_string());
        let answer = answer.unwrap_or_default();
        match answer.split_once('\n') {
            Some((status, text)) => {
                let status = status.parse().map_err(|_| Fault::Unreachable)?;
                Ok((status, text.to_owned()))
            }
            None => Err(Fault::read(&answer)),
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
    let answer = JsFuture::from(promise).await.ok().and_then(|value| value.as_string());
    let answer = answer.unwrap_or_default();
    match answer.strip_prefix('+') {
        Some(text) => Ok(text.to_owned()),
        None => Err(Fault::read(&answer)),
    }
}

/// A key that the host can `verify` or `sign` with; none if it can't import the JWK.
pub async fn import_key(algorithm: &str, jwk: &str, usage: &str) -> Option<JsValue> {
    JsFuture::from(import_key_promise(algorithm, jwk, usage)).await.ok()
}

/// A signature, if the key makes one.
pub async fn sign(algorithm: &str, key: &JsValue, input: &str) -> Option<Vec<u8>> {
    let signature = JsFuture::from(sign_promise(algorithm, key, input.as_bytes())).await.ok()?;
    Some(js_sys::Uint8Array::new(&signature).to_vec())
}

/// Whether the platform's rate limiter admits one more, if it says so.
pub async fn limit(limiter: &JsValue, key: &str) -> Option<bool> {
    JsFuture::from(limit_promise(limiter, key)).await.ok()?.as_bool()
}

/// Random bytes for a seal.
pub fn nonce() -> [u8; 12] {
    nonce_bytes().try_into().unwrap_or_default()
}

/// Lets other requests of the isolate go on.
pub async fn sleep(ms: u32) {
    let _ = JsFuture::from(sleep_promise(ms)).await;
}

/// What the platform's cache has under a URL.
pub async fn cache_get(url: &str) -> Option<String> {
    JsFuture::from(cache_get_promise(url)).await.ok()?.as_string()
}

/// Keeps a text in the platform's cache, if there is one.
pub async fn cache_put(url: &str, text: &str, seconds: u64) {
    #[expect(clippy::cast_precision_loss, reason = "a week at the most")]
    let seconds = seconds as f64;
    let _ = JsFuture::from(cache_put_promise(url, text, seconds)).await;
}

/// Whether the signature holds. Whatever the host can't judge does not hold.
pub async fn verify(algorithm: &str, key: &JsValue, signature: &[u8], input: &str) -> bool {
    let verdict = JsFuture::from(verify_promise(algorithm, key, signature, input.as_bytes())).await;
    verdict.ok().and_then(|value| value.as_bool()).unwrap_or(false)
}

/// A request's body, all of it; undefined if it has none.
pub async fn read_body(
    request: &web_sys::Request,
    deadline_ms: u32,
    bytes_max: u32,
) -> Result<JsValue, Fault> {
    let read = JsFuture::from(read_body_promise(request, deadline_ms, bytes_max)).await;
    let read = read.map_err(|_| Fault::Unreachable)?;
    match read.as_string() {
        Some(word) => Err(Fault::read(&word)),
        None => Ok(read),
    }
}

/// A response of parts that are another's; none if HTTP does not allow for them.
pub fn try_reply(status: u16, fields: &str, body: &str) -> Option<web_sys::Response> {
    try_reply_of(status, fields, body).ok()
}

/// A body that was read, as text; what is none becomes an empty one.
pub fn text(body: &JsValue) -> String {
    String::from_utf8(js_sys::Uint8Array::new(body).to_vec()).unwrap_or_default()
}

/// A request on its way to whoever it is for.
pub struct Forward<'a> {
    pub request: &'a web_sys::Request,
    pub url: &'a str,
    /// Names of fields to take out, a line each.
    pub remove: &'a str,
    /// Names and values of fields to set, in turn, a line each.
    pub set: &'a str,
    pub deadline_ms: u32,
    /// The body, if it was read; otherwise it is a stream.
    pub body: Option<&'a JsValue>,
    /// Whether the answer is for its sender alone, and so not for the platform's cache.
    pub personal: bool,
}

/// An answer that was waited for to its end.
pub enum Whole {
    /// One that is not good, or too long; as it came.
    Other(web_sys::Response),
    /// A good one: fields and body, as [`portcullis_core::Answered::parse`] reads it.
    Text(String),
}

/// An answer that may come later than somebody waits for it.
pub struct Coming(Promise);

impl Coming {
    /// The answer, if it comes within so long.
    pub async fn within(&self, ms: u32) -> Option<Result<Whole, Fault>> {
        let answer = JsFuture::from(within_promise(&self.0, ms)).await;
        let answer = answer.map_err(|_| Fault::Unreachable);
        match answer {
            Ok(answer) if answer.is_undefined() => None,
            Ok(answer) => Some(Self::read(answer)),
            Err(fault) => Some(Err(fault)),
        }
    }

    /// The answer, in its own time.
    pub async fn end(self) -> Result<Whole, Fault> {
        Self::read(JsFuture::from(self.0).await.map_err(|_| Fault::Unreachable)?)
    }

    fn read(answer: JsValue) -> Result<Whole, Fault> {
        match answer.as_string() {
            Some(text) => match text.strip_prefix('+') {
                Some(text) => Ok(Whole::Text(text.to_owned())),
                None => Err(Fault::read(&text)),
            },
            None => Ok(Whole::Other(answer.unchecked_into())),
        }
    }
}

/// Tells one task that another has got so far.
pub struct Signal {
    promise: Promise,
    resolve: Option<js_sys::Function>,
}

impl Signal {
    pub fn new() -> Self {
        let mut held = None;
        let promise = Promise::new(&mut |resolve, _| held = Some(resolve));
        Self { promise, resolve: held }
    }

    /// What gives the signal.
    pub fn giver(&self) -> impl FnOnce() + 'static {
        let resolve = self.resolve.clone();
        move || {
            if let Some(resolve) = resolve {
                let _ = resolve.call0(&JsValue::UNDEFINED);
            }
        }
    }

    /// Waits for it, and not for ever.
    pub async fn wait(self, ms: u32) {
        let _ = JsFuture::from(within_promise(&self.promise, ms)).await;
    }
}

impl Forward<'_> {
    /// Sends it for an answer that is wanted to its end.
    pub fn send_whole(&self, bytes_max: u32) -> Coming {
        Coming(forward_whole_promise(
            self.request,
            self.url,
            self.remove,
            self.set,
            self.deadline_ms,
            self.body,
            bytes_max,
        ))
    }

    /// The answer, from its head on.
    pub async fn send(&self) -> Result<web_sys::Response, Fault> {
        let promise = forward_promise(
            self.request,
            self.url,
            self.remove,
            self.set,
            self.deadline_ms,
            self.body,
            self.personal,
        );
        let answer = JsFuture::from(promise).await.map_err(|_| Fault::Unreachable)?;
        match answer.as_string() {
            Some(word) => Err(Fault::read(&word)),
            None => Ok(answer.unchecked_into()),
        }
    }
}
