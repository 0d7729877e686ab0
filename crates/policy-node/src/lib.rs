//! The policy tools for Node. packages/portcullis has the program that calls them.

use js_sys::{Array, Function, Uint8Array};
use portcullis_core::VerifyingKey;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

/// What a command prints, and its exit status.
#[wasm_bindgen(getter_with_clone)]
#[derive(Debug)]
pub struct Outcome {
    /// The text for the standard output; for the error output if the status is 2.
    pub text: String,
    /// The exit status.
    pub status: u8,
}

/// Runs a command. `arguments` begin with the program's name. `read` takes a path and returns the
/// file's text, or throws. `verify` takes an algorithm, a JWK, a signature and the signed text, and
/// returns whether the signature holds, or null if it can't use the key.
#[wasm_bindgen]
pub fn run(
    arguments: Vec<String>,
    read: &Function,
    verify: &Function,
    now_seconds: f64,
    has_colours: bool,
) -> Outcome {
    let read = |path: &str| match read.call1(&JsValue::NULL, &JsValue::from_str(path)) {
        Ok(text) => text.as_string().ok_or_else(|| "it is not text".to_owned()),
        Err(error) => Err(js_sys::Error::from(error).message().into()),
    };
    let verify = |key: &VerifyingKey, signature: &[u8], input: &str| {
        let [algorithm, jwk, input] =
            [key.algorithm.name(), &key.jwk, input].map(JsValue::from_str);
        let words = Array::of4(&algorithm, &jwk, &Uint8Array::from(signature), &input);
        let holds = verify.apply(&JsValue::NULL, &words);
        holds
            .map(|holds| holds.as_bool())
            .map_err(|error| js_sys::Error::from(error).message().into())
    };
    let now_seconds = now_seconds as u64;
    let outcome = portcullis_policy::run(&arguments, &read, &verify, now_seconds, has_colours);
    Outcome { text: outcome.text, status: outcome.status }
}

/// Returns the text of the JavaScript module that gives a policy file to the Worker. Throws if the
/// text is not TOML.
#[wasm_bindgen(js_name = workerModule)]
pub fn worker_module(policy_file: &str) -> Result<String, js_sys::Error> {
    portcullis_policy::worker_module(policy_file).map_err(|error| js_sys::Error::new(&error))
}
