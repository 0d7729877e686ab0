//! The policy tools for Node. packages/portcullis has the program that calls them.

use js_sys::Function;
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
/// file's text, or throws.
#[wasm_bindgen]
pub fn run(
    arguments: Vec<String>,
    read: &Function,
    now_seconds: f64,
    has_colours: bool,
) -> Outcome {
    let read = |path: &str| match read.call1(&JsValue::NULL, &JsValue::from_str(path)) {
        Ok(text) => text.as_string().ok_or_else(|| "it is not text".to_owned()),
        Err(error) => Err(js_sys::Error::from(error).message().into()),
    };
    let outcome = portcullis_policy::run(&arguments, &read, now_seconds as u64, has_colours);
    Outcome { text: outcome.text, status: outcome.status }
}

/// Returns the text of the JavaScript module that gives a policy file to the Worker. Throws if the
/// text is not TOML.
#[wasm_bindgen(js_name = workerModule)]
pub fn worker_module(policy_file: &str) -> Result<String, js_sys::Error> {
    portcullis_policy::worker_module(policy_file).map_err(|error| js_sys::Error::new(&error))
}
