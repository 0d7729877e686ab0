//! The edge: a Cloudflare Worker that forwards a request only with a [`Permit`].
//!
//! This crate has all of the I/O and none of the decisions, which are `portcullis-core`'s. The
//! steps of a request are in `pipeline.rs`, and `response.rs` alone turns a refusal into a
//! response.
//!
//! [`Permit`]: portcullis_core::Permit

mod config;
mod context;
mod dependency;
mod forward;
mod instance;
mod isolate;
mod limits;
mod metrics;
mod pipeline;
mod platform;
mod response;
mod store;
mod token;
mod trace;

use config::{Config, StoredSecrets};
use instance::Instance;
use platform::log::{Level, Line};
use std::rc::Rc;
use wasm_bindgen::prelude::wasm_bindgen;

thread_local! {
    static INSTANCE: Rc<Instance> = Rc::new(Instance::new(Config::load(StoredSecrets::default())));
}

/// Begins the task `id` of a request. Returns its first step or its end, encoded.
#[wasm_bindgen]
pub fn begin(id: u32, request: String) -> String {
    INSTANCE.with(|instance| pipeline::begin(instance, id, request))
}

/// Resumes the task `id` with the result of its step. Returns its next step or its end, encoded.
#[wasm_bindgen]
pub fn resume(id: u32, status: u16, text: String) -> String {
    INSTANCE.with(|instance| instance.executor.resume(id, status, text))
}

/// Drops a task that is never resumed.
#[wasm_bindgen]
pub fn forget(id: u32) {
    INSTANCE.with(|instance| {
        instance.executor.forget(id);
    });
}

/// Drops the task `id`, whose client has left. Counts that, unless it is a background task.
#[wasm_bindgen(js_name = clientLeft)]
pub fn client_left(id: u32, request_id: &str) {
    INSTANCE.with(|instance| {
        if instance.executor.forget(id) {
            metrics::export::record_client_left(request_id, &instance.isolate());
        }
    });
}

/// Logs where a panic happens, but not its message, which may quote a request.
#[wasm_bindgen(start)]
pub fn start() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|place| format!("{}:{}", place.file(), place.line()));
        Line::new(Level::Error, "panic").text("place", &place.unwrap_or_default()).write();
    }));
}
