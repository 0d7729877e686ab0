//! The configuration: read once per isolate, and reported with all of its faults.

use crate::host;
use portcullis_core::{Policy, Refusal};
use std::cell::OnceCell;
use wasm_bindgen::JsValue;

thread_local! {
    static LIMITER: OnceCell<Option<JsValue>> = const { OnceCell::new() };
    static POINTS: OnceCell<Option<JsValue>> = const { OnceCell::new() };
}

/// The platform's rate limiter, where one is bound.
pub fn limiter() -> Option<JsValue> {
    LIMITER.with(|limiter| limiter.get().cloned().flatten())
}

/// Workers Analytics Engine, where it is bound.
pub fn points() -> Option<JsValue> {
    POINTS.with(|points| points.get().cloned().flatten())
}

/// The policy of this isolate. It never changes while the isolate lives, so it is never freed.
pub fn policy() -> Result<&'static Policy, Refusal> {
    thread_local! {
        static POLICY: OnceCell<Option<&'static Policy>> = const { OnceCell::new() };
    }
    POLICY.with(|policy| *policy.get_or_init(load)).ok_or(Refusal::Misconfigured)
}

fn load() -> Option<&'static Policy> {
    let env = host::environment();
    for (held, name) in [(&LIMITER, "LOCAL_LIMITER"), (&POINTS, "ANALYTICS")] {
        held.with(|held| held.get_or_init(|| host::binding(&env, name)).is_some());
    }
    match Policy::parse(|name| host::variable(&env, name)) {
        Ok(policy) => Some(Box::leak(Box::new(policy))),
        Err(faults) => {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            let line = serde_json::json!({
                "level": "error", "event": "configuration_invalid", "faults": faults,
            });
            host::log(&line.to_string());
            None
        }
    }
}
