//! The whole system, tried as its users do: workerd, Redis, gateway, origin and an upstream, each a real
//! process. A file per behaviour; `stack.rs` brings the system up, `issuer.rs` is a foreign issuer.

mod deploy;
mod forwarding;
mod gateway;
mod issuer;
mod outages;
mod refusals;
mod sessions;
mod stack;
mod store;
