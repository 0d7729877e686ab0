//! The edge: a Cloudflare Worker that forwards a request only with a [`Permit`].
//!
//! This crate does all the I/O and takes no decisions; those are `portcullis-core`'s. The steps of
//! a request are in `pipeline.rs`, and only `response.rs` turns a refusal into a response.
//!
//! [`Permit`]: portcullis_core::Permit

mod blocks;
mod config;
mod context;
mod dependency;
mod events;
mod forward;
mod instance;
mod isolate;
mod limits;
mod metrics;
mod operator;
mod pipeline;
mod platform;
mod renewals;
mod response;
mod store;
mod token;
mod trace;
mod usage;

use config::{Config, StoredSecrets};
use context::Purpose;
use instance::Instance;
use platform::clock;
use platform::log::{Level, Line};
use std::cell::RefCell;
use std::rc::Rc;
use wasm_bindgen::prelude::wasm_bindgen;

thread_local! {
    /// The gates of this instance of the Worker, with their numbers. Most have one.
    static INSTANCES: RefCell<Vec<(u32, Rc<Instance>)>> = RefCell::default();
}

/// Begins the task `id` of a request to a gate. Returns its first step or its end, encoded. With
/// `permits`, JavaScript answers permitted requests itself.
#[wasm_bindgen]
pub fn begin(gate: u32, id: u32, permits: bool, request: Vec<u8>) -> String {
    let purpose = if permits { Purpose::Permit } else { Purpose::Forward };
    pipeline::begin(&instance(gate), id, purpose, text(request))
}

/// Resumes the task `id` with the result of its step. Returns its next step or its end, encoded.
#[wasm_bindgen]
pub fn resume(gate: u32, id: u32, status: u16, result: Vec<u8>) -> String {
    instance(gate).executor.resume(id, status, text(result))
}

/// Returns a text of JavaScript, which encodes it as UTF-8.
fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_default()
}

/// Drops a task that will not be resumed.
#[wasm_bindgen]
pub fn forget(gate: u32, id: u32) {
    instance(gate).executor.forget(id);
}

/// Drops the task `id`, whose client has left. Counts the departure, unless it is a background
/// task.
#[wasm_bindgen(js_name = clientLeft)]
pub fn client_left(gate: u32, id: u32, request_id: &str) {
    let instance = instance(gate);
    if instance.executor.forget(id) {
        metrics::export::record_client_left(request_id, &instance.isolate());
    }
}

/// Returns a gate of this instance, which reads its configuration the first time. Each call of
/// JavaScript begins with this.
fn instance(gate: u32) -> Rc<Instance> {
    clock::forget_now();
    let found = INSTANCES.with_borrow(|instances| {
        instances.iter().find(|(own, _)| *own == gate).map(|(_, found)| Rc::clone(found))
    });
    if let Some(found) = found {
        return found;
    }
    let made = Rc::new(Instance::new(gate, Config::load(gate, StoredSecrets::default())));
    INSTANCES.with_borrow_mut(|instances| instances.push((gate, Rc::clone(&made))));
    made
}

/// Logs the place of each panic, but not its message, which may quote a request.
#[wasm_bindgen(start)]
pub fn start() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|place| format!("{}:{}", place.file(), place.line()));
        Line::new(Level::Error, "panic").text("place", &place.unwrap_or_default()).write();
    }));
}
