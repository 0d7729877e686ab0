//! The platform: JavaScript, its promises, and the wire format between it and Wasm.
//!
//! Only this folder calls JavaScript. Values that both sides read are flat text in the format of
//! [`protocol`].

pub mod bindings;
pub mod cache;
pub mod clock;
pub mod crypto;
pub mod environment;
pub mod executor;
pub mod http;
pub mod log;
mod now;
pub mod protocol;
pub mod socket;
