//! The functions of `src/js` that Wasm calls. Only the other files of this folder use them.
//!
//! Functions that can fail return a promise that is rejected with a word of
//! [`PlatformError`](super::protocol::PlatformError).

use js_sys::Promise;
use wasm_bindgen::prelude::*;

#[wasm_bindgen(raw_module = "./tasks.js")]
extern "C" {
    /// Returns the number of a new background task of the task `parent`.
    pub fn adopt(parent: u32) -> u32;

    /// Sets the promise that the task's next step awaits.
    #[wasm_bindgen(js_name = setPromise)]
    pub fn set_promise(task: u32, promise: &Promise);

    /// Returns the value of the promise that was awaited last.
    #[wasm_bindgen(js_name = takeValue)]
    pub fn take_value(task: u32) -> JsValue;

    /// Returns the request of the task.
    #[wasm_bindgen(js_name = requestOf)]
    pub fn request_of(task: u32) -> web_sys::Request;

    /// Returns the number of the task's gate.
    #[wasm_bindgen(js_name = gateOf)]
    pub fn gate_of(task: u32) -> u32;

    /// Returns the request of the task, which keeps it no longer.
    #[wasm_bindgen(js_name = takeRequest)]
    pub fn take_request(task: u32) -> web_sys::Request;

    /// Sets the body that the task forwards.
    #[wasm_bindgen(js_name = setBody)]
    pub fn set_body(task: u32, body: &JsValue);

    /// Makes the task's response one whose stream or WebSocket can be ended, if it has one.
    #[wasm_bindgen(js_name = watchResponse)]
    pub fn watch_response(task: u32) -> Option<JsValue>;

    /// Sets the response that the task ends with.
    #[wasm_bindgen(js_name = setResponse)]
    pub fn set_response(task: u32, response: &web_sys::Response);
}

#[wasm_bindgen(raw_module = "./gates.js")]
extern "C" {
    /// Returns all variables, secrets and bindings of a gate.
    pub fn environment(gate: u32) -> JsValue;

    /// Returns the policy of a gate, as JSON.
    pub fn policy(gate: u32) -> String;
}

#[wasm_bindgen(raw_module = "./http.js")]
extern "C" {
    /// Returns the location of the request's client, as [`portcullis_core::Location`] reads it.
    pub fn location(request: &web_sys::Request) -> String;

    /// Reads the body of a request; `undefined` if it has none.
    #[wasm_bindgen(js_name = readBody)]
    pub fn read_body(request: &web_sys::Request, deadline_ms: u32, bytes_max: u32) -> Promise;

    /// Forwards a request and reads the response to its end, if that is a good one.
    #[wasm_bindgen(js_name = forwardBuffered)]
    pub fn forward_buffered(
        gate: u32,
        request: &web_sys::Request,
        step: &str,
        body: Option<&JsValue>,
        bytes_max: u32,
    ) -> Promise;

    /// Makes a response of its encoded parts.
    #[wasm_bindgen(js_name = responseOf, catch)]
    pub fn response_of(end: &str) -> Result<web_sys::Response, JsValue>;
}

#[wasm_bindgen(raw_module = "./streams.js")]
extern "C" {
    /// Settles with whether a stream has ended, after `ms` or once it has.
    #[wasm_bindgen(js_name = streamEnded)]
    pub fn stream_ended(stream: &JsValue, ms: u32) -> Promise;

    /// Ends a stream before its time.
    #[wasm_bindgen(js_name = endStream)]
    pub fn end_stream(stream: &JsValue, reason: &str);
}

#[wasm_bindgen(raw_module = "./crypto.js")]
extern "C" {
    /// Returns 12 random bytes.
    pub fn nonce() -> Vec<u8>;

    /// Imports a JWK.
    #[wasm_bindgen(js_name = importKey)]
    pub fn import_key(algorithm: &str, jwk: &str, usage: &str) -> Promise;

    /// Signs `input`.
    pub fn sign(algorithm: &str, key: &JsValue, input: &[u8]) -> Promise;

    /// Verifies a signature.
    pub fn verify(algorithm: &str, key: &JsValue, signature: &[u8], input: &[u8]) -> Promise;
}

#[wasm_bindgen(raw_module = "./platform.js")]
extern "C" {
    /// Returns the clock's reading in milliseconds.
    pub fn now() -> f64;

    /// Writes one line to the log.
    pub fn log(line: &str);

    /// Returns the names of all variables, secrets and bindings, one a line.
    pub fn names(env: &JsValue) -> String;

    /// Returns a plain variable or a secret.
    pub fn variable(env: &JsValue, name: &str) -> Option<String>;

    /// Returns a binding that is not a plain variable.
    pub fn binding(env: &JsValue, name: &str) -> Option<JsValue>;

    /// Returns whether a binding can be sent requests.
    #[wasm_bindgen(js_name = canFetch)]
    pub fn can_fetch(env: &JsValue, name: &str) -> bool;

    /// Reads secrets of Secrets Store bindings, whose names stand one a line, within `ms`.
    #[wasm_bindgen(js_name = readSecrets)]
    pub fn read_secrets(env: &JsValue, names: &str, ms: u32) -> Promise;

    /// Returns a text of a list; `None` if it has none there.
    #[wasm_bindgen(js_name = textAt)]
    pub fn text_at(list: &JsValue, at: usize) -> Option<String>;

    /// Writes one data point to Workers Analytics Engine.
    #[wasm_bindgen(js_name = writePoint)]
    pub fn write_point(dataset: &JsValue, point: &str);

    /// Counts one call in the platform's rate limiter.
    pub fn limit(limiter: &JsValue, key: &str) -> Promise;

    /// Settles after `ms`.
    pub fn sleep(ms: u32) -> Promise;

    /// Settles with `promise`, or with `undefined` after `ms`.
    pub fn sooner(promise: &Promise, ms: u32) -> Promise;

    /// Creates a notification.
    #[wasm_bindgen(js_name = createNotify)]
    pub fn create_notify() -> JsValue;

    /// Wakes the tasks that wait for a notification.
    pub fn notify(notification: &JsValue);

    /// Settles once a notification is given, or after `ms`.
    pub fn notified(notification: &JsValue, ms: u32) -> Promise;

    /// Reads a text from the platform's cache.
    #[wasm_bindgen(js_name = cacheGet)]
    pub fn cache_get(url: &str) -> Promise;

    /// Writes a text to the platform's cache.
    #[wasm_bindgen(js_name = cachePut)]
    pub fn cache_put(url: &str, text: &str, seconds: f64) -> Promise;

    /// Sends a batch to a memcached and reads the reply.
    pub fn exchange(
        address: &str,
        tls: bool,
        batch: &str,
        deadline_ms: u32,
        bytes_max: u32,
    ) -> Promise;
}
