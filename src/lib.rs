//! The edge: a Cloudflare Worker that forwards a request only with a [`Permit`].
//!
//! This crate does all the I/O and takes no decisions; those are `portcullis-core`'s. The steps of
//! a request are in `pipeline.rs`, and only `response.rs` turns a refusal into a response.
//!
//! [`Permit`]: portcullis_core::Permit

mod config;
mod context;
mod dependency;
mod forward;
mod isolate;
mod limits;
mod metrics;
mod pipeline;
mod platform;
mod response;
mod store;
mod token;
mod trace;

use config::Config;
use isolate::Isolate;
use platform::log::{Level, Line};
use std::rc::Rc;
use wasm_bindgen::prelude::wasm_bindgen;

thread_local! {
    /// The isolate of this instance of the Worker.
    static ISOLATE: Rc<Isolate> = Rc::new(Isolate::new(Config::load()));
}

/// Begins the task `id` of a request. Returns its first step or its end, encoded.
#[wasm_bindgen]
pub fn begin(id: u32, request: String) -> String {
    ISOLATE.with(|isolate| pipeline::begin(isolate, id, request))
}

/// Resumes the task `id` with the result of its step. Returns its next step or its end, encoded.
#[wasm_bindgen]
pub fn resume(id: u32, status: u16, text: String) -> String {
    ISOLATE.with(|isolate| isolate.executor.resume(id, status, text))
}

/// Drops a task that will not be resumed.
#[wasm_bindgen]
pub fn forget(id: u32) {
    ISOLATE.with(|isolate| {
        isolate.executor.forget(id);
    });
}

/// Drops the task `id`, whose client has left. Counts the departure, unless it is a background
/// task.
#[wasm_bindgen(js_name = clientLeft)]
pub fn client_left(id: u32, request_id: &str) {
    ISOLATE.with(|isolate| {
        if isolate.executor.forget(id) {
            metrics::export::record_client_left(request_id, isolate);
        }
    });
}

/// Logs the place of each panic, but not its message, which may quote a request.
#[wasm_bindgen(start)]
pub fn start() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|place| format!("{}:{}", place.file(), place.line()));
        Line::new(Level::Error, "panic").text("place", &place.unwrap_or_default()).write();
    }));
}
