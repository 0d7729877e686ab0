//! The rules of API keys: how they are created, changed, rolled, revoked and introspected.

mod introspect;
mod manager;
mod merge;
mod secret;
mod service;
mod spec;
mod view;

pub use manager::Manager;
pub use secret::is_api_key;
pub use service::{ApiKeySettings, ApiKeys, GRACE_SECONDS_DEFAULT, KeyList};
pub use spec::SpecPatch;
pub use view::key_view;

#[cfg(test)]
mod tests;
